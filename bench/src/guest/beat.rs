//! The guest's clock and its NICs' counters, read together in the guest, by a process that does
//! nothing else.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

/// How the beat is called in the guest.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Milliseconds between two
    #[arg(long)]
    every: u64,
    /// How many, after the first one
    #[arg(long)]
    times: usize,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    /// Nanoseconds since the first one.
    time: u64,
    /// Milliseconds that the guest had nothing to do, since its boot.
    idle: u64,
    /// Packets that have come in.
    received: u64,
    /// Octets that went out: where a socket sends, the driver counts no packets.
    octets: u64,
}

/// What is between two beats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) nanoseconds: u64,
    pub(super) idle_milliseconds: u64,
    pub(super) received: u64,
    pub(super) octets: u64,
}

/// Beats that often; prints all of them when it is over.
///
/// # Errors
/// There are no such NICs.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let begin = Instant::now();
    let mut beats = Vec::with_capacity(options.times + 1);
    for _ in 0..=options.times {
        let (idle, received) = (idle()?, count("in", "rx_packets")?);
        // These two belong together.
        let octets = count("out", "tx_bytes")?;
        beats.push(Beat { time: begin.elapsed().as_nanos() as u64, idle, received, octets });
        thread::sleep(Duration::from_millis(options.every));
    }
    for Beat { time, idle, received, octets } in beats {
        println!("{time} {idle} {received} {octets}");
    }
    Ok(())
}

/// The second word of /proc/uptime, seconds with two decimals.
fn idle() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok());
    seconds.map(|seconds| (seconds * 1000.0) as u64).ok_or_else(|| io::Error::other(text))
}

fn count(nic: &str, what: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/sys/class/net/{nic}/statistics/{what}"))?;
    text.trim().parse().map_err(io::Error::other)
}

/// The windows between the beats that were printed.
pub(super) fn windows(words: &str) -> Vec<Window> {
    let beats: Vec<Beat> = words.lines().filter_map(Beat::read).collect();
    let window = |pair: &[Beat]| Window {
        nanoseconds: pair[1].time - pair[0].time,
        idle_milliseconds: pair[1].idle - pair[0].idle,
        received: pair[1].received - pair[0].received,
        octets: pair[1].octets - pair[0].octets,
    };
    beats.windows(2).map(window).collect()
}

impl Beat {
    fn read(line: &str) -> Option<Self> {
        let numbers: Option<Vec<u64>> =
            line.split_whitespace().map(|word| word.parse().ok()).collect();
        let [time, idle, received, octets] = numbers?.try_into().ok()?;
        Some(Self { time, idle, received, octets })
    }
}
