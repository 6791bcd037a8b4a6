//! What may be said at the top and in a virtual service; the latter wins.

use std::net::IpAddr;

use ::ipvsadm::Resolver;

use super::{Line, address, port, real};
use crate::note::{Notes, Place};

/// Who serves when nobody else does.
#[derive(Clone)]
pub(super) struct Fallback {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
    pub(super) forward: &'static str,
    pub(super) place: Place,
}

/// Options by their names; times in milliseconds.
#[derive(Clone, Default)]
pub(super) struct Options {
    pub(super) check_timeout: Option<u64>,
    pub(super) negotiate_timeout: Option<u64>,
    pub(super) check_interval: Option<u64>,
    pub(super) failure_count: Option<u64>,
    pub(super) quiescent: Option<bool>,
    pub(super) fallback: Option<Fallback>,
    pub(super) fallback_command: Option<(String, Place)>,
    pub(super) mail: Option<(Vec<String>, Place)>,
    pub(super) mail_from: Option<String>,
    pub(super) check_type: Option<(String, Place)>,
    pub(super) service: Option<(String, Place)>,
    pub(super) check_command: Option<(String, Place)>,
    pub(super) check_port: Option<u16>,
    pub(super) request: Option<String>,
    pub(super) receive: Option<(String, Place)>,
    pub(super) method: Option<String>,
    pub(super) virtualhost: Option<String>,
    pub(super) login: Option<(String, Place)>,
    pub(super) database: Option<(String, Place)>,
    pub(super) scheduler: Option<String>,
    pub(super) persistent: Option<u64>,
    pub(super) netmask: Option<u8>,
    pub(super) protocol: Option<String>,
    pub(super) ops: Option<bool>,
}

impl Options {
    /// Reads a line; false if nobody knows its key.
    pub(super) fn read(&mut self, line: &Line, names: &dyn Resolver, notes: &mut Notes) -> bool {
        let place = || line.place.clone();
        let value = unquoted(&line.value);
        let text = || Some(value.to_owned());
        let placed = || Some((value.to_owned(), place()));
        match line.key.as_str() {
            "checktimeout" => self.check_timeout = seconds(line, notes),
            "negotiatetimeout" => self.negotiate_timeout = seconds(line, notes),
            "checkinterval" => self.check_interval = seconds(line, notes),
            "failurecount" => self.failure_count = number(line, notes),
            "checkcount" => {
                notes.say(&line.place, "checkcount is failurecount by now");
                self.failure_count = number(line, notes);
            }
            "quiescent" => self.quiescent = truth(line, notes),
            "fallback" | "fallback6" => self.fallback = fallback(line, names, notes),
            "fallbackcommand" => self.fallback_command = placed(),
            "emailalert" => {
                let to = value.split([',', ' ']).filter(|one| !one.is_empty());
                self.mail = Some((to.map(str::to_owned).collect(), place()));
            }
            "emailalertfrom" => self.mail_from = text(),
            "checktype" => self.check_type = placed(),
            "service" => self.service = placed(),
            "checkcommand" => self.check_command = placed(),
            "checkport" => self.check_port = port_of(line, names, notes),
            "request" => self.request = text(),
            "receive" => self.receive = placed(),
            "httpmethod" => self.method = text().map(|method| method.to_ascii_uppercase()),
            "virtualhost" => self.virtualhost = text(),
            "login" => self.login = placed(),
            "database" => self.database = placed(),
            "scheduler" => self.scheduler = text(),
            "persistent" => self.persistent = persistent(line, notes),
            "netmask" => self.netmask = netmask(line, notes),
            "protocol" => self.protocol = text(),
            "ops" => self.ops = truth(line, notes),
            _ => return elsewhere(line, notes),
        }
        true
    }

    /// What is said here, over what `outer` says.
    pub(super) fn over(self, outer: &Self) -> Self {
        let outer = outer.clone();
        Self {
            check_timeout: self.check_timeout.or(outer.check_timeout),
            negotiate_timeout: self.negotiate_timeout.or(outer.negotiate_timeout),
            check_interval: self.check_interval.or(outer.check_interval),
            failure_count: self.failure_count.or(outer.failure_count),
            quiescent: self.quiescent.or(outer.quiescent),
            fallback: self.fallback.or(outer.fallback),
            fallback_command: self.fallback_command.or(outer.fallback_command),
            mail: self.mail.or(outer.mail),
            mail_from: self.mail_from.or(outer.mail_from),
            ..self
        }
    }
}

