//! What a client does: fetch, upload, download, ask by UDP, and push bytes with iperf3.
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::servers::FILE_BYTES;
use super::{Lab, Namespace};
use crate::failure::{Outcome, fail};
use crate::shell;

const ASK: &str = include_str!("udp_ask.py");
const KEEP_ASKING: &str = include_str!("keep_asking.py");

/// How often each server answered, by its name.
pub type Page = BTreeMap<String, usize>;

/// A host that talks to a VIP, or to a server's own address.
#[derive(Debug)]
pub struct Client<'lab> {
    lab: &'lab Lab,
    name: &'static str,
}

impl<'lab> Client<'lab> {
    pub(super) fn new(lab: &'lab Lab, name: &'static str) -> Self {
        Self { lab, name }
    }

    /// Its namespace.
    pub fn host(&self) -> Namespace {
        self.lab.host(self.name)
    }

    /// Fetches `/who` that many times, each over a connection of its own.
    ///
    /// # Errors
    /// At the first request that fails or takes longer than 5 s.
    pub fn fetch(&self, address: &str, times: usize) -> Outcome<Page> {
        fetch_from(&self.host(), address, times)
    }

    /// Uploads 10 MB and looks at what arrived; gives the server that took it.
    ///
    /// # Errors
    /// When it fails, takes longer than 30 s, or differs by a byte.
    pub fn upload(&self, address: &str) -> Outcome<String> {
        let sent = self.lab.file("10M");
        let name = format!("from-{}-{}", self.name, address.replace(':', "-"));
        let mut curl = self.host().command("curl");
        curl.args(["-sS", "--fail", "--max-time", "30", "-o", "/dev/null"]);
        curl.args(["-H", "Expect:", "-w", "%header{x-server}", "--upload-file"]).arg(&sent);
        let server = shell::output(curl.arg(url(address, &format!("up/{name}"))))?;
        let arrived = self.lab.file(&server).join("up").join(&name);
        same(&sent, &arrived)?;
        fs::remove_file(arrived)?;
        Ok(server)
    }

    /// Downloads 10 MB and compares them.
    ///
    /// # Errors
    /// When it fails, takes longer than 30 s, or differs by a byte.
    pub fn download(&self, address: &str) -> Outcome {
        let arrived = self.lab.file(&format!("to-{}", self.name));
        let mut curl = self.host().command("curl");
        curl.args(["-sS", "--fail", "--max-time", "30", "-o"]).arg(&arrived);
        shell::output(curl.arg(url(address, "10M")))?;
        same(&self.lab.file("10M"), &arrived)
    }

    /// Asks that many times by UDP, each from a port of its own, with datagrams of those
    /// sizes in bytes; who answered. `refused` stands for an ICMP port unreachable.
    ///
    /// # Errors
    /// When an answer stays away twice for 2 s, or is not byte by byte the right one.
    pub fn ask(&self, address: &str, times: usize, request: usize, answer: usize) -> Outcome<Page> {
        ask_from(&self.host(), self.lab, &[address, "53"], [times, request, answer], None)
    }

    /// iperf3 to the VIP for that many seconds; `reverse` turns the flow round. Gives bits
    /// per second.
    ///
    /// # Errors
    /// When it fails or when any single second passes without a byte.
    pub fn iperf(&self, address: &str, seconds: u32, reverse: bool) -> Outcome<f64> {
        let seconds = seconds.to_string();
        let mut iperf = self.host().command("timeout");
        iperf.args(["-k", "5", "30", "iperf3", "--json", "--client", address, "--time", &seconds]);
        iperf.args(["--connect-timeout", "3000"]);
        if reverse {
            iperf.arg("--reverse");
        }
        let report: serde_json::Value = serde_json::from_str(&shell::output(&mut iperf)?)?;
        let Some(intervals) = report["intervals"].as_array() else {
            return fail("iperf3 reports no intervals");
        };
        for interval in intervals {
            let sum = &interval["sum"];
            // The last one may be a fraction of a second.
            let long = sum["seconds"].as_f64().unwrap_or(0.0) > 0.5;
            if long && sum["bytes"].as_f64().unwrap_or(0.0) == 0.0 {
                return fail(format!("iperf3 stalled at {} s", sum["start"]));
            }
        }
        Ok(report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0))
    }

    /// Fetches `/who` that many times over one connection, whose packets reach the director
    /// on another RX queue each time; who answered.
    ///
    /// # Errors
    /// When a request fails, or there are not two queues.
    pub fn fetch_across_queues(&self, address: &str, times: usize) -> Outcome<Page> {
        self.across_queues("tcp", address, times)
    }

    /// The same with one UDP socket.
    ///
    /// # Errors
    /// As [`Self::fetch_across_queues`].
    pub fn ask_across_queues(&self, address: &str, times: usize) -> Outcome<Page> {
        self.across_queues("udp", address, times)
    }

    fn across_queues(&self, protocol: &str, address: &str, times: usize) -> Outcome<Page> {
        let script = self.lab.file("keep_asking.py");
        fs::write(&script, KEEP_ASKING)?;
        let (hop, interface) = self.lab.before_director()?;
        let mut python = self.host().command("/usr/bin/python3");
        python.arg(&script).args([protocol, address, &times.to_string(), hop.name(), interface]);
        Ok(tally(&shell::output(&mut python)?))
    }
}

/// Fetches `/who` from any host that is not a client.
///
/// # Errors
/// As [`Client::fetch`].
pub fn fetch_from(host: &Namespace, address: &str, times: usize) -> Outcome<Page> {
    let mut curl = host.command("curl");
    curl.args(["-sS", "--fail", "--fail-early", "--max-time", "5", "-H", "Connection: close"]);
    let page = shell::output(curl.arg(url(address, &format!("who?[1-{times}]"))))?;
    let answers = tally(&page);
    match answers.values().sum::<usize>() {
        sum if sum == times => Ok(answers),
        sum => fail(format!("{sum} answers to {times} requests: {answers:?}")),
    }
}

/// Asks by UDP from any host: `target` is address and port, `numbers` are times, request
/// and answer bytes.
///
/// # Errors
/// As [`Client::ask`].
pub fn ask_from(
    host: &Namespace,
    lab: &Lab,
    target: &[&str; 2],
    numbers: [usize; 3],
    source_port: Option<u16>,
) -> Outcome<Page> {
    let script: PathBuf = lab.file("udp_ask.py");
    fs::write(&script, ASK)?;
    let mut python = host.command("/usr/bin/python3");
    python.arg(&script).args(target).args(numbers.map(|number| number.to_string()));
    python.args(source_port.map(|port| port.to_string()));
    Ok(tally(&shell::output(&mut python)?))
}

fn url(address: &str, path: &str) -> String {
    if address.contains(':') {
        format!("http://[{address}]/{path}")
    } else {
        format!("http://{address}/{path}")
    }
}

fn tally(lines: &str) -> Page {
    let mut answers = Page::new();
    for line in lines.lines() {
        *answers.entry(line.to_owned()).or_default() += 1;
    }
    answers
}

fn same(sent: &PathBuf, arrived: &PathBuf) -> Outcome {
    let (sent, arrived) = (fs::read(sent)?, fs::read(arrived)?);
    if arrived.len() != FILE_BYTES {
        return fail(format!("{} bytes arrived of {FILE_BYTES}", arrived.len()));
    }
    match sent.iter().zip(&arrived).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => fail(format!("the bytes differ from {at} on")),
    }
}
