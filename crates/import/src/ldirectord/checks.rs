//! `checktype` and `service` as `checks:`.

use super::{Key, options::Options, real::Real};
use crate::{
    document::{Checks, Keys},
    note::{Notes, Place},
    yaml::Yaml,
};

const CHECK_TIMEOUT: u64 = 5000;
const NEGOTIATE_TIMEOUT: u64 = 30_000;
const CHECK_INTERVAL: u64 = 10_000;

/// The names of what is asked of a server, and whether it is off for good.
pub(super) fn names(
    real: &Real,
    key: &Key,
    all: &Options,
    checks: &mut Checks,
    notes: &mut Notes,
) -> (Vec<String>, bool) {
    let none = (Vec::new(), false);
    let (kind, place) = match &all.check_type {
        Some((kind, place)) => (kind.as_str(), place),
        None => ("negotiate", &real.place),
    };
    let udp = all.protocol.as_deref() == Some("udp");
    let mut own = Notes::default();
    let (keys, quick) = match kind {
        "on" => return none,
        "off" => {
            notes.lost(
                place,
                "checktype = off: servers that are never activated have weight 0 here",
            );
            return (Vec::new(), true);
        }
        "ping" => (Some(vec![("type", Yaml::plain("ping"))]), true),
        // Nothing connects by UDP, and ldirectord pings.
        "connect" if udp => (Some(vec![("type", Yaml::plain("ping"))]), true),
        "connect" => (Some(vec![("type", Yaml::plain("tcp"))]), true),
        "external" => (external(key, all, place, &mut own), true),
        "external-perl" => {
            let command = all.check_command.as_ref().map_or("", |(command, _)| command);
            notes.lost(
                place,
                format!("checktype = external-perl, checkcommand = {command}: no Perl is run"),
            );
            return none;
        }
        "negotiate" => (negotiate(real, key, all, &mut own), false),
        number if number.bytes().all(|b| b.is_ascii_digit()) => {
            let text =
                format!("checktype = {number}: every time it is asked, not every {number}th time");
            own.say(place, text);
            (negotiate(real, key, all, &mut own), false)
        }
        other => {
            notes.lost(place, format!("checktype = {other}: unknown"));
            return none;
        }
    };
    let Some(mut keys) = keys else {
        notes.append(own);
        return none;
    };
    if !port(real, key, all, &mut keys, &mut own) {
        notes.append(own);
        return none;
    }
    keys.extend(times(all, quick, place, &mut own));
    (vec![checks.name(keys, own)], false)
}

/// Writes the port where it is not the server's; false if there is none.
fn port(real: &Real, key: &Key, all: &Options, keys: &mut Keys, notes: &mut Notes) -> bool {
    let asks_port =
        !matches!(keys.first(), Some((_, Yaml::Plain(kind))) if kind == "ping" || kind == "exec");
    let of_service = if let Key::Endpoint(_, port) = key { *port } else { 0 };
    if !asks_port {
        return true;
    }
    let written = real.port.filter(|port| real.forward == "nat" || *port == of_service);
    match all.check_port.or(real.port.filter(|_| written.is_none())) {
        Some(port) => keys.push(("port", Yaml::plain(port))),
        None if real.port.is_none() && of_service == 0 => {
            notes.lost(
                &real.place,
                "a server without a port is asked on none: name it by checkport",
            );
            return false;
        }
        None => {}
    }
    true
}

fn times(all: &Options, quick: bool, place: &Place, notes: &mut Notes) -> Keys {
    let interval = all.check_interval.unwrap_or(CHECK_INTERVAL);
    let timeout = match quick {
        true => all.check_timeout.unwrap_or(CHECK_TIMEOUT),
        false => all.negotiate_timeout.or(all.check_timeout).unwrap_or(NEGOTIATE_TIMEOUT),
    };
    if timeout > interval && (all.negotiate_timeout.is_some() || all.check_timeout.is_some()) {
        let text = format!(
            "a timeout of {} s is longer than checkinterval, {} s, which is taken for both",
            timeout / 1000,
            interval / 1000
        );
        notes.say(place, text);
    }
    vec![
        ("interval", Yaml::time(interval)),
        ("timeout", Yaml::time(timeout.min(interval))),
        ("rise", Yaml::plain(1)),
        ("fall", Yaml::plain(all.failure_count.unwrap_or(1).clamp(1, 1000))),
        ("initial", Yaml::plain("wait")),
        ("spread", Yaml::time(0)),
    ]
}

/// The command is told VIP, port, server and its port.
fn external(key: &Key, all: &Options, place: &Place, notes: &mut Notes) -> Option<Keys> {
    let Some((command, place)) = &all.check_command else {
        notes.lost(place, "checktype = external without checkcommand");
        return None;
    };
    let mut words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if words.first().is_none_or(|program| !program.starts_with('/')) {
        words.insert(0, "/usr/bin/env".to_owned());
    }
    let (vip, port) = match key {
        Key::Endpoint(address, port) => (address.to_string(), port.to_string()),
        Key::Mark(mark) => (mark.to_string(), String::new()),
    };
    let told = [vip, port, "{address}".to_owned(), "{port}".to_owned()];
    notes.say(place, "checkcommand: as root, as ldirectord runs it");
    let argv = words.into_iter().chain(told).map(Yaml::Text).collect();
    Some(vec![
        ("type", Yaml::plain("exec")),
        ("argv", Yaml::List(argv)),
        ("user", Yaml::plain("root")),
    ])
}

