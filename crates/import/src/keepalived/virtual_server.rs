//! `virtual_server`.

use std::net::IpAddr;

use super::{
    command::Command,
    forwarding::{Method, Scheduler},
    real::{self, Real},
    timing::Timing,
    tree::Statement,
    unknown,
    value::{self, number, truth, word},
};
use crate::{
    note::{Notes, Place},
    server_address::unusable,
};

/// What a virtual server takes.
pub(super) enum Key {
    /// Without a port: all ports.
    Address(IpAddr, Option<u16>),
    Mark(u32),
    Group(String),
}

/// A virtual server as it is written.
pub(super) struct VirtualServer {
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) scheduler: Scheduler,
    pub(super) method: Option<Method>,
    /// `tcp`, `udp`, `sctp`, with its line.
    pub(super) protocol: Option<(&'static str, Place)>,
    pub(super) one_packet: Option<Place>,
    /// Seconds, with the line.
    pub(super) persistence: Option<(u64, Place)>,
    /// The mask's length, with its line; a netmask is IPv4's.
    pub(super) granularity: Option<(u8, Place)>,
    pub(super) ipv6: Option<bool>,
    pub(super) timing: Timing,
    pub(super) omega: Option<Place>,
    pub(super) quorum: Option<(u64, Place)>,
    pub(super) hysteresis: Option<(u64, Place)>,
    pub(super) quorum_up: Option<(Command, Place)>,
    pub(super) quorum_down: Option<(Command, Place)>,
    pub(super) sorry: Option<(IpAddr, Option<u16>, Place)>,
    pub(super) sorry_method: Option<Method>,
    pub(super) inhibit: bool,
    pub(super) weight: Option<u64>,
    pub(super) ha_suspend: Option<Place>,
    pub(super) smtp_alert: Option<bool>,
    pub(super) virtualhost: Option<String>,
    pub(super) name: Option<String>,
    pub(super) servers: Vec<Real>,
    pub(super) notes: Notes,
}

impl VirtualServer {
    pub(super) fn group_name(&self) -> Option<String> {
        match &self.key {
            Key::Group(name) => Some(name.clone()),
            _ => None,
        }
    }
}

/// `virtual_server ADDRESS [PORT]`, `virtual_server fwmark N` or `virtual_server group NAME`.
pub(super) fn read(statement: &Statement, notes: &mut Notes) -> Option<VirtualServer> {
    let Some(key) = key(statement, notes) else {
        notes.lost(&statement.place, format!("a virtual server, all of it: {}", statement.text()));
        return None;
    };
    let mut server = VirtualServer {
        key,
        place: statement.place.clone(),
        scheduler: Scheduler::default(),
        method: None,
        protocol: None,
        one_packet: None,
        persistence: None,
        granularity: None,
        ipv6: None,
        timing: Timing::default(),
        omega: None,
        quorum: None,
        hysteresis: None,
        quorum_up: None,
        quorum_down: None,
        sorry: None,
        sorry_method: None,
        inhibit: false,
        weight: None,
        ha_suspend: None,
        smtp_alert: None,
        virtualhost: None,
        name: None,
        servers: Vec::new(),
        notes: Notes::default(),
    };
    let mut said = Notes::default();
    for inner in statement.statements() {
        server.one(inner, &mut said);
    }
    server.notes = said;
    Some(server)
}

fn key(statement: &Statement, notes: &mut Notes) -> Option<Key> {
    let (first, second) = (statement.word(1), statement.word(2));
    if let Some(more) = statement.words.get(3..).filter(|more| !more.is_empty()) {
        let text = format!("virtual_server: more words than it takes: {}", more.join(" "));
        notes.lost(&statement.place, text);
    }
    match (first?, second) {
        ("group", Some(name)) => Some(Key::Group(name.to_owned())),
        ("fwmark", Some(mark)) => mark.parse().ok().filter(|mark| *mark > 0).map(Key::Mark),
        (address, port) => {
            let address: IpAddr = address.parse().ok()?;
            if let Some(why) = unusable(address) {
                notes.lost(&statement.place, format!("{address}: {why}, not a VIP"));
                return None;
            }
            Some(Key::Address(address, port_or_all(port)?))
        }
    }
}

/// No port, or 0, is all ports.
pub(super) fn port_or_all(text: Option<&str>) -> Option<Option<u16>> {
    let Some(text) = text else { return Some(None) };
    let port: u16 = text.parse().ok()?;
    Some((port > 0).then_some(port))
}

