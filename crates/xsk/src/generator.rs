//! A packet generator in the kernel, for benches: `BPF_PROG_RUN` with live frames. The frames
//! leave by a device as fast as one CPU can make them; no NIC and no kernel pktgen needed.

use crate::bpf::{Map, Object, run_live};
use std::{
    io, mem,
    os::fd::OwnedFd,
    ptr,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/generator.bpf.o"));

/// Words of the template that each run writes anew.
const HEADER_WORDS: usize = 12;

/// Offsets within a frame that the generator varies or mends, in octets.
struct Layout {
    address: usize,
    port: usize,
    ip_checksum: usize,
    checksum: usize,
}

/// Sends copies of a template, each of the next flow.
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    sent: Map<u32, u64>,
    template: Vec<u8>,
}

impl Generator {
    /// Prepares to send out of the device `ifindex` (on a veth: arrives at its peer, which
    /// must run XDP or have GRO on). The template is an Ethernet frame with IPv4 or IPv6
    /// without options and TCP or UDP, with valid checksums (0 in IPv4's UDP: none); each
    /// frame adds its flow number, counted per CPU and modulo `flows`, to source port (the
    /// low 14 bits) and source address (the rest), and mends the checksums.
    ///
    /// # Errors
    /// `InvalidInput` for another template or if `flows` is not a power of two, else what
    /// bpf(2) reports.
    pub fn new(ifindex: u32, template: &[u8], flows: u32) -> io::Result<Self> {
        let bad = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
        if !flows.is_power_of_two() {
            return Err(bad("the number of flows is a power of two"));
        }
        let layout = Layout::of(template)
            .ok_or_else(|| bad("the template is Ethernet, IPv4 or IPv6, TCP or UDP, no options"))?;
        let mut object = Object::open(OBJECT, c"xlvs_generator")?;
        object.constants(c".rodata.build", &layout.words(template, flows - 1))?;
        object.load()?;
        let out: Map<u32, u32> = object.take_map(c"out")?;
        out.set(&0, &ifindex)?;
        Ok(Self {
            program: object.take_program(c"generate")?,
            sent: object.take_map(c"sent")?,
            template: template.to_vec(),
        })
    }

    /// Sends `count` frames from this CPU, `batch` (1 to 256) at a time. Before and after a run
    /// the kernel waits for grace periods (`bpf_dispatcher_update`), some 20 ms in which nothing
    /// is sent: for a flood without gaps see [`Generator::run_for`].
    ///
    /// # Errors
    /// What bpf(2) reports; `EINTR` if a signal came.
    pub fn run(&self, count: u32, batch: u32) -> io::Result<()> {
        run_live(&self.program, &self.template, count, batch)
    }

    /// Sends frames from this CPU for a time, in one run. `SIGALRM` ends it, so this process may
    /// have no other use for that signal.
    ///
    /// # Errors
    /// What sigaction(2) and bpf(2) report.
    pub fn run_for(&self, time: Duration, batch: u32) -> io::Result<()> {
        let end = Instant::now() + time;
        interrupt_only()?;
        // SAFETY: a thread may always ask for its own name.
        let this = unsafe { libc::pthread_self() };
        let (running, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut wait = time;
                // Again until it has ended: the first one may come just before the system call.
                while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(wait) {
                    // SAFETY: the thread lives, as it waits for this one at the scope's end.
                    unsafe { libc::pthread_kill(this, libc::SIGALRM) };
                    wait = Duration::from_millis(1);
                }
            });
            let mut result = Ok(());
            while result.is_ok() && Instant::now() < end {
                result = self.run(u32::MAX, batch);
            }
            drop(running);
            result
        })
        .or_else(|error| match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        })
    }

    /// Frames made so far, on all CPUs. Devices may have dropped some.
    ///
    /// # Errors
    /// What bpf(2) reports.
    pub fn sent(&self) -> io::Result<u64> {
        Ok(self.sent.of_all_cpus(&0)?.iter().sum())
    }
}

/// Makes `SIGALRM` end system calls, and nothing else.
fn interrupt_only() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: all zeroes is a valid action, without flags and with an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the action is valid for the call, and its handler does nothing.
    match unsafe { libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Layout {
    fn of(template: &[u8]) -> Option<Self> {
        let (protocol, address, transport, ip_checksum) = match template.get(12..15)? {
            [0x08, 0x00, 0x45] => (*template.get(23)?, 28, 34, 24),
            [0x86, 0xdd, 0x60..=0x6f] => (*template.get(20)?, 36, 54, 0),
            _ => return None,
        };
        let checksum = transport
            + match u32::from(protocol) {
                6 => 16,
                17 => 6,
                _ => return None,
            };
        let present = template.get(checksum..checksum + 2)? != [0, 0];
        // All that is varied must lie in the words that are written anew.
        if checksum + 2 > template.len() / 8 * 8 {
            return None;
        }
        let checksum = if present { checksum } else { 0 };
        Some(Self { address, port: transport, ip_checksum, checksum })
    }

    /// `build` of the program, as 32-bit words.
    fn words(&self, template: &[u8], flow_mask: u32) -> [u32; 2 * HEADER_WORDS + 6] {
        let mut words = [0; 2 * HEADER_WORDS + 6];
        let written = (template.len() / 8).min(HEADER_WORDS);
        for (word, octets) in words.iter_mut().zip(template[..written * 8].as_chunks().0) {
            *word = u32::from_ne_bytes(*octets);
        }
        let offsets = [self.address, self.port, self.ip_checksum, self.checksum];
        words[2 * HEADER_WORDS] = written as u32;
        words[2 * HEADER_WORDS + 1] = flow_mask;
        for (word, offset) in words[2 * HEADER_WORDS + 2..].iter_mut().zip(offsets) {
            *word = offset as u32;
        }
        words
    }
}
