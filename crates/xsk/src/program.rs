//! The match program: one instance per interface, in front of its sockets. What it takes is
//! written in `bpf/match.bpf.c`; what it knows is in [`MatchMaps`], shared by all instances.

use crate::{
    bpf::{Map, Object, Plain, run_once},
    link_xdp,
    match_maps::MatchMaps,
    port::Port,
};
use libxdp_sys as sys;
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

pub use crate::link_xdp::{AttachError, AttachMode, Attached, XdpMode, pinned_interface};

static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/match.bpf.o"));

/// What the match program counted, on all CPUs, in packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchCounters {
    /// Given to a socket.
    pub taken: u64,
    /// Left to the kernel.
    pub passed: u64,
    /// Ours, but larger than a frame: dropped. Generic mode with GRO or LRO on.
    pub oversize: u64,
    /// Ours, but its queue had no socket: left to the kernel, or dropped, as `when_down` says.
    pub no_socket: u64,
}

// SAFETY: four u64, no padding.
unsafe impl Plain for MatchCounters {}

/// What becomes of a packet for us whose queue has no socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// The kernel gets it.
    #[default]
    Pass,
    /// It is dropped, so that the kernel cannot reset connections across a restart.
    Drop,
}

/// What the program did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Left to the kernel.
    Pass,
    /// Given to the queue's socket.
    Take,
    /// Dropped.
    Drop,
}

/// The match program of one interface.
#[derive(Debug)]
pub struct Program {
    program: OwnedFd,
    sockets: Map<u32, u32>,
    macs: Map<u64, u8>,
    counters: Map<u32, MatchCounters>,
    /// `config` of the program: the MAC, and whether there are more. Lives as `_object` does.
    config: NonNull<[AtomicU64; 2]>,
    dry: bool,
    _object: Object,
}

// SAFETY: `config` points into a mapping that `_object` owns, and is only used atomically.
unsafe impl Send for Program {}
// SAFETY: as above; everything else is descriptors, used by system calls.
unsafe impl Sync for Program {}

impl Program {
    /// Loads an instance for an interface with this MAC address.
    ///
    /// # Errors
    /// What bpf(2) reports, with the verifier's last words: `EPERM` without `CAP_BPF`, and
    /// `EACCES` without `CAP_PERFMON`, as it forbids arithmetic on pointers then.
    pub fn load(maps: &MatchMaps, mac: [u8; 6], when_down: WhenDown) -> io::Result<Self> {
        let fallback = match when_down {
            WhenDown::Pass => sys::xdp_action_XDP_PASS,
            WhenDown::Drop => sys::xdp_action_XDP_DROP,
        };
        Self::load_with(maps, mac, fallback, false)
    }

    /// Loads an instance that can only be [`Program::run`]: what it would give to a socket
    /// is [`Action::Take`], though there are no sockets.
    ///
    /// # Errors
    /// As [`Program::load`].
    pub fn load_dry(maps: &MatchMaps, mac: [u8; 6]) -> io::Result<Self> {
        Self::load_with(maps, mac, sys::xdp_action_XDP_TX, true)
    }

    fn load_with(maps: &MatchMaps, mac: [u8; 6], fallback: u32, dry: bool) -> io::Result<Self> {
        let mut object = Object::open(OBJECT, c"xlvs_match")?;
        maps.share_with(&object)?;
        object.constants(c".rodata.build", &[fallback, maps.room()])?;
        object.load()?;
        let program = Self {
            program: object.take_program(c"match")?,
            sockets: object.take_map(c"sockets")?,
            macs: object.take_map(c"macs")?,
            counters: object.take_map(c"counters")?,
            config: object.words(c".data.config")?,
            dry,
            _object: object,
        };
        program.set_mac(mac);
        Ok(program)
    }

    fn config(&self) -> &[AtomicU64; 2] {
        // SAFETY: the mapping lives as long as `_object`, is page-aligned and has two words
        // (checked when it was taken); program and process access whole words only.
        unsafe { self.config.as_ref() }
    }

    /// The interface's own address; takes effect with the next frame.
    pub fn set_mac(&self, mac: [u8; 6]) {
        self.config()[0].store(mac_word(mac), Relaxed);
    }

    /// Also takes frames to this address: a macvlan's.
    ///
    /// # Errors
    /// `E2BIG` beyond 256 of them.
    pub fn add_mac(&self, mac: [u8; 6]) -> io::Result<()> {
        self.macs.set(&mac_word(mac), &1)?;
        self.config()[1].store(1, Relaxed);
        Ok(())
    }

    /// Forgets an address of [`Program::add_mac`]; false if it was not known.
    ///
    /// # Errors
    /// What bpf(2) reports.
    pub fn remove_mac(&self, mac: [u8; 6]) -> io::Result<bool> {
        self.macs.remove(&mac_word(mac))
    }

    /// Packets of that queue go to this port. The kernel forgets it when the port closes.
    ///
    /// # Errors
    /// `EBADFD` if the port is gone, `E2BIG` for a queue beyond 255.
    pub fn set_socket(&self, queue: u32, port: &Port) -> io::Result<()> {
        self.sockets.set(&queue, &(port.fd().as_raw_fd() as u32))
    }

    /// No socket for that queue; false if there was none.
    ///
    /// # Errors
    /// What bpf(2) reports.
    pub fn remove_socket(&self, queue: u32) -> io::Result<bool> {
        self.sockets.remove(&queue)
    }

    /// Attaches to an interface; fill the sockets first. With a pin, the program stays when
    /// the process ends, and the next start takes the link at that path over, without a gap.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach(
        &self,
        ifname: &str,
        mode: AttachMode,
        pin: Option<&Path>,
    ) -> Result<Attached, AttachError> {
        if self.dry {
            return Err(AttachError::Dry);
        }
        link_xdp::attach(&self.program, ifname, mode, pin)
    }

    /// What this instance has counted so far.
    ///
    /// # Errors
    /// What bpf(2) reports.
    pub fn counters(&self) -> io::Result<MatchCounters> {
        let sum = |sum: MatchCounters, cpu: &MatchCounters| MatchCounters {
            taken: sum.taken + cpu.taken,
            passed: sum.passed + cpu.passed,
            oversize: sum.oversize + cpu.oversize,
            no_socket: sum.no_socket + cpu.no_socket,
        };
        Ok(self.counters.of_all_cpus(&0)?.iter().fold(MatchCounters::default(), sum))
    }

    /// Runs the program on a frame of at least 14 octets, without a NIC (`BPF_PROG_RUN`).
    ///
    /// # Errors
    /// `EINVAL` for a frame that is too short or too long for the kernel's test run.
    pub fn run(&self, frame: &[u8]) -> io::Result<Action> {
        match run_once(&self.program, frame)? {
            sys::xdp_action_XDP_PASS => Ok(Action::Pass),
            sys::xdp_action_XDP_REDIRECT => Ok(Action::Take),
            sys::xdp_action_XDP_TX if self.dry => Ok(Action::Take),
            sys::xdp_action_XDP_DROP => Ok(Action::Drop),
            other => Err(io::Error::other(format!("unexpected XDP action {other}"))),
        }
    }
}

/// A MAC address as the program reads it: the first four octets as one word, the rest as
/// another, 32 bits up.
fn mac_word([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from(u32::from_ne_bytes([a, b, c, d])) | u64::from(u16::from_ne_bytes([e, f])) << 32
}
