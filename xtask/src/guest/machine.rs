//! A running guest: the emulator's process, and the shell in it.
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::flood::{Drain, Trunk, TrunkSocket};
use super::{Initramfs, Kernel, Wire};
use crate::failure::{Outcome, fail};

/// What a guest is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Memory in MiB.
    pub memory: u32,
    /// Virtual CPUs.
    pub cpus: u32,
    /// The NICs: eth0, eth1 and so on.
    pub nics: Vec<Nic>,
    /// After this it is ended, wherever it is.
    pub lifetime: Duration,
    /// The guest's clock counts its instructions, one a nanosecond, whatever the machine does
    /// meanwhile. While the guest has nothing to do, its time flies.
    pub counted: bool,
}

/// A virtio NIC with one queue.
#[derive(Clone, Debug)]
pub struct Nic {
    /// Its MAC, as text.
    pub mac: String,
    /// Whether its driver can do AF_XDP zero-copy.
    pub zero_copy: bool,
    /// What it is plugged into.
    pub cable: Cable,
}

/// Where a NIC's frames come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// A [`Wire`], for single frames.
    Wire,
    /// A [`Trunk`], for floods into the guest.
    Trunk,
    /// A [`Drain`], for floods out of the guest.
    Drain,
}

impl Nic {
    /// One that can do zero-copy where the kernel can.
    pub fn new(mac: impl Into<String>) -> Self {
        Self { mac: mac.into(), zero_copy: true, cable: Cable::Wire }
    }

    /// The QEMU device. With `iommu_platform` the driver goes through the DMA API, without
    /// which it refuses zero-copy (drivers/net/virtio_net.c, virtnet_xsk_pool_enable).
    fn option(&self, number: usize) -> String {
        let dma_api = if self.zero_copy { "iommu_platform=on,disable-legacy=on," } else { "" };
        let prompt = if self.cable == Cable::Wire { "" } else { PROMPT };
        format!("virtio-net-pci,{dma_api}{prompt}netdev=cable{number},mac={}", self.mac)
    }
}

impl Default for Plan {
    fn default() -> Self {
        let lifetime = Duration::from_secs(120);
        Self { memory: 512, cpus: 1, nics: Vec::new(), lifetime, counted: false }
    }
}

/// A NIC that the guest's own thread serves, at once or some virtual microseconds later: else it
/// would be as quick as the emulator's other thread happens to get a CPU. While the guest works on
/// a ring of 1024, that thread reads as much again.
const PROMPT: &str = "ioeventfd=off,tx=timer,rx_queue_size=1024,";

/// A guest whose shell is ready. Forgetting it ends it.
#[derive(Debug)]
pub struct Guest {
    emulator: Child,
    orders: ChildStdin,
    answers: Receiver<Vec<u8>>,
    directory: Directory,
    deadline: Instant,
    plugs: Vec<Plug>,
}

/// This process's end of a NIC's cable.
#[derive(Debug)]
enum Plug {
    Wire(Wire),
    Trunk(TrunkSocket),
    Drain(Drain),
}

impl Plug {
    fn lay(cable: Cable, directory: &Path, nic: usize) -> Outcome<Self> {
        Ok(match cable {
            Cable::Wire => Self::Wire(Wire::lay(directory, nic)?),
            Cable::Trunk => Self::Trunk(TrunkSocket::lay(directory, nic)?),
            Cable::Drain => Self::Drain(Drain::lay()?),
        })
    }

    /// The QEMU option that plugs the NIC in.
    fn option(&self, nic: usize) -> Outcome<String> {
        Ok(match self {
            Self::Wire(_) => Wire::option(nic),
            Self::Trunk(_) => TrunkSocket::option(nic),
            Self::Drain(drain) => drain.option(nic)?,
        })
    }
}

/// Behind every answer, followed by the exit code.
const END: &str = "\n=the-end=";

