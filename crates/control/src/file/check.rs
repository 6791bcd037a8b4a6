//! `checks:`, and what services and servers say of them.

use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use health::check::{
    Body, Dns, Exec, File, Http, HttpVersion, Initial, Probe, Require, Tcp, Tls, Udp,
};

use super::{
    cursor::{Cursor, Keys, Put, any_of},
    program,
    scalar::{self, Wrong},
};
use crate::fault::Fault;

/// One entry of `checks:`, or what a service says of one.
#[derive(Clone, Debug)]
pub struct Check {
    /// What is asked; `None` if a fault was reported.
    pub probe: Option<Probe>,
    /// What may be said again where the check is named.
    pub terms: Terms,
}

/// How a check asks: in `checks:`, in a service, in a server; the later one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// `address`.
    pub address: Option<Put<IpAddr>>,
    /// `port`.
    pub port: Option<Put<u16>>,
    /// `source`.
    pub source: Option<Put<IpAddr>>,
    /// `interface`.
    pub interface: Option<Put<String>>,
    /// `via: service`, or `direct`.
    pub via_service: Option<Put<bool>>,
    /// `interval`.
    pub interval: Option<Put<Duration>>,
    /// `timeout`.
    pub timeout: Option<Put<Duration>>,
    /// `retry`.
    pub retry: Option<Put<Duration>>,
    /// `spread`.
    pub spread: Option<Put<Duration>>,
    /// `rise`.
    pub rise: Option<u32>,
    /// `fall`.
    pub fall: Option<u32>,
    /// `initial`.
    pub initial: Option<Initial>,
}

impl Terms {
    /// These, and those of `base` where these say nothing.
    pub fn over(&self, base: &Self) -> Self {
        let one = self.clone();
        let other = base.clone();
        Self {
            address: one.address.or(other.address),
            port: one.port.or(other.port),
            source: one.source.or(other.source),
            interface: one.interface.or(other.interface),
            via_service: one.via_service.or(other.via_service),
            interval: one.interval.or(other.interval),
            timeout: one.timeout.or(other.timeout),
            retry: one.retry.or(other.retry),
            spread: one.spread.or(other.spread),
            rise: one.rise.or(other.rise),
            fall: one.fall.or(other.fall),
            initial: one.initial.or(other.initial),
        }
    }
}

/// A check that a service or a server names.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name in `checks:`.
    pub name: Put<String>,
    /// What is said beside the name.
    pub terms: Terms,
}

/// A day is longer than anybody waits for.
const LONGEST: Duration = Duration::from_secs(86_400);
/// Below this a check is a load.
const SHORTEST: Duration = Duration::from_millis(10);

/// The kinds of checks, by the word under `type:`.
const TYPES: [&str; 13] = [
    "tcp", "http", "https", "tls", "dns", "udp", "ping", "smtp", "redis", "mysql", "postgres",
    "exec", "file",
];

/// Words of other health checkers for what is one of ours.
const ELSEWHERE: [(&str, &str); 8] = [
    ("tcp_check", "tcp"),
    ("http_get", "http"),
    ("ssl_get", "https"),
    ("misc_check", "exec"),
    ("script", "exec"),
    ("connect", "tcp"),
    ("icmp", "ping"),
    ("pgsql", "postgres"),
];

pub(super) fn check(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Check {
    let nothing = Check { probe: None, terms: Terms::default() };
    let Some(mut keys) = at.keys(faults) else { return nothing };
    let kind = keys.need("type", faults, "write type: tcp, http, https or another one");
    let kind = kind.and_then(|at| at.read(faults, self::kind)).map(|put| put.value);
    let probe = kind.and_then(|kind| probe(kind, &mut keys, faults));
    let terms = terms(&mut keys, faults);
    if kind.is_some() {
        keys.finish(faults, |_| false);
    }
    Check { probe, terms }
}

fn kind(text: &str) -> Result<&'static str, Wrong> {
    if let Some(kind) = TYPES.iter().find(|kind| **kind == text) {
        return Ok(kind);
    }
    let lower = text.to_ascii_lowercase();
    let ours = ELSEWHERE.iter().find(|(name, _)| *name == lower).map(|(_, ours)| *ours);
    let remedy = ours.map_or_else(|| any_of(&TYPES), str::to_owned);
    Err(Wrong::new("not a type of checks", format!("write {remedy}")))
}

