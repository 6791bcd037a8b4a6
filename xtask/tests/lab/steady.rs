//! A client that opens UDP flows at a known pace.
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use xtask::lab::{Lab, Process};

const STEADY: &str = include_str!("steady.py");

/// What it does.
pub(crate) struct Pace {
    /// New flows a second.
    pub(crate) flows: u64,
    /// For so many seconds.
    pub(crate) seconds: u64,
    /// Questions of each flow.
    pub(crate) datagrams: u64,
    /// Octets of a question and of its answer, without headers.
    pub(crate) octets: [u64; 2],
}

/// A running one.
pub(crate) struct Steady {
    process: Process,
    /// When its first flow had been answered.
    pub(crate) begun: Instant,
}

impl Steady {
    /// Starts it, and waits for the first answer.
    pub(crate) fn start(lab: &Lab, vip: &str, port: u16, pace: &Pace) -> Self {
        let script = lab.file("steady.py");
        fs::write(&script, STEADY).unwrap();
        let Pace { flows, seconds, datagrams, octets: [question, answer] } = pace;
        let host = lab.host("client");
        let mut python = host.command("/usr/bin/python3");
        python.arg(&script).args([vip, &port.to_string()]);
        python.args([flows, seconds, datagrams, question, answer].map(u64::to_string));
        let process = host.start(&mut python, &lab.file("steady.log")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while process.words().is_empty() {
            assert!(Instant::now() < deadline, "no flow was answered");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, begun: Instant::now() }
    }

    /// The servers of the flows so far, in their order.
    pub(crate) fn answers(&self) -> Vec<String> {
        self.process.words().lines().map(str::to_owned).collect()
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) {
        let status = self.process.wait(Duration::from_secs(60)).unwrap();
        assert!(status.success(), "{}", self.process.words());
    }
}

/// How many of these flows each server has.
pub(crate) fn tally(answers: &[String]) -> BTreeMap<&str, usize> {
    let mut tally = BTreeMap::new();
    for name in answers {
        *tally.entry(name.as_str()).or_default() += 1;
    }
    tally
}