impl Guest {
    /// Boots one, and waits until its shell answers.
    ///
    /// # Errors
    /// When something is missing (the message names `cargo xtask setup`), or when it does
    /// not come up; with the kernel's words.
    pub fn boot(kernel: &Kernel, root: &Initramfs, plan: &Plan) -> Outcome<Self> {
        let directory = Directory::create()?;
        root.pack(kernel, &directory.file("root"), &directory.file("initrd"))?;
        let cables = plan.nics.iter().enumerate();
        let plugs = cables.map(|(number, nic)| Plug::lay(nic.cable, &directory.0, number));
        let plugs: Vec<Plug> = plugs.collect::<Outcome<_>>()?;
        let mut command = emulator(kernel, plan, &plugs)?;
        command.current_dir(&directory.0).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(fs::File::create(directory.file("emulator.log"))?);
        let mut emulator = match command.spawn() {
            Ok(child) => child,
            Err(error) => return fail(format!("qemu-system-x86_64: {error}: cargo xtask setup")),
        };
        let pipes = (emulator.stdin.take(), emulator.stdout.take());
        let (Some(orders), Some(output)) = pipes else { return fail("qemu without pipes") };
        let answers = reader(output);
        let deadline = Instant::now() + plan.lifetime;
        let mut guest = Self { emulator, orders, answers, directory, deadline, plugs };
        // An order that comes before init has set up the port is lost.
        guest.until("ready\n").map_err(|why| why.during("the guest does not come up"))?;
        Ok(guest)
    }

    /// The cable of NIC `eth<nic>`.
    ///
    /// # Panics
    /// When the plan has no such NIC, or one with another cable.
    pub fn wire(&self, nic: usize) -> &Wire {
        match &self.plugs[nic] {
            Plug::Wire(wire) => wire,
            _ => panic!("eth{nic} has no wire"),
        }
    }

    /// The trunk of NIC `eth<nic>`; there is only one.
    ///
    /// # Errors
    /// When the machine does not plug it in.
    ///
    /// # Panics
    /// When the plan has no such NIC, or one with another cable.
    pub fn trunk(&self, nic: usize) -> Outcome<Trunk> {
        match &self.plugs[nic] {
            Plug::Trunk(socket) => socket.accept(),
            _ => panic!("eth{nic} has no trunk"),
        }
    }

    /// The drain of NIC `eth<nic>`.
    ///
    /// # Errors
    /// When this process has too many files open.
    ///
    /// # Panics
    /// When the plan has no such NIC, or one with another cable.
    pub fn drain(&self, nic: usize) -> Outcome<Drain> {
        match &self.plugs[nic] {
            Plug::Drain(drain) => drain.share(),
            _ => panic!("eth{nic} has no drain"),
        }
    }

    /// Runs shell commands as root and gives what they print, errors included. What they
    /// start with `&` goes on, if it does not hold on to the output.
    ///
    /// # Errors
    /// When the last command's exit code is not 0, or the guest's lifetime is over.
    pub fn run(&mut self, script: &str) -> Outcome<String> {
        let (code, words) = self.ask(script, |_| {})?;
        if code == 0 { Ok(words) } else { fail(format!("guest: {script}: exit {code}\n{words}")) }
    }

    /// As [`Self::run`], but shows the words as they come, and gives the exit code.
    ///
    /// # Errors
    /// When the guest's lifetime is over, or it died.
    pub fn show(&mut self, script: &str) -> Outcome<i32> {
        let print = |words: &[u8]| {
            let mut out = std::io::stdout();
            let _ = out.write_all(words).and_then(|()| out.flush());
        };
        Ok(self.ask(script, print)?.0)
    }