/// `NAME`, or `{name: NAME, port: 8080}`.
pub(super) fn named(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Named> {
    if !at.is_map() {
        let name = at.read(faults, scalar::name)?;
        return Some(Named { name, terms: Terms::default() });
    }
    let mut keys = at.keys(faults)?;
    let name = keys.need("name", faults, "write name: and one of checks:");
    let name = name.and_then(|at| at.read(faults, scalar::name));
    let terms = terms(&mut keys, faults);
    keys.finish(faults, |_| false);
    Some(Named { name: name?, terms })
}

/// `all`, `any` or a number.
pub(super) fn require(text: &str) -> Result<Require, Wrong> {
    match (text, text.parse()) {
        ("all", _) => Ok(Require::All),
        ("any", _) => Ok(Require::Any),
        (_, Ok(count @ 1..)) => Ok(Require::AtLeast(count)),
        _ => Err(Wrong::new("not a number of checks", "write all, any or how many must be up")),
    }
}

fn terms(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Terms {
    let mut time = |key| time(keys, key, faults);
    let (interval, timeout) = (time("interval"), time("timeout"));
    let (retry, spread) = (time("retry"), time("spread"));
    let mut count = |key: &'static str| {
        keys.take(key).and_then(|at| at.number(faults, 1, 1000)).map(|put| put.value)
    };
    let (rise, fall) = (count("rise"), count("fall"));
    let initial = [("wait", Initial::Wait), ("up", Initial::Up), ("down", Initial::Down)];
    let initial = keys.take("initial").and_then(|at| at.word(faults, &initial));
    let ways = [("direct", false), ("service", true)];
    Terms {
        address: keys.take("address").and_then(|at| at.read(faults, scalar::address)),
        port: port(keys, faults),
        source: keys.take("source").and_then(|at| at.read(faults, scalar::address)),
        interface: keys.take("interface").and_then(|at| at.read(faults, scalar::interface)),
        via_service: keys.take("via").and_then(|at| at.word(faults, &ways)),
        interval,
        timeout,
        retry,
        spread,
        rise,
        fall,
        initial: initial.map(|put| put.value),
    }
}

fn port(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Option<Put<u16>> {
    let put = keys.take("port").and_then(|at| at.number(faults, 1, 65_535))?;
    Some(Put { value: put.value as u16, spot: put.spot })
}

fn time(keys: &mut Keys<'_>, key: &'static str, faults: &mut Vec<Fault>) -> Option<Put<Duration>> {
    let put = keys.take(key).and_then(|at| at.read(faults, scalar::duration))?;
    // Without a spread all begin at once.
    let least = if key == "spread" { Duration::ZERO } else { SHORTEST };
    if put.value < least || put.value > LONGEST {
        faults.push(put.spot.fault("out of range", "write a time from 10ms to 1d"));
        return None;
    }
    Some(put)
}

/// What a check of this type asks; the keys of other types are unknown.
fn probe(kind: &str, keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Option<Probe> {
    Some(match kind {
        "tcp" => Probe::Tcp(Tcp {
            send: text(keys, "send", faults).map(|text| octets(&text)).unwrap_or_default(),
            expect: text(keys, "expect", faults).map(|text| octets(&text)).unwrap_or_default(),
        }),
        "http" => Probe::Http(http(keys, None, faults)),
        "https" => {
            let tls = tls(keys, faults);
            Probe::Http(http(keys, Some(tls), faults))
        }
        "tls" => Probe::Tls(Tls { alpn: words(keys, "alpn", faults), ..tls(keys, faults) }),
        "dns" => dns(keys, faults)?,
        "udp" => udp(keys, faults),
        "ping" => Probe::Ping,
        "smtp" => Probe::Smtp {
            helo: text(keys, "helo", faults).unwrap_or_else(|| "xlvs.invalid".to_owned()),
        },
        "redis" => Probe::Redis { password: text(keys, "password", faults) },
        "mysql" => Probe::Mysql,
        "postgres" => Probe::Postgres {
            user: text(keys, "user", faults).unwrap_or_else(|| "xlvs".to_owned()),
            database: text(keys, "database", faults),
        },
        "exec" => exec(keys, faults)?,
        _ => file(keys, faults)?,
    })
}

fn text(keys: &mut Keys<'_>, key: &'static str, faults: &mut Vec<Fault>) -> Option<String> {
    keys.take(key).and_then(|at| at.text(faults)).map(str::to_owned)
}

fn words(keys: &mut Keys<'_>, key: &'static str, faults: &mut Vec<Fault>) -> Vec<String> {
    let items = keys.take(key).map(|at| at.one_or_more(faults)).unwrap_or_default();
    items.iter().filter_map(|item| item.text(faults)).map(str::to_owned).collect()
}

/// `\r`, `\n`, `\t`, `\\` and `\xHH` in a text stand for one octet, whatever YAML's quotes are.
fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let (octet, used) = match (first, more) {
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'\\', ..]) => (b'\\', 2),
            (b'\\', [b'x', high, low, ..]) if hex(&[*high, *low]).is_some() => {
                (hex(&[*high, *low]).unwrap_or_default(), 4)
            }
            _ => (*first, 1),
        };
        octets.push(octet);
        rest = &rest[used..];
    }
    octets
}

