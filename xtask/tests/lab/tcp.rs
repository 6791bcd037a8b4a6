//! TCP clients that end their connections in other ways than programs usually do, or not at all.
use std::fs;
use std::time::{Duration, Instant};

use xtask::lab::{Lab, Process};

const TCP: &str = include_str!("tcp.py");

/// Connections that stay open until they are dropped.
pub(crate) struct Held {
    process: Option<Process>,
    /// Each one's server.
    pub(crate) servers: Vec<String>,
}

/// Opens connections from the client, one after the other, and keeps them. `name` is the log's.
pub(crate) fn hold(lab: &Lab, vip: &str, port: u16, count: usize, name: &str) -> Held {
    let mut process = start(lab, &format!("hold {vip} {port} {count}"), name);
    let deadline = Instant::now() + Duration::from_secs(20);
    let words = loop {
        let words = process.words();
        if words.ends_with("held\n") {
            break words;
        }
        assert!(process.ended().unwrap().is_none() && Instant::now() < deadline, "{words}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let servers = words.lines().take(count).map(str::to_owned).collect();
    Held { process: Some(process), servers }
}

/// Opens a connection and resets it.
pub(crate) fn reset(lab: &Lab, vip: &str, port: u16) {
    ended(start(lab, &format!("reset {vip} {port} 1"), "reset"));
}

/// Sends one SYN, to which no answer may come.
pub(crate) fn knock(lab: &Lab, vip: &str, port: u16) {
    ended(start(lab, &format!("knock {vip} {port} 1"), "knock"));
}

fn start(lab: &Lab, words: &str, name: &str) -> Process {
    let script = lab.file("tcp.py");
    fs::write(&script, TCP).unwrap();
    let host = lab.host("client");
    let mut python = host.command("/usr/bin/python3");
    python.arg(&script).args(words.split_whitespace());
    host.start(&mut python, &lab.file(&format!("tcp-{name}.log"))).unwrap()
}

fn ended(mut process: Process) {
    let status = process.wait(Duration::from_secs(10)).unwrap();
    assert!(status.success(), "{}", process.words());
}

impl Drop for Held {
    fn drop(&mut self) {
        // If it has ended already, so have its connections.
        if let Some(process) = self.process.take() {
            let _ = process.stop();
        }
    }
}
