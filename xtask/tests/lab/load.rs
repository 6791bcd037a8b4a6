//! Clients under which something changes: new ones at a pace, and some that stay.
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use xtask::lab::{Lab, Process};

const LOAD: &str = include_str!("load.py");
const STANDING: &str = include_str!("standing.py");

/// The clients' last octets.
pub(crate) const SOURCES: std::ops::Range<u8> = 21..81;

/// Gives the client the addresses that the load comes from: 192.0.2.21 to 192.0.2.80.
pub(crate) fn add_sources(lab: &Lab) {
    let lines: Vec<String> =
        SOURCES.map(|octet| format!("address add 192.0.2.{octet}/24 dev eth0")).collect();
    lab.host("client").batch(&lines).unwrap();
}

/// Seconds since the epoch, as the clients write them.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// When it began.
    pub(crate) at: f64,
    /// How long it took, in seconds.
    pub(crate) took: f64,
    /// Who answered, or `...Error`.
    pub(crate) said: String,
}

impl Request {
    /// It got no answer.
    pub(crate) fn failed(&self) -> bool {
        self.said.ends_with("Error")
    }
}

/// Requests at a pace.
pub(crate) struct Load(Process);

impl Load {
    /// That many a second, until it is stopped.
    pub(crate) fn start(lab: &Lab, vip: &str, port: u16, rate: u32) -> Self {
        let words = [vip.to_owned(), port.to_string(), rate.to_string()];
        let process = python(lab, "load", LOAD, &words);
        until(|| process.words().lines().count() > 10, "no request was answered");
        Self(process)
    }

    /// Waits for those that are under way; gives all of them.
    pub(crate) fn finish(mut self) -> Vec<Request> {
        self.0.signal("TERM").unwrap();
        let status = self.0.wait(Duration::from_secs(20)).unwrap();
        let words = self.0.words();
        assert!(status.success(), "{words}");
        words.lines().map(request).collect()
    }
}

fn request(line: &str) -> Request {
    let words: Vec<&str> = line.split(' ').collect();
    let [at, took, said] = words[..] else { panic!("{line}") };
    Request { at: at.parse().unwrap(), took: took.parse().unwrap(), said: said.to_owned() }
}

/// Clients that keep their connection, or their socket, and ask again and again.
pub(crate) struct Standing {
    process: Option<Process>,
    count: usize,
}

/// By client: when it was told what.
pub(crate) type Words = BTreeMap<usize, Vec<(f64, String)>>;

impl Standing {
    /// Starts so many, by `tcp` or `udp`, and waits until each one has been answered.
    pub(crate) fn start(lab: &Lab, protocol: &str, vip: &str, port: u16, count: usize) -> Self {
        let words = [protocol.to_owned(), vip.to_owned(), port.to_string(), count.to_string()];
        let process = python(lab, "standing", STANDING, &words);
        let standing = Self { process: Some(process), count };
        until(|| standing.words().len() == count, "not all were answered");
        standing
    }

    /// What they were told until now.
    pub(crate) fn words(&self) -> Words {
        let words = self.process.as_ref().map(Process::words).unwrap_or_default();
        let mut by_client = Words::new();
        // The last line may be half a one.
        for line in words.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let fields: Vec<&str> = line.trim_end().split(' ').collect();
            let [at, client, said] = fields[..] else { panic!("{line}") };
            let at = at.parse().unwrap();
            by_client.entry(client.parse().unwrap()).or_default().push((at, said.to_owned()));
        }
        by_client
    }

    /// Waits until each of these clients has been answered after that time.
    pub(crate) fn answered_since(&self, clients: &[usize], time: f64) {
        until(
            || {
                let words = self.words();
                let late = |(at, said): &(f64, String)| *at > time && !said.ends_with("Error");
                clients.iter().all(|client| words[client].iter().any(late))
            },
            "not all were answered again",
        );
    }

    /// Ends them.
    pub(crate) fn finish(mut self) -> Words {
        let words = self.words();
        assert_eq!(words.len(), self.count);
        drop(self.process.take().map(Process::stop));
        words
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        drop(self.process.take().map(Process::stop));
    }
}

fn python(lab: &Lab, name: &str, script: &str, words: &[String]) -> Process {
    // Several may run at a time.
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let name = format!("{name}-{}", STARTED.fetch_add(1, Relaxed));
    let file = lab.file(&format!("{name}.py"));
    fs::write(&file, script).unwrap();
    let host = lab.host("client");
    let mut python = host.command("/usr/bin/python3");
    host.start(python.arg(&file).args(words), &lab.file(&format!("{name}.log"))).unwrap()
}

fn until(so: impl Fn() -> bool, otherwise: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "{otherwise}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
