//! Guests: a kernel of Debian's in `qemu-system-x86_64`, for what the running kernel has not.
//!
//! It is emulated, so it runs anywhere, slowly: good for what a kernel does, not for how
//! fast. Root is not needed. The guest is made on the fly ([`Initramfs`]), takes orders by a
//! serial port ([`Guest::run`]), and its NICs end in sockets of this process ([`Wire`],
//! [`Trunk`], [`Drain`]).
mod flood;
mod initramfs;
mod kernel;
mod machine;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub use flood::{Drain, Frames, Trunk};
pub use initramfs::Initramfs;
pub use kernel::{Kernel, Release};
pub use machine::{Cable, Guest, Nic, Plan};
pub use wire::Wire;

use crate::failure::{Outcome, fail};
use crate::setup;

/// What a guest is asked for on the command line.
#[derive(Args, Debug)]
pub struct Options {
    /// The shell script to run in it, as root
    script: PathBuf,
    /// Which of Debian's kernels
    #[arg(long, value_enum, default_value = "bookworm")]
    kernel: Release,
    /// Kernel modules to have at hand for modprobe, and those that they need
    #[arg(long, value_delimiter = ',')]
    modules: Vec<String>,
    /// Programs of this machine to have at hand
    #[arg(long, value_delimiter = ',')]
    programs: Vec<String>,
    /// Files of this machine to have in /root
    #[arg(long, value_delimiter = ',')]
    files: Vec<PathBuf>,
    /// Network cards (eth0 and so on); their cables end nowhere
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=8))]
    nics: u8,
    /// Seconds after which it is ended
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

/// Installs what it needs, boots a guest, runs the script in it, and ends it.
///
/// # Errors
/// When it does not boot, or the script's exit code is not 0.
pub fn run(options: &Options) -> Outcome {
    setup::run()?;
    let mut root = Initramfs::default()
        .modules(&options.modules)
        .programs(&options.programs)
        .file(&options.script, "/script");
    for file in &options.files {
        let Some(name) = file.file_name() else {
            return fail(format!("{}: not a file", file.display()));
        };
        root = root.file(file, &format!("/root/{}", name.to_string_lossy()));
    }
    let nics = (0..options.nics).map(|nic| Nic::new(format!("02:00:00:00:00:{nic:02x}"))).collect();
    let lifetime = Duration::from_secs(options.seconds);
    let kernel = options.kernel.kernel()?;
    let mut guest = Guest::boot(&kernel, &root, &Plan { nics, lifetime, ..Plan::default() })?;
    match guest.show("cd /root && sh /script")? {
        0 => Ok(()),
        code => fail(format!("the script's exit code is {code}")),
    }
}