/// What has no equal, or needs none.
fn elsewhere(line: &Line, notes: &mut Notes) -> bool {
    let all = format!("{} = {}", line.key, line.value);
    let lost = |why: &str, notes: &mut Notes| notes.lost(&line.place, format!("{all}: {why}"));
    match line.key.as_str() {
        "maintenancedir" => {
            lost("no directory says which servers are in maintenance; xlvs maint does", notes);
        }
        "callback" => lost("nothing is run when the file changes", notes),
        "execute" => lost("one xlvs is one file", notes),
        "monitorfile" => {
            lost("nothing is written there; xlvs events tells, and hooks may write", notes)
        }
        "emailalertfreq" | "emailalertstatus" => lost("a mail is sent once for each change", notes),
        "smtp" => lost("mails go by this box's sendmail or mail", notes),
        "load" => lost("nothing is known of a server's load", notes),
        // What stands there is not to be repeated.
        "passwd" | "secret" => {
            notes.lost(&line.place, format!("{}: checks log in nowhere", line.key));
        }
        "autoreload" => notes.say(&line.place, format!("{all}: xlvs reload reads a changed file")),
        "logfile" | "supervised" | "fork" | "readdquiescent" | "cleanstop" => {
            notes.say(&line.place, format!("{all}: nothing that xlvs needs to be told"));
        }
        _ => return false,
    }
    true
}

pub(super) fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text)
}

fn wrong(line: &Line, what: &str, notes: &mut Notes) {
    notes.lost(&line.place, format!("not {what}: {} = {}", line.key, line.value));
}

fn number(line: &Line, notes: &mut Notes) -> Option<u64> {
    let number = unquoted(&line.value).parse().ok();
    if number.is_none() {
        wrong(line, "a number", notes);
    }
    number
}

fn seconds(line: &Line, notes: &mut Notes) -> Option<u64> {
    let seconds = unquoted(&line.value).parse::<u64>().ok();
    let time =
        seconds.filter(|seconds| (1..=86_400).contains(seconds)).map(|seconds| seconds * 1000);
    if time.is_none() {
        wrong(line, "a time in seconds", notes);
    }
    time
}

fn persistent(line: &Line, notes: &mut Notes) -> Option<u64> {
    let seconds = number(line, notes)?;
    if (1..=2_678_400).contains(&seconds) {
        return Some(seconds);
    }
    wrong(line, "from 1 to 2678400 seconds", notes);
    None
}

fn netmask(line: &Line, notes: &mut Notes) -> Option<u8> {
    let text = unquoted(&line.value);
    let length = match text.parse::<std::net::Ipv4Addr>() {
        Ok(mask) => {
            let ones = mask.to_bits().leading_ones();
            (ones > 0 && ones + mask.to_bits().trailing_zeros() == 32).then_some(ones as u8)
        }
        Err(_) => text.parse().ok().filter(|length| (1..=128).contains(length)),
    };
    if length.is_none() {
        wrong(line, "a mask that is a prefix", notes);
    }
    length
}

fn truth(line: &Line, notes: &mut Notes) -> Option<bool> {
    match unquoted(&line.value).to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Some(true),
        "no" | "false" | "off" | "0" => Some(false),
        _ => {
            wrong(line, "yes or no", notes);
            None
        }
    }
}

fn port_of(line: &Line, names: &dyn Resolver, notes: &mut Notes) -> Option<u16> {
    let port = port(unquoted(&line.value), names).filter(|port| *port > 0);
    if port.is_none() {
        wrong(line, "a port", notes);
    }
    port
}

/// `ADDRESS[:PORT] [gate|masq|ipip]`.
fn fallback(line: &Line, names: &dyn Resolver, notes: &mut Notes) -> Option<Fallback> {
    let mut words = unquoted(&line.value).split_whitespace();
    let (host, port) = real::host_and_port(words.next()?, names)?;
    let address = address(host, names);
    let forward = match words.next() {
        None => Some("dr"),
        Some(word) => real::forward(word),
    };
    let (Some(address), Some(forward)) = (address, forward) else {
        wrong(line, "an address, a port and gate, masq or ipip", notes);
        return None;
    };
    if let Some(more) = words.next() {
        wrong(line, &format!("understood: {more}"), notes);
    }
    Some(Fallback { address, port, forward, place: line.place.clone() })
}
