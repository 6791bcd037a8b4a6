//! A DNS question by UDP, and by TCP when the answer was cut (RFC 1035, RFC 7766).

use std::str::FromStr;

use hickory_proto::{
    op::{Message, MessageType, Query},
    rr::{Name, RData, RecordType, rdata::TXT},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    net::{Net, receive, unreached},
    shown,
};
use crate::{
    check::{Dns, Target},
    outcome::{Bad, Good, Kind},
};

/// Records that are told, as far as the line has room.
const SHOWN: usize = 16;

pub(super) async fn ask(net: &Net, target: &Target, probe: &Dns) -> Result<Good, Bad> {
    let question = question(probe)?;
    let octets = question.to_vec().map_err(|error| refused(&error))?;
    let (socket, _pin) = net.datagrams(target).await?;
    socket.send(&octets).await.map_err(|error| unreached(&error))?;
    loop {
        match parse(&receive(&socket).await?, &question, probe) {
            // Somebody else's, or one of an earlier question: the right one may still come.
            Answer::NotOurs => {}
            Answer::Cut => break,
            Answer::Judged(verdict) => return verdict,
        }
    }
    let reply = by_tcp(net, target, &octets).await?;
    match parse(&reply, &question, probe) {
        Answer::Judged(verdict) => verdict,
        Answer::NotOurs | Answer::Cut => {
            Err(Bad::new(Kind::Malformed, "by TCP not an answer to what was asked"))
        }
    }
}

async fn by_tcp(net: &Net, target: &Target, octets: &[u8]) -> Result<Vec<u8>, Bad> {
    let (mut stream, _pin) = net.connect(target).await?;
    let mut framed = (octets.len() as u16).to_be_bytes().to_vec();
    framed.extend(octets);
    stream.write_all(&framed).await.map_err(|error| unreached(&error))?;
    let length = stream.read_u16().await.map_err(|error| unreached(&error))?;
    let mut reply = vec![0; length.into()];
    stream.read_exact(&mut reply).await.map_err(|error| unreached(&error))?;
    Ok(reply)
}

fn question(probe: &Dns) -> Result<Message, Bad> {
    let mut name = Name::from_str(&probe.name).map_err(|error| refused(&error))?;
    name.set_fqdn(true);
    let kind = RecordType::from_str(&probe.kind).map_err(|error| refused(&error))?;
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    Ok(message)
}

fn refused(error: &dyn std::fmt::Display) -> Bad {
    Bad::new(Kind::Local, format!("this question cannot be asked: {error}"))
}

/// What a message is to the question.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    NotOurs,
    /// A part of the answer.
    Cut,
    /// The answer.
    Judged(Result<Good, Bad>),
}

/// Reads a reply to `question`.
pub fn parse(octets: &[u8], question: &Message, probe: &Dns) -> Answer {
    if !holds(octets) {
        let sentence = "not a message of DNS: it counts more records than it has room for";
        return Answer::Judged(Err(Bad::new(Kind::Malformed, sentence)));
    }
    let message = match Message::from_vec(octets) {
        Ok(message) => message,
        Err(error) => {
            let error = shown(error.to_string().as_bytes());
            let sentence = format!("not a message of DNS: {error}");
            return Answer::Judged(Err(Bad::new(Kind::Malformed, sentence)));
        }
    };
    let (head, asked) = (&message.metadata, &question.metadata);
    if head.id != asked.id || head.message_type != MessageType::Response {
        return Answer::NotOurs;
    }
    // An error may come without the question.
    if !message.queries.is_empty() && message.queries != question.queries {
        return Answer::NotOurs;
    }
    let code = rcode(head.response_code.into());
    let good = match probe.rcode.as_slice() {
        [] => code == "NOERROR",
        codes => codes.contains(&code),
    };
    if !good {
        return Answer::Judged(Err(Bad::new(Kind::Wrong, format!("answers {code}"))));
    }
    let Some(wanted) = &probe.answer else {
        return Answer::Judged(Ok(Good::new(format!("answers {code}"))));
    };
    if head.truncation {
        return Answer::Cut;
    }
    let same = |text: &str| text.trim_end_matches('.') == wanted.trim_end_matches('.');
    let mut records = message.answers.iter().map(|record| written(&record.data));
    if let Some(record) = records.find(|record| same(record)) {
        return Answer::Judged(Ok(Good::new(format!("answers {}", shown(record.as_bytes())))));
    }
    let first = message.answers.iter().take(SHOWN).map(|record| written(&record.data));
    let (first, wanted) = (first.collect::<Vec<_>>(), shown(wanted.as_bytes()));
    let sentence = match first.is_empty() {
        true => format!("answers {code} without a record, not {wanted}"),
        false => format!("answers {}, not {wanted}", shown(first.join(", ").as_bytes())),
    };
    Answer::Judged(Err(Bad::new(Kind::Wrong, sentence)))
}