    fn ask(&mut self, script: &str, each: impl Fn(&[u8])) -> Outcome<(i32, String)> {
        let order = format!(
            "(\n{script}\n) </dev/null 2>&1\nprintf '{}%d=' $?\n",
            END.replace('\n', "\\n")
        );
        self.orders.write_all(order.as_bytes())?;
        self.orders.flush()?;
        let mut all = Vec::new();
        let mut shown = 0;
        loop {
            if let Some((end, code)) = ended(&all) {
                each(&all[shown..end.max(shown)]);
                return Ok((code, String::from_utf8_lossy(&all[..end]).into_owned()));
            }
            // What may be the beginning of the end is kept back.
            let safe = all.len().saturating_sub(END.len() + 4).max(shown);
            each(&all[shown..safe]);
            shown = safe;
            self.listen(script, &mut all)?;
        }
    }

    fn until(&mut self, word: &str) -> Outcome {
        let mut all = Vec::new();
        while !all.ends_with(word.as_bytes()) {
            self.listen("booting", &mut all)?;
        }
        Ok(())
    }

    fn listen(&mut self, at: &str, all: &mut Vec<u8>) -> Outcome {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.answers.recv_timeout(left) {
            Ok(words) => {
                all.extend(words);
                Ok(())
            }
            Err(_) => fail(self.obituary(at, all)),
        }
    }

    fn obituary(&self, script: &str, words: &[u8]) -> String {
        let (kernel, emulator) = (self.kernel_log(), self.directory.read("emulator.log"));
        let words = String::from_utf8_lossy(words);
        let why = if Instant::now() < self.deadline { "died" } else { "ran out of time" };
        format!("the guest {why} at: {script}\n{words}\nkernel:\n{kernel}\nqemu:\n{emulator}")
    }

    /// What the kernel has said.
    pub fn kernel_log(&self) -> String {
        self.directory.read("kernel.log")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // There is no disk to be hurt.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// Where a complete answer ends, and its exit code.
fn ended(all: &[u8]) -> Option<(usize, i32)> {
    let end = all.windows(END.len()).position(|window| window == END.as_bytes())?;
    let code = String::from_utf8_lossy(&all[end + END.len()..]).into_owned();
    Some((end, code.strip_suffix('=')?.parse().ok()?))
}

/// The emulator's command line. It dies with the thread that started it, of whatever that
/// dies: nothing is left to be killed by name.
fn emulator(kernel: &Kernel, plan: &Plan, plugs: &[Plug]) -> Outcome<Command> {
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg"]);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    qemu.args(["-m", &plan.memory.to_string(), "-smp", &plan.cpus.to_string()]);
    qemu.args(["-serial", "file:kernel.log", "-serial", "stdio"]);
    qemu.arg("-kernel").arg(&kernel.image).args(["-initrd", "initrd"]);
    let words = "console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off nokaslr";
    // A counted second is over in no time where there is nothing to do; this process ends it.
    let seconds = if plan.counted { u32::MAX.into() } else { plan.lifetime.as_secs() };
    let mut words = format!("{words} lifetime={seconds}");
    if plan.counted {
        qemu.args(["-icount", "shift=0,sleep=off", "-cpu", "max"]);
        // The kernel would take the emulated TSC for an unsteady one, and read a slow timer.
        words += " tsc=reliable";
    }
    qemu.args(["-append", &words]);
    for (number, (nic, plug)) in plan.nics.iter().zip(plugs).enumerate() {
        qemu.args(["-netdev", &plug.option(number)?, "-device", &nic.option(number)]);
    }
    Ok(qemu)
}

fn reader(mut output: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A directory of one guest, removed with it. Its path is short, since that of a unix socket
/// may have 107 octets.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    /// A new one of this process, after removing those of dead ones.
    fn create() -> Outcome<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let home = std::env::temp_dir().join("xlvs-guest");
        fs::create_dir_all(&home)?;
        for entry in fs::read_dir(&home)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.split('-').next().unwrap_or_default();
            if !Path::new("/proc").join(owner).exists() {
                // Another guest may be sweeping too.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let own = home.join(format!("{}-{number}", std::process::id()));
        // Of an earlier process with this pid.
        if own.exists() {
            fs::remove_dir_all(&own)?;
        }
        fs::create_dir(&own)?;
        Ok(Self(own))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
