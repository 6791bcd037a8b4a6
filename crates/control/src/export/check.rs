//! Checks: what is asked stands under `checks:`, how and whom at each use.

use std::{collections::BTreeMap, net::IpAddr};

use health::check::{
    Body, Check, Dns, Exec, File, Http, HttpVersion, Initial, Probe, Tcp, Timing, Tls, Udp, Via,
};

use super::node::{self, Map, Node, list, map, word};
use crate::model::{Model, Server, Service};

/// All that servers are asked, by name.
pub(super) fn definitions(model: &Model) -> Node {
    let mut known: BTreeMap<&str, &Probe> = BTreeMap::new();
    for check in model.services.iter().flat_map(|s| &s.servers).flat_map(|s| &s.checks) {
        known.insert(&check.name, &check.question.probe);
    }
    Node::named(known.into_iter().map(|(name, probe)| (name.to_owned(), probe_of(probe))))
}

/// The checks of a server, each with the terms that differ from the defaults.
pub(super) fn uses(service: &Service, server: &Server) -> Node {
    list(server.checks.iter().map(|check| used(service, server, check)))
}

fn used(service: &Service, server: &Server, check: &Check) -> Node {
    let mut of = map();
    of.put("name", word(&check.name));
    terms(service, server, check, &mut of);
    match Node::from(of) {
        Node::Map(entries) if entries.len() == 1 => word(&check.name),
        terms => terms,
    }
}

fn terms(service: &Service, server: &Server, check: &Check, of: &mut Map) {
    let Check { question, timing, .. } = check;
    let target = &question.target;
    let through = target.via != Via::Direct;
    let vip = service.key.endpoint().map(|endpoint| endpoint.address);
    let usual: Option<IpAddr> = if through { vip } else { Some(server.address) };
    of.put_some("address", (usual != Some(target.address)).then(|| word(target.address)));
    let usual = match () {
        () if !question.probe.has_port() && !question.probe.tells_the_port() => target.port,
        () if through => service.key.port(),
        () => server.port,
    };
    of.put_some("port", (target.port != usual).then(|| word(target.port)));
    of.put_some("source", target.source.map(word));
    of.put_some("interface", target.interface.as_ref().map(word));
    of.put_some("via", through.then(|| word("service")));
    let base = Timing::default();
    let Timing { interval, retry, rise, fall, spread, initial } = *timing;
    of.put_some("interval", (interval != base.interval).then(|| node::time(interval)));
    of.put_some("retry", (retry != interval).then(|| node::time(retry)));
    of.put_some("spread", (spread != interval).then(|| node::time(spread)));
    let timeout = question.timeout;
    of.put_some("timeout", (timeout.as_millis() != 1000).then(|| node::time(timeout)));
    of.put_some("rise", (rise != base.rise).then(|| word(rise)));
    of.put_some("fall", (fall != base.fall).then(|| word(fall)));
    let initial = match initial {
        Initial::Wait => None,
        Initial::Up => Some("up"),
        Initial::Down => Some("down"),
    };
    of.put_some("initial", initial.map(word));
}

fn probe_of(probe: &Probe) -> Node {
    let mut of = map();
    of.put("type", word(probe.name()));
    match probe {
        Probe::Tcp(Tcp { send, expect }) => {
            of.put_some("send", octets(send));
            of.put_some("expect", octets(expect));
        }
        Probe::Http(http) => page(http, &mut of),
        Probe::Tls(tls) => {
            handshake(tls, &mut of);
            of.put_some("alpn", list(tls.alpn.iter().map(word)).if_any());
        }
        Probe::Dns(Dns { name, kind, rcode, answer }) => {
            of.put("question", word(name));
            of.put("record", word(kind));
            of.put_some("rcode", list(rcode.iter().map(word)).if_any());
            of.put_some("answer", answer.as_ref().map(word));
        }
        Probe::Udp(Udp { send, expect }) => {
            let hex = |octet: &Option<u8>| octet.map_or("XX".to_owned(), |o| format!("{o:02x}"));
            let send: Vec<Option<u8>> = send.iter().map(|octet| Some(*octet)).collect();
            let all = |octets: &[Option<u8>]| word(octets.iter().map(hex).collect::<String>());
            of.put_some("send_hex", (!send.is_empty()).then(|| all(&send)));
            match expect.as_deref() {
                Some([]) => of.put("expect", word("")),
                Some(octets) => of.put("expect_hex", all(octets)),
                None => {}
            }
        }
        Probe::Ping | Probe::Mysql => {}
        Probe::Smtp { helo } => of.put("helo", word(helo)),
        Probe::Redis { password } => of.put_some("password", password.as_ref().map(word)),
        Probe::Postgres { user, database } => {
            of.put("user", word(user));
            of.put_some("database", database.as_ref().map(word));
        }
        Probe::Exec(Exec { argv, user, weight }) => {
            of.put("argv", list(argv.iter().map(word)));
            of.put("user", word(user));
            of.put_some("weight", weight.then(|| word(true)));
        }
        Probe::File(File { path, word: expected, weight }) => {
            of.put("path", word(path.display()));
            of.put_some("word", expected.as_ref().map(word));
            of.put_some("weight", weight.then(|| word(true)));
        }
    }
    of.into()
}

fn page(http: &Http, of: &mut Map) {
    let Http { method, path, host, version, headers, status, body, body_limit, tls } = http;
    of.put_some("method", (method != "GET").then(|| word(method)));
    of.put("path", word(path));
    of.put_some("host", host.as_ref().map(word));
    let version = match version {
        HttpVersion::Http10 => Some("1.0"),
        HttpVersion::Http11 => None,
        HttpVersion::Http2 => Some("2"),
    };
    of.put_some("version", version.map(word));
    let headers = headers.iter().map(|(name, value)| (name.clone(), word(value)));
    of.put_some("headers", Node::named(headers).if_any());
    let codes =
        |range: &std::ops::RangeInclusive<u16>| word(format!("{}-{}", range.start(), range.end()));
    of.put("status", list(status.iter().map(codes)));
    let body = match body {
        Body::Any => None,
        Body::Contains(text) => Some(("contains", text)),
        Body::Matches(regex) => Some(("matches", regex)),
        Body::Digest(hex) => Some(("digest", hex)),
    };
    of.put_some(
        "body",
        body.map(|(key, text)| {
            let mut of = map();
            of.put(key, word(text));
            of.into()
        }),
    );
    of.put("body_limit", word(body_limit));
    if let Some(tls) = tls {
        handshake(tls, of);
    }
}

fn handshake(tls: &Tls, of: &mut Map) {
    of.put_some("sni", tls.name.as_ref().map(word));
    of.put_some("verify", tls.verify.then(|| word(true)));
    of.put_some("ca", tls.ca.as_ref().map(|ca| word(ca.display())));
}

/// As `send` and `expect` have them.
fn octets(octets: &[u8]) -> Option<Node> {
    let shown = |octet: &u8| match octet {
        b'\\' => "\\\\".to_owned(),
        octet if octet.is_ascii_graphic() || *octet == b' ' => char::from(*octet).to_string(),
        octet => format!("\\x{octet:02x}"),
    };
    (!octets.is_empty()).then(|| word(octets.iter().map(shown).collect::<String>()))
}
