//! ldirectord.cf.
//!
//! Keywords and defaults are those of ldirectord(8), resource-agents 4.

mod checks;
mod options;
mod real;

use std::{net::IpAddr, rc::Rc};

use ::ipvsadm::{Protocol, Resolver};
use options::Options;

use crate::{
    Imported, Settings,
    document::{Document, Hook, Keys, Server, Servers, Service, Takes, lift},
    note::{Notes, Place},
    scheduler::{SCHEDULERS, scheduler},
    server_address::{endpoint, unusable},
    yaml::Yaml,
};

/// A line `key = value`.
struct Line {
    key: String,
    value: String,
    place: Place,
}

/// A `virtual =` and what is indented below it.
struct Virtual {
    head: Line,
    lines: Vec<Line>,
}

/// Translates an ldirectord.cf. `name` is what it is called in notes, `names` knows hosts and
/// ports by name.
pub fn import(name: &str, text: &str, names: &dyn Resolver, settings: &Settings) -> Imported {
    let mut document = Document::default();
    let (lines, virtuals) = read(name, text, &mut document.notes);
    let mut global = Options::default();
    for line in &lines {
        if !global.read(line, names, &mut document.notes) {
            let text = format!("unknown at the top: {} = {}", line.key, line.value);
            document.notes.lost(&line.place, text);
        }
    }
    let head = [
        format!("Made from {name} by xlvs import ldirectord."),
        "ldirectord's defaults are written out. A check's timeout holds for all of it, and is not"
            .to_owned(),
        "longer than the time from check to check.".to_owned(),
    ];
    document.head.extend(head);
    virtuals.iter().for_each(|virtual_| add(virtual_, &global, names, &mut document));
    document.lift_mails();
    document.finish(settings)
}

fn read(name: &str, text: &str, notes: &mut Notes) -> (Vec<Line>, Vec<Virtual>) {
    let file: Rc<str> = name.into();
    let (mut lines, mut virtuals) = (Vec::new(), Vec::<Virtual>::new());
    for (at, text) in text.lines().enumerate() {
        let place = Place::new(&file, at + 1);
        let bare = without_comment(text);
        if bare.trim().is_empty() {
            continue;
        }
        let Some((key, value)) = bare.split_once('=') else {
            notes.lost(&place, format!("not key = value: {}", bare.trim()));
            continue;
        };
        let key = key.trim().to_ascii_lowercase();
        let line = Line { key, value: value.trim().to_owned(), place };
        let indented = bare.starts_with([' ', '\t']);
        if matches!(line.key.as_str(), "virtual" | "virtual6") {
            virtuals.push(Virtual { head: line, lines: Vec::new() });
        } else if let (true, Some(last)) = (indented, virtuals.last_mut()) {
            last.lines.push(line);
        } else {
            lines.push(line);
        }
    }
    (lines, virtuals)
}

/// `#` begins a comment at the begin of a line and behind a blank, but not in quotes.
fn without_comment(line: &str) -> &str {
    let (mut quoted, mut before) = (false, ' ');
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted && matches!(before, ' ' | '\t') => return &line[..at],
            _ => {}
        }
        before = c;
    }
    line.trim_end_matches('\r')
}

/// What a virtual service takes.
enum Key {
    Endpoint(IpAddr, u16),
    Mark(u32),
}

