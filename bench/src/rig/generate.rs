//! The generator's process: UDP from many flows to the VIP, as fast as one CPU makes it.

use std::{
    error::Error,
    io,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use etherparse::PacketBuilder;
use xsk::{Generator, link};

use super::{
    GENERATOR,
    ground::{self, Ground},
};

const BATCH: u32 = 64;

/// What to send; in the generator's namespace.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The device to send from
    device: String,
    /// The director's MAC
    #[arg(value_parser = ground::parse_mac)]
    mac: [u8; 6],
    /// Octets on the wire, without the FCS
    #[arg(long)]
    octets: usize,
    /// Flows; a power of two
    #[arg(long)]
    flows: u32,
    /// For how long
    #[arg(long)]
    seconds: f64,
    /// The CPU to run on
    #[arg(long)]
    cpu: usize,
}

/// Sends for the time, then prints how many frames a second that were.
///
/// # Errors
/// What bpf(2) reports.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    crate::machine::pin(options.cpu);
    let generator =
        Generator::new(link::index(&options.device)?, &template(options), options.flows)?;
    let start = Instant::now();
    generator.run_for(Duration::from_secs_f64(options.seconds), BATCH)?;
    println!("{:.0}", generator.sent()? as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

/// Starts the generator's process; `octets` are those on the wire, with the FCS.
pub(super) fn start(
    ground: &Ground,
    octets: usize,
    flows: u32,
    time: Duration,
) -> io::Result<Child> {
    let here = std::env::current_exe()?.to_string_lossy().into_owned();
    let mac = ground.mac("box", "in")?;
    // Without the FCS, which a veth does not carry.
    let (octets, flows) = ((octets - 4).to_string(), flows.to_string());
    let (seconds, cpu) = (time.as_secs_f64().to_string(), GENERATOR.to_string());
    let words = [
        &here,
        "generate",
        "gen0",
        &mac,
        "--octets",
        &octets,
        "--flows",
        &flows,
        "--seconds",
        &seconds,
        "--cpu",
        &cpu,
    ];
    ground.command("gen", &words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}

/// Waits for the process and tells how many frames a second it made.
pub(super) fn offered(generator: Child) -> io::Result<f64> {
    let said = generator.wait_with_output()?.stdout;
    Ok(String::from_utf8_lossy(&said).trim().parse().unwrap_or(f64::NAN))
}

/// The checksum stays valid while the generator varies addresses and ports.
fn template(options: &Options) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], options.mac)
        .ipv4(ground::CLIENT, ground::VIP, 64)
        .udp(1024, ground::PORT);
    let payload = vec![0; options.octets.saturating_sub(builder.size(0))];
    let mut frame = Vec::new();
    builder.write(&mut frame, &payload).expect("a vector takes all");
    frame
}
