//! Every reader of answers that is ours, as a function of octets alone: for the test and for the
//! fuzz targets. What it says must fit a line of a log.

use std::{fmt::Debug, os::unix::process::ExitStatusExt, process::ExitStatus};

use health::{
    check::{Body, Dns, File},
    outcome::{Bad, Good},
    probe::parse,
};
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RecordType},
};

/// A reader, by the name of its folder in the corpus.
type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const PARSERS: [Parser; 13] = [
    ("body", body),
    ("dns", dns),
    ("exec", exec),
    ("file", file),
    ("line", line),
    ("mysql", mysql),
    ("mysql_login", mysql_login),
    ("ping", ping),
    ("postgres", postgres),
    ("redis", redis),
    ("smtp", smtp),
    ("tcp", tcp),
    ("udp", udp),
];

/// A page's body, or the beginning of one.
pub(crate) fn body(octets: &[u8]) {
    let wanted = [
        Body::Contains("ok".to_owned()),
        Body::Matches("^(a|b)*ok".to_owned()),
        Body::Digest("0".repeat(32)),
        Body::Digest("0".repeat(64)),
    ];
    for wanted in wanted {
        for whole in [false, true] {
            told(&parse::body(octets, whole, &wanted));
        }
    }
}

/// A message of DNS, to the question 0x1234 for the address of www.example.
pub(crate) fn dns(octets: &[u8]) {
    let mut question = Message::query();
    question.metadata.id = 0x1234;
    let mut name = Name::from_ascii("www.example").expect("a name");
    name.set_fqdn(true);
    question.add_query(Query::query(name, RecordType::A));
    for answer in [None, Some("192.0.2.8".to_owned())] {
        let (name, kind) = ("www.example".to_owned(), "A".to_owned());
        let probe = Dns { name, kind, rcode: Vec::new(), answer };
        if let parse::DnsAnswer::Judged(verdict) = parse::dns(octets, &question, &probe) {
            told(&verdict);
        }
    }
}

/// What a program said; the first octet is its exit code, or a signal.
pub(crate) fn exec(octets: &[u8]) {
    let Some((first, words)) = octets.split_first() else { return };
    for status in [i32::from(*first) << 8, i32::from(*first & 0x7f)] {
        told(&parse::exec(ExitStatus::from_raw(status), words, true));
    }
}

/// What a file has in it.
pub(crate) fn file(octets: &[u8]) {
    for word in [None, Some("up".to_owned())] {
        let probe = File { path: "/x".into(), word, weight: true };
        told(&parse::file(octets, &probe));
    }
}

/// A stream that is cut into lines, as it comes in pieces of seven octets.
pub(crate) fn line(octets: &[u8]) {
    let mut come = Vec::new();
    for piece in octets.chunks(7) {
        come.extend_from_slice(piece);
        while let Some(line) = parse::line(&mut come) {
            told(&line.as_ref().map(|_| ()).map_err(Clone::clone));
            let Ok(line) = line else { return };
            assert!(!line.contains(&b'\n') && line.len() <= 4096);
        }
        assert!(come.len() <= 4096 + 7);
    }
}

/// A packet of MySQL, in pieces, too: what was not all there is so with less of it.
pub(crate) fn mysql(octets: &[u8]) {
    growing(octets, parse::mysql);
}

/// What MySQL says to a login: the body of a packet.
pub(crate) fn mysql_login(octets: &[u8]) {
    told(&parse::mysql_login(octets));
}

/// A packet on a socket that waits for echo replies.
pub(crate) fn ping(octets: &[u8]) {
    for ipv6 in [false, true] {
        let _ = parse::ping(octets, ipv6, 9);
    }
}

/// A message of PostgreSQL.
pub(crate) fn postgres(octets: &[u8]) {
    growing(octets, parse::postgres);
}

/// A line of Redis.
pub(crate) fn redis(octets: &[u8]) {
    for wanted in ["OK", "PONG"] {
        told(&parse::redis(octets, wanted));
    }
}

/// A line of SMTP.
pub(crate) fn smtp(octets: &[u8]) {
    let reply = parse::smtp(octets);
    if let Ok(reply) = &reply {
        fits(&reply.text);
    }
    told(&reply.map(drop));
}

/// What an answer must have in it.
pub(crate) fn tcp(octets: &[u8]) {
    for wanted in [&b"o"[..], b"welcome", &[0; 300]] {
        let _ = parse::tcp(octets, wanted);
    }
}

/// A datagram.
pub(crate) fn udp(octets: &[u8]) {
    told(&parse::udp(octets, &[Some(1), None, Some(3)]));
    told(&parse::udp(octets, &[]));
}

/// An answer that is all there stays the same when more comes.
fn growing(octets: &[u8], parse: impl Fn(&[u8]) -> Option<Result<Good, Bad>>) {
    let Some(verdict) = parse(octets) else { return };
    told(&verdict);
    let half = parse(&octets[..octets.len() / 2]);
    // What is malformed tells what has come of it.
    let same = |half: Result<Good, Bad>| match (&half, &verdict) {
        (Err(one), Err(other)) => one.kind == other.kind,
        _ => half == verdict,
    };
    assert!(half.is_none_or(same), "{octets:?}");
}

/// What it says.
fn told<T: Says>(verdict: &Result<T, Bad>) {
    match verdict {
        Ok(good) => good.says().into_iter().for_each(fits),
        Err(bad) => fits(&bad.text),
    }
}

/// One line, without what moves a terminal.
fn fits(text: &str) {
    let whole = text.chars().count() <= 300 && !text.chars().any(char::is_control);
    assert!(whole, "{text:?}");
}

trait Says: Debug {
    fn says(&self) -> Option<&str>;
}

impl Says for () {
    fn says(&self) -> Option<&str> {
        None
    }
}

impl Says for Good {
    fn says(&self) -> Option<&str> {
        Some(&self.text)
    }
}
