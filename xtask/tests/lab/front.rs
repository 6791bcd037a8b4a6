//! The ipvsadm front as an administrator has it: links of its names in PATH, on the director's
//! host.
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use xtask::lab::{Lab, debug_binary};

use crate::server;

/// A director's file without services, with more keys if need be.
pub(crate) fn empty(lab: &Lab, more: &str) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    format!("version: 1\ninterfaces: [{interfaces}]\n{more}services: []\n")
}

/// The links, and the shell that finds them.
pub(crate) struct Front<'lab> {
    pub(crate) lab: &'lab Lab,
    path: String,
}

impl<'lab> Front<'lab> {
    /// Makes the links.
    pub(crate) fn new(lab: &'lab Lab) -> Self {
        let links = lab.file("bin");
        fs::create_dir_all(&links).unwrap();
        let binary = debug_binary().unwrap();
        for name in ["ipvsadm", "ipvsadm-save", "ipvsadm-restore"] {
            symlink(&binary, links.join(name)).unwrap();
        }
        let usual = std::env::var("PATH").unwrap_or_default();
        Self { lab, path: format!("{}:{usual}", links.display()) }
    }

    /// A command line without quotes, on the director's host.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = self.lab.director().command(words.next().unwrap());
        command.args(words).env("PATH", &self.path);
        command.env("XLVS_SOCKET", self.lab.file("xlvs.sock"));
        command
    }

    /// Exit code, standard output, standard error.
    pub(crate) fn outcome(&self, line: &str) -> (Option<i32>, String, String) {
        texts(&self.command(line).stdin(Stdio::null()).output().unwrap())
    }

    /// One that is to succeed without a word on standard error.
    pub(crate) fn run(&self, line: &str) -> String {
        let (code, out, said) = self.outcome(line);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{line}: {out}");
        out
    }

    /// With a text on standard input.
    pub(crate) fn feed(&self, line: &str, text: &str) -> (Option<i32>, String, String) {
        let file = self.lab.file("input");
        fs::write(&file, text).unwrap();
        texts(&self.command(line).stdin(fs::File::open(&file).unwrap()).output().unwrap())
    }

    /// A service on a port with all of the topology's servers, by its own method.
    pub(crate) fn add(&self, key: &str, vip: &str, port: u16, family: usize) {
        let service = place(vip, port);
        self.run(&format!("ipvsadm -A {key} {service} -s rr"));
        for number in 1..=3 {
            self.add_server(key, vip, port, server(self.lab, number, family));
        }
    }

    /// One more server of such a service.
    pub(crate) fn add_server(&self, key: &str, vip: &str, port: u16, server: &str) {
        let (service, server) = (place(vip, port), place(server, port));
        let method = self.method();
        self.run(&format!("ipvsadm -a {key} {service} -r {server} {method}"));
    }

    fn method(&self) -> &'static str {
        match self.lab.topology().forward {
            "dr" => "-g",
            "nat" => "-m",
            "tun" => "-i",
            other => panic!("{other}: ipvsadm has no letter for it"),
        }
    }

    /// The numbers of a server's row in a listing, or of a service's.
    pub(crate) fn row(&self, listing: &str, begins: &str) -> Vec<u64> {
        let [row] = self.rows(listing, [begins]);
        row
    }

    /// The numbers of several rows of one listing.
    pub(crate) fn rows<const N: usize>(&self, listing: &str, begin: [&str; N]) -> [Vec<u64>; N] {
        let text = self.run(&format!("ipvsadm {listing}"));
        begin.map(|begins| {
            let line = text.lines().find(|line| line.trim_start().starts_with(begins));
            let line = line.unwrap_or_else(|| panic!("no {begins} in\n{text}"));
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        })
    }

    /// What `-Lnc` lists, from beginning to end.
    pub(crate) fn connections(&self) -> Vec<Row> {
        let text = self.run("ipvsadm -Lnc");
        let rows = text.lines().skip(2);
        rows.map(|line| Row::read(line).unwrap_or_else(|| panic!("{line}"))).collect()
    }
}

/// A line of `-Lnc`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) protocol: String,
    /// Seconds.
    pub(crate) expires: u64,
    pub(crate) state: String,
    pub(crate) client: String,
    pub(crate) vip: String,
    pub(crate) server: String,
}

impl Row {
    fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [protocol, expires, state, client, vip, server] = words[..] else { return None };
        let (minutes, seconds) = expires.split_once(':')?;
        let expires = minutes.parse::<u64>().ok()? * 60 + seconds.parse::<u64>().ok()?;
        let [protocol, state, client, vip, server] =
            [protocol, state, client, vip, server].map(str::to_owned);
        Some(Self { protocol, expires, state, client, vip, server })
    }
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Address and port as ipvsadm writes them.
pub(crate) fn place(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}
