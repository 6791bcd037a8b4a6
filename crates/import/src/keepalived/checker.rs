//! Checkers of a real server, as they are written.

use std::net::IpAddr;

use super::{
    command::{self, Command},
    http::{self, Http},
    timing::Timing,
    tree::Statement,
    unknown,
    value::{self, number, port, time, truth, word},
};
use crate::note::{Notes, Place};

/// One checker.
pub(super) struct Checker {
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) timing: Timing,
    pub(super) connection: Connection,
    pub(super) notes: Notes,
}

/// What it asks.
pub(super) enum Kind {
    Tcp,
    Http(Http),
    Smtp { helo: Option<String> },
    Dns { name: Option<String>, record: Option<String> },
    Misc { command: Option<Command>, timeout: Option<u64>, dynamic: bool },
    Udp { payload: Option<String>, reply: Option<Option<String>> },
    Ping,
    File { name: Option<String>, weight: Option<i64>, reverse: bool },
    Bfd,
}

/// Whom it asks, and from where.
#[derive(Clone, Default)]
pub(super) struct Connection {
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) source: Option<IpAddr>,
    pub(super) interface: Option<String>,
}

/// Reads a checker; `None` if the statement is none. An SMTP_CHECK with several hosts is several.
pub(super) fn read(statement: &Statement, notes: &mut Notes) -> Option<Vec<Checker>> {
    let kind = match statement.keyword() {
        "TCP_CHECK" => Kind::Tcp,
        "HTTP_GET" => Kind::Http(Http::new(false)),
        "SSL_GET" => Kind::Http(Http::new(true)),
        "SMTP_CHECK" => Kind::Smtp { helo: None },
        "DNS_CHECK" => Kind::Dns { name: None, record: None },
        "MISC_CHECK" => Kind::Misc { command: None, timeout: None, dynamic: false },
        "UDP_CHECK" => Kind::Udp { payload: None, reply: None },
        "PING_CHECK" => Kind::Ping,
        "FILE_CHECK" => Kind::File { name: None, weight: None, reverse: false },
        "BFD_CHECK" => Kind::Bfd,
        _ => return None,
    };
    if let Some(more) = statement.words.get(1..).filter(|more| !more.is_empty()) {
        let text = format!("{}: more words than it takes: {}", statement.keyword(), more.join(" "));
        notes.lost(&statement.place, text);
    }
    let mut checker = Checker {
        kind,
        place: statement.place.clone(),
        timing: Timing::default(),
        connection: Connection::default(),
        notes: Notes::default(),
    };
    let mut hosts = Vec::new();
    for inner in statement.statements() {
        let mut said = std::mem::take(&mut checker.notes);
        if inner.keyword() == "host" && matches!(checker.kind, Kind::Smtp { .. }) {
            hosts.push(host(inner, &mut checker.timing, &mut said));
        } else {
            checker.one(inner, statement.keyword(), &mut said);
        }
        checker.notes = said;
    }
    if hosts.is_empty() {
        return Some(vec![checker]);
    }
    let Kind::Smtp { helo } = checker.kind else { return Some(Vec::new()) };
    let one = |connection: Connection| Checker {
        kind: Kind::Smtp { helo: helo.clone() },
        place: checker.place.clone(),
        timing: checker.timing,
        connection,
        notes: checker.notes.clone(),
    };
    Some(hosts.into_iter().map(one).collect())
}

/// `host { connect_ip ... }` of an SMTP_CHECK.
fn host(statement: &Statement, timing: &mut Timing, notes: &mut Notes) -> Connection {
    let mut connection = Connection::default();
    for inner in statement.statements() {
        if !connection.read(inner, notes) && !timing.read(inner, notes) {
            unknown(inner, "host", notes);
        }
    }
    connection
}

impl Connection {
    /// Reads one of the keywords; false if it is another one.
    fn read(&mut self, statement: &Statement, notes: &mut Notes) -> bool {
        match statement.keyword() {
            "connect_ip" => self.address = address(statement, notes),
            "connect_port" => self.port = port(statement, notes),
            "bindto" | "bind_to" => self.source = address(statement, notes),
            "bind_if" => self.interface = word(statement, notes).map(str::to_owned),
            "bind_port" | "fwmark" => {
                let text =
                    format!("{}: probes have a port of their own and no mark", statement.text());
                notes.lost(&statement.place, text);
            }
            _ => return false,
        }
        true
    }
}

fn address(statement: &Statement, notes: &mut Notes) -> Option<IpAddr> {
    let text = word(statement, notes)?;
    let address: Option<IpAddr> = text.parse().ok();
    match address.map(|address| (address, crate::server_address::unusable(address))) {
        Some((address, None)) => return Some(address),
        Some((_, Some(why))) => {
            notes.lost(&statement.place, format!("{}: {why}", statement.text()))
        }
        None => value::not_read(statement, "an address", notes),
    }
    None
}