const METHODS: [(&str, &str); 4] =
    [("GET", "GET"), ("HEAD", "HEAD"), ("POST", "POST"), ("OPTIONS", "OPTIONS")];
const VERSIONS: [(&str, HttpVersion); 4] = [
    ("1.0", HttpVersion::Http10),
    ("1.1", HttpVersion::Http11),
    ("2", HttpVersion::Http2),
    ("2.0", HttpVersion::Http2),
];
/// Octets of a body that are read unless `body_limit` says another number.
const BODY_LIMIT: usize = 1 << 16;
const BODY_LIMIT_MOST: u32 = 1 << 24;

fn http(keys: &mut Keys<'_>, tls: Option<Tls>, faults: &mut Vec<Fault>) -> Http {
    let method = keys.take("method").and_then(|at| at.word(faults, &METHODS));
    let path = keys.take("path").and_then(|at| at.read(faults, path));
    let version = keys.take("version").and_then(|at| at.word(faults, &VERSIONS));
    let limit = keys.take("body_limit").and_then(|at| at.number(faults, 1, BODY_LIMIT_MOST));
    let headers = keys.take("headers").map(|at| at.named(faults)).unwrap_or_default();
    let headers = headers.iter().filter_map(|(name, at)| {
        let value = at.read(faults, header)?;
        Some((name.value.clone(), value.value))
    });
    let headers = headers.collect();
    Http {
        method: method.map_or("GET", |put| put.value).to_owned(),
        path: path.map_or_else(|| "/".to_owned(), |put| put.value),
        host: text(keys, "host", faults),
        version: version.map(|put| put.value).unwrap_or_default(),
        headers,
        status: status(keys, faults),
        body: keys.take("body").map(|at| body(&at, faults)).unwrap_or_default(),
        body_limit: limit.map_or(BODY_LIMIT, |put| put.value as usize),
        tls,
    }
}

fn path(text: &str) -> Result<String, Wrong> {
    let fits = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err(Wrong::new("not a path", "write it like /healthz")) }
}

fn header(text: &str) -> Result<String, Wrong> {
    if text.chars().any(char::is_control) {
        return Err(Wrong::new("not the value of a header", "write it in one line"));
    }
    Ok(text.to_owned())
}

fn status(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Vec<RangeInclusive<u16>> {
    let items = keys.take("status").map(|at| at.one_or_more(faults));
    let Some(items) = items else { return vec![200..=299] };
    let code = |item: &Cursor<'_>| item.read(faults, status_codes).map(|put| put.value);
    items.iter().filter_map(code).collect()
}

/// A code or a range of them.
fn status_codes(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse(), high.trim().parse()) {
        (Ok(low @ 100..=599), Ok(high @ 100..=599)) if low <= high => Ok(low..=high),
        _ => Err(Wrong::new("not a status of HTTP", "write codes from 100 to 599, like 200-299")),
    }
}