impl VirtualServer {
    fn one(&mut self, statement: &Statement, notes: &mut Notes) {
        let place = || statement.place.clone();
        if self.timing.read(statement, notes) || self.scheduler.read(statement, notes) {
            return;
        }
        match statement.keyword() {
            "real_server" => self.servers.extend(real::read(statement, notes)),
            "lb_kind" | "lvs_method" => self.method = Method::read(statement, notes),
            "protocol" => self.protocol = protocol(statement, notes),
            "ops" => self.one_packet = value::alone(statement, notes).then(place),
            "hashed" => {
                value::alone(statement, notes);
                notes.say(&statement.place, "hashed: all services are, in the kernel too");
            }
            "nat_mask" => {
                notes.say(&statement.place, "nat_mask: of keepalived 1.1, and nothing since");
            }
            "persistence_timeout" => self.persistence = persistence(statement, notes),
            "persistence_granularity" => self.granularity = granularity(statement, notes),
            "persistence_engine" => {
                let text = format!("{}: persistence has no engines here", statement.text());
                notes.lost(&statement.place, text);
            }
            "ip_family" => {
                self.ipv6 = match word(statement, notes) {
                    Some("inet") => Some(false),
                    Some("inet6") => Some(true),
                    Some(_) => {
                        value::not_read(statement, "inet or inet6", notes);
                        None
                    }
                    None => None,
                };
            }
            "omega" => self.omega = value::alone(statement, notes).then(place),
            "quorum" => self.quorum = number(statement, notes).map(|n| (n, place())),
            "hysteresis" => self.hysteresis = number(statement, notes).map(|n| (n, place())),
            "quorum_up" => {
                self.quorum_up = Command::with_user(statement, notes).map(|c| (c, place()));
            }
            "quorum_down" => {
                self.quorum_down = Command::with_user(statement, notes).map(|c| (c, place()));
            }
            "sorry_server" => self.sorry = sorry(statement, notes),
            "sorry_server_inhibit" => {
                value::alone(statement, notes);
                let text =
                    "sorry_server_inhibit: the sorry server is never in the list at weight 0";
                notes.say(&statement.place, text);
            }
            "sorry_server_lvs_method" => self.sorry_method = Method::read(statement, notes),
            "inhibit_on_failure" => self.inhibit = truth(statement, notes).unwrap_or(false),
            "weight" => self.weight = number(statement, notes),
            "ha_suspend" => self.ha_suspend = value::alone(statement, notes).then(place),
            "smtp_alert" => self.smtp_alert = truth(statement, notes),
            "virtualhost" => self.virtualhost = word(statement, notes).map(str::to_owned),
            "snmp_name" => self.name = word(statement, notes).map(str::to_owned),
            _ => unknown(statement, "virtual_server", notes),
        }
    }
}

fn protocol(statement: &Statement, notes: &mut Notes) -> Option<(&'static str, Place)> {
    let known = [("TCP", "tcp"), ("UDP", "udp"), ("SCTP", "sctp")];
    let word = word(statement, notes)?;
    let found = known.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours);
    if found.is_none() {
        value::not_read(statement, "TCP, UDP or SCTP", notes);
    }
    found.map(|protocol| (protocol, statement.place.clone()))
}

/// Seconds; without a number 6 minutes.
fn persistence(statement: &Statement, notes: &mut Notes) -> Option<(u64, Place)> {
    let seconds = match statement.word(1) {
        None => 360,
        Some(_) => number(statement, notes)?,
    };
    if !(1..=2_678_400).contains(&seconds) {
        let text = "persistence_timeout is from 1 to 2678400 seconds; keepalived leaves it out";
        notes.lost(&statement.place, format!("{}: {text}", statement.text()));
        return None;
    }
    Some((seconds, statement.place.clone()))
}

/// A netmask, or for IPv6 a length.
fn granularity(statement: &Statement, notes: &mut Notes) -> Option<(u8, Place)> {
    let text = word(statement, notes)?;
    let length = match text.parse::<std::net::Ipv4Addr>() {
        Ok(mask) => {
            let ones = mask.to_bits().leading_ones();
            let whole = ones + mask.to_bits().trailing_zeros() == 32 && ones > 0;
            whole.then_some(ones as u8)
        }
        Err(_) => text.parse().ok().filter(|length| (1..=128).contains(length)),
    };
    if length.is_none() {
        value::not_read(statement, "a mask that is a prefix", notes);
    }
    length.map(|length| (length, statement.place.clone()))
}

fn sorry(statement: &Statement, notes: &mut Notes) -> Option<(IpAddr, Option<u16>, Place)> {
    value::only(statement, 2, notes);
    let address = statement.word(1).and_then(|text| text.parse().ok());
    let port = port_or_all(statement.word(2));
    let (Some(address), Some(port)) = (address, port) else {
        value::not_read(statement, "an address and a port", notes);
        return None;
    };
    if let Some(why) = unusable(address) {
        notes.lost(
            &statement.place,
            format!("sorry_server {address}: {why}, which no packet reaches"),
        );
        return None;
    }
    Some((address, port, statement.place.clone()))
}