impl Checker {
    fn one(&mut self, statement: &Statement, of: &str, notes: &mut Notes) {
        if self.timing.read(statement, notes) || self.connection.read(statement, notes) {
            return;
        }
        if statement.keyword() == "log_all_failures" {
            let _ = truth(statement, notes);
            notes.say(&statement.place, "log_all_failures: xlvs list has each check's last answer");
            return;
        }
        if let Kind::Http(http) = &mut self.kind
            && http::read(http, statement, notes)
        {
            return;
        }
        match &mut self.kind {
            Kind::Smtp { helo } if statement.keyword() == "helo_name" => {
                *helo = word(statement, notes).map(str::to_owned);
            }
            Kind::Dns { name, .. } if statement.keyword() == "name" => {
                *name = word(statement, notes).map(str::to_owned);
            }
            Kind::Dns { record, .. } if statement.keyword() == "type" => {
                *record = word(statement, notes).map(str::to_owned);
            }
            Kind::Misc { command, timeout, dynamic } => {
                misc(command, timeout, dynamic, statement, notes);
            }
            Kind::Udp { payload, reply } => udp(payload, reply, statement, notes),
            Kind::File { name, weight, reverse } => file(name, weight, reverse, statement, notes),
            Kind::Bfd if statement.keyword() == "name" => {}
            _ => unknown(statement, of, notes),
        }
    }
}

fn misc(
    command: &mut Option<Command>,
    timeout: &mut Option<u64>,
    dynamic: &mut bool,
    statement: &Statement,
    notes: &mut Notes,
) {
    let user = command.as_ref().and_then(|command| command.user.clone());
    match statement.keyword() {
        "misc_path" => {
            *command = Command::of(statement, statement.words.get(1..).unwrap_or(&[]), notes)
                .map(|command| Command { user, ..command });
        }
        "misc_timeout" => *timeout = time(statement, notes),
        "misc_dynamic" => *dynamic = truth(statement, notes).unwrap_or(false),
        "user" => {
            let name = statement.word(1).map(str::to_owned);
            // It may stand before misc_path.
            let known = command.get_or_insert_with(|| Command { argv: Vec::new(), user: None });
            known.user = name;
            if let Some(group) = statement.word(2) {
                command::group(statement, group, notes);
            }
        }
        _ => unknown(statement, "MISC_CHECK", notes),
    }
}

fn udp(
    payload: &mut Option<String>,
    reply: &mut Option<Option<String>>,
    statement: &Statement,
    notes: &mut Notes,
) {
    let words = statement.words.get(1..).unwrap_or(&[]);
    match statement.keyword() {
        "payload" => *payload = hexadecimal(words),
        "require_reply" if words.is_empty() => *reply = Some(None),
        "require_reply" => *reply = hexadecimal(words).map(Some),
        "min_reply_length" | "max_reply_length" => {
            let _ = number(statement, notes);
            let text = format!("{}: the length of a reply is not looked at", statement.text());
            notes.lost(&statement.place, text);
            return;
        }
        _ => return unknown(statement, "UDP_CHECK", notes),
    }
    let read = match statement.keyword() {
        "payload" => payload.is_some(),
        _ => reply.is_some(),
    };
    if !read {
        value::not_read(statement, "hexadecimal", notes);
    } else if words.iter().any(|word| word.contains(['x', 'X'])) && half_any(words) {
        let text = "a digit X beside one that counts: the whole octet may be any here";
        notes.lost(&statement.place, format!("{}: {text}", statement.text()));
    }
}

/// Digits in pairs; one that stands alone at the end of a word is an octet of its own
/// (`read_hex_str` in keepalived's lib/parser.c).
fn pairs(words: &[String]) -> Option<Vec<[char; 2]>> {
    let mut pairs = Vec::new();
    for word in words.iter().flat_map(|word| word.split_whitespace()) {
        let digits: Vec<char> = word.chars().collect();
        if !digits.iter().all(|c| c.is_ascii_hexdigit() || matches!(c, 'x' | 'X')) {
            return None;
        }
        for pair in digits.chunks(2) {
            pairs.push(if let [high, low] = pair { [*high, *low] } else { ['0', pair[0]] });
        }
    }
    (!pairs.is_empty()).then_some(pairs)
}

/// As xlvs has it: `XX` is any octet.
fn hexadecimal(words: &[String]) -> Option<String> {
    let any = |c: &char| matches!(c, 'x' | 'X');
    let octet = |pair: [char; 2]| match pair.iter().any(any) {
        true => "XX".to_owned(),
        false => pair.iter().collect::<String>().to_ascii_lowercase(),
    };
    Some(pairs(words)?.into_iter().map(octet).collect::<Vec<_>>().join(" "))
}

fn half_any(words: &[String]) -> bool {
    let any = |c: char| matches!(c, 'x' | 'X');
    pairs(words).is_some_and(|pairs| pairs.iter().any(|[high, low]| any(*high) != any(*low)))
}

fn file(
    name: &mut Option<String>,
    weight: &mut Option<i64>,
    reverse: &mut bool,
    statement: &Statement,
    notes: &mut Notes,
) {
    match statement.keyword() {
        "track_file" => *name = word(statement, notes).map(str::to_owned),
        "weight" => {
            *weight = statement.word(1).and_then(|text| text.parse().ok());
            *reverse = statement.word(2) == Some("reverse");
            if weight.is_none() {
                value::not_read(statement, "a weight", notes);
            }
        }
        "dynamic" => {}
        _ => unknown(statement, "FILE_CHECK", notes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets() {
        let octets = |text: &str| hexadecimal(&[text.to_owned()]);
        assert_eq!(
            octets("Ab12f 3 456 546443123").as_deref(),
            Some("ab 12 0f 03 45 06 54 64 43 12 03")
        );
        assert_eq!(octets("0aXXX1").as_deref(), Some("0a XX XX"));
        assert_eq!(octets("zz"), None);
    }
}