fn add(written: &Virtual, global: &Options, names: &dyn Resolver, document: &mut Document) {
    let mut notes = Notes::default();
    let head = &written.head;
    let Some(key) = key(&head.value, names) else {
        let mut text =
            format!("virtual = {}: not an address and a port that are known here", head.value);
        for line in &written.lines {
            text.push_str(&format!("; {} = {}", line.key, line.value));
        }
        return document.notes.lost(&head.place, text);
    };
    let mut own = Options::default();
    let mut reals = Vec::new();
    for line in &written.lines {
        if matches!(line.key.as_str(), "real" | "real6") {
            reals.extend(real::read(line, names, &mut notes));
        } else if !own.read(line, names, &mut notes) {
            let text = format!("unknown in a virtual: {} = {}", line.key, line.value);
            notes.lost(&line.place, text);
        }
    }
    let all = own.over(global);
    let takes = takes(&key, &all, &head.place, &mut notes);
    let ipv6 = match &takes {
        Takes::Mark { .. } => reals.first().is_some_and(|real| real.address.is_ipv6()),
        Takes::Listen(_) => matches!(key, Key::Endpoint(IpAddr::V6(_), _)),
    };
    let takes = match takes {
        Takes::Mark { mark, .. } => Takes::Mark { mark, ipv6 },
        listen => listen,
    };
    // What LVS has without a server is of no use: NAT is as good as any.
    let forward = reals.first().map_or("nat", |real| real.forward);
    let mut members = Vec::new();
    for real in reals {
        members.extend(member(real, &key, ipv6, forward, &all, document, &mut notes));
    }
    let mut service_checks = Vec::new();
    lift(&mut members, &mut service_checks);
    let checked = !service_checks.is_empty()
        || members.iter().any(|m| m.checks.as_ref().is_some_and(|c| !c.is_empty()));
    let keys = keys(&key, &all, forward, checked, &head.place, &mut notes);
    let name = match &takes {
        Takes::Listen(listen) => listen.concat(),
        Takes::Mark { mark, .. } => format!("mark {mark}"),
    };
    let sorry = sorry(&all, ipv6, forward, &key, &mut notes);
    let hooks = hooks(&all, sorry.is_some());
    document.services.push(Service {
        name: document.service_name(&name),
        place: head.place.clone(),
        takes,
        keys,
        checks: service_checks,
        sorry,
        hooks,
        servers: Servers::Here(members),
        notes,
    });
}

fn key(text: &str, names: &dyn Resolver) -> Option<Key> {
    if let Ok(mark) = text.parse::<u32>() {
        return (mark > 0).then_some(Key::Mark(mark));
    }
    let (host, port) = text.rsplit_once(':')?;
    let address = address(host, names)?;
    if unusable(address).is_some() {
        return None;
    }
    Some(Key::Endpoint(address, self::port(port, names)?))
}

fn address(text: &str, names: &dyn Resolver) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| names.host(bare).map(IpAddr::V4))
}

fn port(text: &str, names: &dyn Resolver) -> Option<u16> {
    text.parse().ok().or_else(|| names.port(text, Protocol::Tcp))
}

fn takes(key: &Key, all: &Options, place: &Place, notes: &mut Notes) -> Takes {
    match key {
        Key::Mark(mark) => Takes::Mark { mark: *mark, ipv6: false },
        Key::Endpoint(address, port) => {
            let default = if *port == 53 { "udp" } else { "tcp" };
            let protocol = match all.protocol.as_deref() {
                None => default,
                Some("tcp") => "tcp",
                Some("udp") => "udp",
                Some("sctp") => "sctp",
                Some(other) => {
                    notes.lost(place, format!("protocol = {other}: {default} is written"));
                    default
                }
            };
            Takes::Listen(vec![format!("{}/{protocol}", endpoint(*address, Some(*port)))])
        }
    }
}

fn keys(
    key: &Key,
    all: &Options,
    forward: &str,
    checked: bool,
    place: &Place,
    notes: &mut Notes,
) -> Keys {
    let name = all.scheduler.as_deref().unwrap_or("wrr");
    let known = SCHEDULERS.into_iter().find(|known| *known == name).unwrap_or_else(|| {
        notes.lost(place, format!("scheduler = {name}: not known; wrr is written"));
        "wrr"
    });
    let mut keys = vec![
        ("forward", Yaml::plain(forward)),
        ("scheduler", scheduler(known, std::iter::empty(), notes)),
    ];
    let every = matches!(key, Key::Endpoint(_, 0));
    let persistent = all.persistent.or_else(|| {
        every.then(|| {
            notes.lost(
                place,
                "port 0 without persistent, which the kernel refuses; 6 minutes are written",
            );
            360
        })
    });
    if let Some(seconds) = persistent {
        let timeout = Yaml::time(seconds * 1000);
        keys.push((
            "persistence",
            match all.netmask {
                Some(length) => {
                    Yaml::Map(vec![("timeout", timeout), ("mask", Yaml::plain(length))])
                }
                None => timeout,
            },
        ));
    }
    if all.ops == Some(true) {
        keys.push(("one_packet", Yaml::plain(true)));
    }
    if checked {
        let quiescent = all.quiescent.unwrap_or(true);
        keys.push(("on_down", Yaml::plain(if quiescent { "weight0" } else { "remove" })));
        if quiescent {
            keys.push(("existing", Yaml::plain("keep")));
        }
    }
    keys
}