/// `{contains: TEXT}`, `{matches: REGEX}` or `{digest: HEX}`.
fn body(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Body {
    let Some(mut keys) = at.keys(faults) else { return Body::Any };
    let contains = text(&mut keys, "contains", faults).map(Body::Contains);
    let matches = keys.take("matches").and_then(|at| at.read(faults, regex));
    let digest = keys.take("digest").and_then(|at| at.read(faults, digest));
    keys.finish(faults, |_| false);
    let mut all = contains
        .into_iter()
        .chain(matches.map(|put| Body::Matches(put.value)))
        .chain(digest.map(|put| Body::Digest(put.value)));
    let first = all.next();
    if all.next().is_some() {
        faults.push(at.fault("more than one of contains, matches and digest", "keep one"));
    }
    first.unwrap_or_default()
}

fn regex(text: &str) -> Result<String, Wrong> {
    match health::probe::check_regex(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(why) => Err(Wrong::new(format!("not a regular expression: {why}"), "correct it")),
    }
}

fn digest(text: &str) -> Result<String, Wrong> {
    if matches!(text.len(), 32 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Wrong::new("not a digest", "write an MD5 (32 hex digits) or a SHA-256 (64), in quotes"))
}

/// `sni` (or the host), `verify` and `ca`.
fn tls(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Tls {
    let verify = keys.take("verify").and_then(|at| at.truth(faults)).unwrap_or(false);
    let ca = keys.take("ca").and_then(|at| at.read(faults, ca));
    if let Some(ca) = ca.as_ref().filter(|_| !verify) {
        faults.push(ca.spot.fault("ca without verify would do nothing", "add verify: true"));
    }
    Tls { name: text(keys, "sni", faults), verify, ca: ca.map(|put| put.value), alpn: Vec::new() }
}

fn ca(text: &str) -> Result<PathBuf, Wrong> {
    let path = PathBuf::from(text);
    match health::probe::check_ca(&path) {
        Ok(()) => Ok(path),
        Err(why) => Err(Wrong::new(why, "write a PEM file of certificates")),
    }
}

const DNS_TYPES: [(&str, &str); 9] = [
    ("A", "A"),
    ("AAAA", "AAAA"),
    ("NS", "NS"),
    ("SOA", "SOA"),
    ("MX", "MX"),
    ("TXT", "TXT"),
    ("CNAME", "CNAME"),
    ("SRV", "SRV"),
    ("PTR", "PTR"),
];
const RCODES: [(&str, &str); 6] = [
    ("NOERROR", "NOERROR"),
    ("FORMERR", "FORMERR"),
    ("SERVFAIL", "SERVFAIL"),
    ("NXDOMAIN", "NXDOMAIN"),
    ("NOTIMP", "NOTIMP"),
    ("REFUSED", "REFUSED"),
];

fn dns(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Option<Probe> {
    let name = keys.need("question", faults, "write question: www.example.org");
    let name = name.and_then(|at| at.read(faults, scalar::name));
    let kind = keys.take("record").and_then(|at| at.word(faults, &DNS_TYPES));
    let items = keys.take("rcode").map(|at| at.one_or_more(faults)).unwrap_or_default();
    let rcode = items.iter().filter_map(|item| item.word(faults, &RCODES));
    let rcode = rcode.map(|put| put.value.to_owned()).collect();
    let answer = text(keys, "answer", faults);
    Some(Probe::Dns(Dns {
        name: name?.value,
        kind: kind.map_or("A", |put| put.value).to_owned(),
        rcode,
        answer,
    }))
}

fn udp(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Probe {
    let hex = keys.take("send_hex").and_then(|at| at.read(faults, hexadecimal));
    let send = text(keys, "send", faults).map(|text| octets(&text));
    let send =
        hex.map(|put| put.value.into_iter().map(Option::unwrap_or_default).collect()).or(send);
    let pattern = keys.take("expect_hex").and_then(|at| at.read(faults, hexadecimal));
    let expect = text(keys, "expect", faults).map(|text| octets(&text));
    let expect = expect.map(|octets| octets.into_iter().map(Some).collect());
    Probe::Udp(Udp {
        send: send.unwrap_or_default(),
        expect: pattern.map(|put| put.value).or(expect),
    })
}

/// Pairs of hexadecimal digits; `XX` is any octet.
fn hexadecimal(text: &str) -> Result<Vec<Option<u8>>, Wrong> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let octet = |pair: &[char]| match pair {
        ['X' | 'x', 'X' | 'x'] => Some(None),
        [high, low] => Some(Some((high.to_digit(16)? * 16 + low.to_digit(16)?) as u8)),
        _ => None,
    };
    let octets: Option<Vec<Option<u8>>> = digits.chunks(2).map(octet).collect();
    let remedy = "write pairs of hexadecimal digits, XX for any octet";
    octets.filter(|all| !all.is_empty()).ok_or_else(|| Wrong::new("not hexadecimal", remedy))
}

fn exec(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Option<Probe> {
    let argv = program::argv(keys, "/usr/local/bin/check", faults);
    let user = program::user(keys, faults);
    let weight = keys.take("weight").and_then(|at| at.truth(faults)).unwrap_or(false);
    Some(Probe::Exec(Exec { argv: argv?, user, weight }))
}

fn file(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Option<Probe> {
    let path = keys.need("path", faults, "write path: /run/xlvs/web");
    let path = path.and_then(|at| at.read(faults, scalar::whole_path));
    let word = text(keys, "word", faults);
    let weight = keys.take("weight").and_then(|at| at.truth(faults)).unwrap_or(false);
    Some(Probe::File(File { path: path?.value, word, weight }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_in_a_text() {
        assert_eq!(octets(r"a\r\n\x00\\\q"), b"a\r\n\x00\\\\q");
        assert_eq!(hexadecimal("00 XX ff").unwrap(), [Some(0), None, Some(255)]);
        assert!(
            hexadecimal("0").is_err() && hexadecimal("").is_err() && hexadecimal("0g").is_err()
        );
    }
}