/// Whether a message is large enough for what its header counts (RFC 1035 section 4.1): a
/// question has 5 octets at least, a record 11. Memory is taken by these counts before they are
/// read.
fn holds(octets: &[u8]) -> bool {
    let Some((head, rest)) = octets.split_at_checked(12) else { return true };
    let count = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
    5 * count(4) + 11 * (count(6) + count(8) + count(10)) <= rest.len()
}

/// As `dig +short` writes it: texts are quoted one by one (RFC 1035 section 5.1).
fn written(data: &RData) -> String {
    let RData::TXT(TXT { txt_data, .. }) = data else { return data.to_string() };
    let texts: Vec<String> = txt_data.iter().map(|text| quoted(text)).collect();
    texts.join(" ")
}

fn quoted(text: &[u8]) -> String {
    let octets = text.iter().map(|octet| match octet {
        b'"' | b'\\' => format!("\\{}", char::from(*octet)),
        b' '..=b'~' => char::from(*octet).to_string(),
        other => format!("\\{other:03}"),
    });
    format!("\"{}\"", octets.collect::<String>())
}

/// The codes that the file knows (RFC 1035 section 4.1.1), and others by number.
fn rcode(code: u16) -> String {
    const NAMES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
    NAMES.get(usize::from(code)).map_or_else(|| format!("rcode {code}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(rcode: &[&str], answer: Option<&str>) -> Dns {
        Dns {
            name: "www.example".to_owned(),
            kind: "A".to_owned(),
            rcode: rcode.iter().map(|code| (*code).to_owned()).collect(),
            answer: answer.map(str::to_owned),
        }
    }

    /// A reply by hand: flags and code, and 192.0.2.7 in it or nothing.
    fn reply(id: u16, flags: u16, record: bool) -> Vec<u8> {
        let mut octets = id.to_be_bytes().to_vec();
        octets.extend(flags.to_be_bytes());
        octets.extend([0, 1, 0, u8::from(record), 0, 0, 0, 0]);
        octets.extend(b"\x03www\x07example\x00\x00\x01\x00\x01");
        if record {
            octets.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04");
            octets.extend([192, 0, 2, 7]);
        }
        octets
    }

    /// As dig 9.18 prints them.
    #[test]
    fn texts_are_written_as_dig_does() {
        let txt = |texts: Vec<&[u8]>| written(&RData::TXT(TXT::from_bytes(texts)));
        assert_eq!(
            txt(vec![b"v=spf1 -all", b"a\"b\\c\x07\xc3"]),
            r#""v=spf1 -all" "a\"b\\c\007\195""#
        );
    }

    #[test]
    fn replies() {
        let any = probe(&[], None);
        let question = question(&any).expect("a question");
        let id = question.metadata.id;
        let is_good = |octets: &[u8], probe: &Dns| match parse(octets, &question, probe) {
            Answer::Judged(verdict) => Some(verdict.is_ok()),
            _ => None,
        };
        assert_eq!(is_good(&reply(id, 0x8180, true), &any), Some(true));
        assert_eq!(is_good(&reply(id, 0x8183, false), &any), Some(false));
        assert_eq!(is_good(&reply(id, 0x8183, false), &probe(&["NXDOMAIN"], None)), Some(true));
        assert_eq!(is_good(&reply(id, 0x8180, true), &probe(&[], Some("192.0.2.7"))), Some(true));
        assert_eq!(is_good(&reply(id, 0x8180, true), &probe(&[], Some("192.0.2.8"))), Some(false));
        assert_eq!(is_good(&reply(id, 0x8180, false), &probe(&[], Some("192.0.2.7"))), Some(false));
        // Of another question; a question itself.
        assert_eq!(is_good(&reply(id ^ 1, 0x8180, true), &any), None);
        assert_eq!(is_good(&reply(id, 0x0100, false), &any), None);
        let cut = parse(&reply(id, 0x8380, false), &question, &probe(&[], Some("192.0.2.7")));
        assert_eq!(cut, Answer::Cut);
        let whole = reply(id, 0x8180, true);
        for end in 0..whole.len() {
            assert_ne!(is_good(&whole[..end], &any), Some(true), "{end}");
        }
    }
}
