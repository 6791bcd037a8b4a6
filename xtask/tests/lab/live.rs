//! One TCP connection that keeps asking, to see whether and how long it stalls.
use std::fs;
use std::time::Duration;

use xtask::lab::{Lab, Process};

const LIVE: &str = include_str!("live.py");

/// A connection from the client that keeps asking for that many seconds.
pub(crate) fn live(lab: &Lab, vip: &str, seconds: u32, name: &str) -> Process {
    let script = lab.file("live.py");
    fs::write(&script, LIVE).unwrap();
    let host = lab.host("client");
    let mut python = host.command("/usr/bin/python3");
    python.arg(&script).args([vip, &seconds.to_string()]);
    host.start(&mut python, &lab.file(&format!("live-{name}.log"))).unwrap()
}

/// The server that a live connection has, and the longest wait for an answer in ms.
pub(crate) fn answers(process: &Process) -> (String, u64) {
    let words = process.words();
    let pairs = words.lines().filter_map(|line| line.split_once(' '));
    let (servers, waits): (Vec<_>, Vec<_>) = pairs.unzip();
    assert!(servers.windows(2).all(|pair| pair[0] == pair[1]), "{words}");
    let longest = waits.iter().filter_map(|wait| wait.parse().ok()).max().unwrap_or(0);
    (servers.first().copied().unwrap_or_default().to_owned(), longest)
}

/// Waits for its end, which must be a good one.
pub(crate) fn finish(process: &mut Process) -> (String, u64) {
    let status = process.wait(Duration::from_secs(20)).unwrap();
    assert!(status.success(), "{}", process.words());
    answers(process)
}
