//! The guest's clock, heard from outside: datagrams with the time run in the stream of forwarded
//! frames, so that who counts those frames knows when they left.

use std::{
    fs, io,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

/// How the beat is called in the guest.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to
    to: SocketAddr,
    /// Milliseconds between two
    #[arg(long)]
    every: u64,
    /// How many, after the first one
    #[arg(long)]
    times: usize,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    /// Nanoseconds since the first one.
    pub(super) time: u64,
    /// Milliseconds that the guest had nothing to do, since its boot.
    pub(super) idle: u64,
}

/// Beats that often.
///
/// # Errors
/// There is no way to `to`.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let begin = Instant::now();
    for _ in 0..=options.times {
        let idle = idle()?;
        let beat = Beat { time: begin.elapsed().as_nanos() as u64, idle };
        socket.send_to(&beat.write(), options.to)?;
        thread::sleep(Duration::from_millis(options.every));
    }
    Ok(())
}

/// The second word of /proc/uptime, seconds with two decimals.
fn idle() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok());
    seconds.map(|seconds| (seconds * 1000.0) as u64).ok_or_else(|| io::Error::other(text))
}

impl Beat {
    fn write(self) -> Vec<u8> {
        [self.time.to_be_bytes(), self.idle.to_be_bytes()].concat()
    }

    /// From a datagram's octets.
    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        let (time, rest) = octets.split_first_chunk()?;
        let (idle, _) = rest.split_first_chunk()?;
        Some(Self { time: u64::from_be_bytes(*time), idle: u64::from_be_bytes(*idle) })
    }
}