/// Services by their ports, where `service` does not tell.
const BY_PORT: [(u16, &str); 19] = [
    (21, "ftp"),
    (25, "smtp"),
    (53, "dns"),
    (80, "http"),
    (110, "pop"),
    (119, "nntp"),
    (143, "imap"),
    (389, "ldap"),
    (443, "https"),
    (587, "submission"),
    (636, "ldaps"),
    (993, "imaps"),
    (995, "pops"),
    (1521, "oracle"),
    (1812, "radius"),
    (3128, "http_proxy"),
    (3306, "mysql"),
    (5060, "sip"),
    (5432, "pgsql"),
];

fn negotiate(real: &Real, key: &Key, all: &Options, notes: &mut Notes) -> Option<Keys> {
    let port = if let Key::Endpoint(_, port) = key { *port } else { 0 };
    let by_port = BY_PORT.iter().find(|(known, _)| *known == port).map_or("none", |(_, name)| name);
    let (service, place) = match &all.service {
        Some((service, place)) => (service.as_str(), place),
        None => (by_port, &real.place),
    };
    if service != "pgsql" {
        for (name, place) in all.login.iter().chain(&all.database) {
            notes.lost(
                place,
                format!("login or database {name}: nobody logs in to ask by service = {service}"),
            );
        }
    }
    let request = real.request.as_deref().or(all.request.as_deref());
    let receive = real.receive.as_deref().or(all.receive.as_ref().map(|(text, _)| text.as_str()));
    let kind = |kind: &str| vec![("type", Yaml::plain(kind))];
    let greeting = |expect: &str, notes: &mut Notes| {
        let text = format!("service = {service}: its greeting is looked at, nobody logs in");
        notes.lost(place, text);
        let mut keys = kind("tcp");
        keys.push(("expect", Yaml::text(expect)));
        keys
    };
    let handshake = |notes: &mut Notes| {
        let text = format!("service = {service}: the TLS handshake is looked at, nobody logs in");
        notes.lost(place, text);
        let mut keys = kind("tls");
        keys.push(("verify", Yaml::plain(false)));
        keys
    };
    Some(match service {
        "none" => return None,
        "http" | "https" => http(service, request, receive, all, place, notes),
        "smtp" | "submission" => kind("smtp"),
        "dns" => {
            let mut keys = kind("dns");
            keys.push(("question", Yaml::text(request.unwrap_or("."))));
            keys.push(("record", Yaml::plain(if request.is_some() { "A" } else { "SOA" })));
            keys.extend(receive.map(|answer| ("answer", Yaml::text(answer))));
            keys
        }
        "mysql" => {
            let text = "service = mysql: it is asked whether it answers a login, no query is made";
            notes.lost(place, text);
            kind("mysql")
        }
        "pgsql" => {
            let text = "service = pgsql: it is asked whether it answers, no query is made";
            notes.lost(place, text);
            let mut keys = kind("postgres");
            keys.extend(all.login.as_ref().map(|(user, _)| ("user", Yaml::text(user.as_str()))));
            keys.extend(
                all.database.as_ref().map(|(name, _)| ("database", Yaml::text(name.as_str()))),
            );
            keys
        }
        "simpletcp" => {
            let mut keys = kind("tcp");
            keys.extend(request.map(|text| ("send", Yaml::text(format!("{text}\\n")))));
            if let Some(text) = receive {
                notes.say(place, "receive is a text here, not a regular expression");
                keys.push(("expect", Yaml::text(text)));
            }
            keys
        }
        "ftp" => greeting("220", notes),
        "pop" => greeting("+OK", notes),
        "imap" => greeting("OK", notes),
        "nntp" => greeting("20", notes),
        "imaps" | "pops" | "ldaps" => handshake(notes),
        "ldap" | "oracle" | "http_proxy" => {
            notes.lost(place, format!("service = {service}: it is connected to, nothing is asked"));
            kind("tcp")
        }
        "radius" | "sip" => {
            notes.lost(
                place,
                format!("service = {service}: only whether ICMP refuses is looked at"),
            );
            kind("udp")
        }
        other => {
            notes.lost(place, format!("service = {other}: unknown"));
            return None;
        }
    })
}

fn http(
    service: &str,
    request: Option<&str>,
    receive: Option<&str>,
    all: &Options,
    place: &Place,
    notes: &mut Notes,
) -> Keys {
    let mut keys = vec![("type", Yaml::plain(service))];
    match all.method.as_deref() {
        None | Some("GET") => {}
        Some("HEAD") => keys.push(("method", Yaml::plain("HEAD"))),
        Some(other) => notes.lost(place, format!("httpmethod = {other}: GET is written")),
    }
    let path = request.unwrap_or("/");
    // A whole address of a page is taken too.
    let path =
        match path.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])) {
            Some(path) => path.to_owned(),
            None if path.starts_with('/') => path.to_owned(),
            None => format!("/{path}"),
        };
    let graphic = |octet: u8| match octet.is_ascii_graphic() {
        true => char::from(octet).to_string(),
        false => format!("%{octet:02X}"),
    };
    keys.push(("path", Yaml::text(path.bytes().map(graphic).collect::<String>())));
    keys.extend(all.virtualhost.as_ref().map(|host| ("host", Yaml::text(host.as_str()))));
    keys.push(("version", Yaml::text("1.1")));
    keys.push(("status", Yaml::List(vec![Yaml::text("200-299")])));
    notes.say(place, "redirects are not followed: one is bad, unless status: has its code");
    if let Some(text) = receive {
        match regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
            Ok(_) => keys.push(("body", Yaml::Map(vec![("matches", Yaml::text(text))]))),
            Err(error) => {
                let why = error.to_string().lines().last().unwrap_or("").to_owned();
                notes.lost(place, format!("receive = {text}: {why}; the body is not looked at"));
            }
        }
    }
    if service == "https" {
        keys.push(("verify", Yaml::plain(false)));
    }
    keys
}