fn member(
    real: real::Real,
    key: &Key,
    ipv6: bool,
    forward: &'static str,
    all: &Options,
    document: &mut Document,
    notes: &mut Notes,
) -> Option<Server> {
    let shown = endpoint(real.address, real.port);
    if real.address.is_ipv6() != ipv6 && real.forward != "tun" {
        notes.lost(&real.place, format!("real = {shown}: of another family than the virtual"));
        return None;
    }
    let mut own = Notes::default();
    let of_service = if let Key::Endpoint(_, port) = key { *port } else { 0 };
    let other = real.port.filter(|port| real.forward != "nat" && *port != of_service);
    if let Some(port) = other {
        own.say(
            &real.place,
            format!("port {port} does not count with {}: the service's is kept", real.forward),
        );
    }
    let mut keys = Keys::new();
    let (checks, off) = checks::names(&real, key, all, &mut document.checks, &mut own);
    let weight = if off { 0 } else { real.weight };
    if weight != 1 {
        keys.push(("weight", Yaml::plain(weight)));
    }
    if real.forward != forward {
        keys.push(("forward", Yaml::plain(real.forward)));
    }
    let port = real.port.filter(|_| other.is_none());
    Some(Server {
        address: real.address,
        port,
        place: real.place,
        keys,
        checks: Some(checks),
        notes: own,
    })
}

fn sorry(all: &Options, ipv6: bool, forward: &str, key: &Key, notes: &mut Notes) -> Option<Server> {
    let fallback = all.fallback.as_ref()?;
    let what = format!("fallback {}", endpoint(fallback.address, fallback.port));
    if let Some(why) = unusable(fallback.address) {
        let text = format!(
            "{what}: {why}; packets are taken before a server of this box could see \
                            them: name another host, or its address on the network with gate"
        );
        notes.lost(&fallback.place, text);
        return None;
    }
    if fallback.address.is_ipv6() != ipv6 && fallback.forward != "tun" {
        notes.lost(&fallback.place, format!("{what}: of another family than the virtual"));
        return None;
    }
    let of_service = if let Key::Endpoint(_, port) = key { *port } else { 0 };
    let port = fallback.port.filter(|port| fallback.forward == "nat" || *port == of_service);
    let mut keys = Keys::new();
    if fallback.forward != forward {
        keys.push(("forward", Yaml::plain(fallback.forward)));
    }
    Some(Server {
        address: fallback.address,
        port,
        place: fallback.place.clone(),
        keys,
        checks: None,
        notes: Notes::default(),
    })
}

fn hooks(all: &Options, sorry: bool) -> Vec<Hook> {
    let mut hooks = Vec::new();
    if let Some((to, place)) = &all.mail {
        hooks.push(Hook::mail(to, all.mail_from.as_deref(), vec!["server"], place));
    }
    if let Some((command, place)) = &all.fallback_command {
        let events =
            if sorry { ["service.sorry", "service.up"] } else { ["quorum.lost", "quorum.met"] };
        for (on, word) in events.into_iter().zip(["start", "stop"]) {
            let mut notes = Notes::default();
            notes.say(place, "fallbackcommand: as root, as ldirectord runs it");
            let argv = vec![command.clone(), word.to_owned()];
            let user = Some("root".to_owned());
            hooks.push(Hook { argv, on: vec![on], user, at_start: false, notes });
        }
    }
    hooks
}
