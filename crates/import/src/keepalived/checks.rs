//! Checkers as `checks:`.

use super::{
    checker::{Checker, Kind},
    command::Command,
    global::Global,
    timing::{COMMON, Defaults, Timing, Wait},
};
use crate::{
    document::{Checks, Keys},
    note::Notes,
    yaml::Yaml,
};

/// The server that a checker asks.
pub(super) struct Asked<'a> {
    /// What the virtual and the real server say.
    pub(super) timing: Timing,
    pub(super) virtualhost: Option<&'a str>,
    /// The port that checkers ask unless told otherwise.
    pub(super) port: Option<u16>,
    /// That port is the one that xlvs takes, too.
    pub(super) same_port: bool,
    /// xlvs knows a port by itself, that of the service.
    pub(super) service_port: bool,
}

/// The names of what the checker asks, none if it has no equal.
pub(super) fn add(
    checker: &Checker,
    asked: &Asked<'_>,
    global: &Global,
    checks: &mut Checks,
) -> Result<Vec<String>, Notes> {
    let mut notes = checker.notes.clone();
    let timing = checker.timing.over(asked.timing);
    let connection = &checker.connection;
    let mut ends = Keys::new();
    let mut has_port = true;
    let bodies: Vec<(Keys, Notes)> = match &checker.kind {
        Kind::Tcp => vec![one("tcp")],
        Kind::Http(http) => http.keys(asked.virtualhost),
        Kind::Smtp { helo } => {
            let helo = helo.as_deref().unwrap_or("smtpchecker.keepalived.org");
            vec![with("smtp", vec![("helo", Yaml::text(helo))])]
        }
        Kind::Dns { name, record } => {
            vec![dns(name.as_deref(), record.as_deref(), checker, &mut notes)]
        }
        Kind::Udp { payload, reply } => vec![udp(payload.as_deref(), reply, checker, &mut notes)],
        other => {
            has_port = false;
            match other {
                Kind::Ping => vec![one("ping")],
                Kind::Misc { command, dynamic, .. } => {
                    misc(command.as_ref(), *dynamic, global, checker, &mut notes)
                        .into_iter()
                        .collect()
                }
                Kind::File { .. } => file(checker, global, &mut notes).into_iter().collect(),
                _ => {
                    notes.lost(
                        &checker.place,
                        "BFD_CHECK: there is no BFD; a ping check may do instead",
                    );
                    Vec::new()
                }
            }
        }
    };
    if let Kind::Http(http) = &checker.kind
        && http.urls.is_empty()
    {
        notes.lost(&checker.place, "a checker without url: keepalived leaves it out");
    }
    ends.extend(connection.address.map(|address| ("address", Yaml::text(address.to_string()))));
    if has_port {
        let own = asked.port.filter(|_| !asked.same_port);
        match connection.port.or(own) {
            Some(port) => ends.push(("port", Yaml::plain(port))),
            None if asked.port.is_none() && !asked.service_port => {
                let text = "a checker without connect_port on a server without a port: keepalived \
                            asks port 0, which never answers; it is left out";
                notes.lost(&checker.place, text);
                return Err(notes);
            }
            None => {}
        }
    }
    ends.extend(connection.source.map(|source| ("source", Yaml::text(source.to_string()))));
    ends.extend(connection.interface.iter().map(|name| ("interface", Yaml::text(name.as_str()))));
    if bodies.is_empty() {
        return Err(notes);
    }
    let times = times(&checker.kind, &timing, bodies.len());
    let mut names = Vec::new();
    for (mut keys, own) in bodies {
        keys.extend(ends.clone());
        keys.extend(times.clone());
        let mut all = notes.clone();
        all.append(own);
        names.push(checks.name(keys, all));
    }
    names.dedup();
    Ok(names)
}

fn times(kind: &Kind, timing: &Timing, urls: usize) -> Keys {
    let turns = if matches!(kind, Kind::Http(_)) { urls as u64 } else { 1 };
    let defaults = match kind {
        Kind::Http(_) => Defaults { delay_before_retry: Some(3000), ..COMMON },
        Kind::Dns { .. } => Defaults { retry: 3, delay_before_retry: None, ..COMMON },
        Kind::Misc { timeout, .. } => {
            Defaults { retry: 0, timeout: Wait::Script(*timeout), ..COMMON }
        }
        Kind::File { .. } => return at_once(),
        _ => COMMON,
    };
    timing.keys(defaults, turns)
}

/// keepalived is told of a change of a file by the kernel.
fn at_once() -> Keys {
    let second = || Yaml::time(1000);
    vec![
        ("interval", second()),
        ("timeout", second()),
        ("rise", Yaml::plain(1)),
        ("fall", Yaml::plain(1)),
        ("spread", Yaml::time(0)),
    ]
}

fn one(kind: &str) -> (Keys, Notes) {
    with(kind, Keys::new())
}

fn with(kind: &str, more: Keys) -> (Keys, Notes) {
    let mut keys = vec![("type", Yaml::plain(kind))];
    keys.extend(more);
    (keys, Notes::default())
}

const RECORDS: [&str; 7] = ["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"];

fn dns(name: Option<&str>, record: Option<&str>, at: &Checker, notes: &mut Notes) -> (Keys, Notes) {
    let record = record.map_or("SOA", |word| {
        let known = RECORDS.into_iter().find(|known| known.eq_ignore_ascii_case(word));
        known.unwrap_or_else(|| {
            notes.lost(&at.place, format!("type {word}: not known here; SOA is asked for"));
            "SOA"
        })
    });
    let name = name.unwrap_or(".");
    with("dns", vec![("question", Yaml::text(name)), ("record", Yaml::plain(record))])
}

fn udp(
    payload: Option<&str>,
    reply: &Option<Option<String>>,
    at: &Checker,
    notes: &mut Notes,
) -> (Keys, Notes) {
    let mut keys = Keys::new();
    match payload {
        Some(hex) if hex.contains('X') => {
            notes.lost(&at.place, format!("payload {hex}: a datagram has no unknown digits"));
        }
        Some(hex) => keys.push(("send_hex", Yaml::text(hex))),
        None => {
            let text =
                "without payload keepalived sends octets at random; one octet 0 is sent here";
            notes.say(&at.place, text);
        }
    }
    match reply {
        Some(Some(hex)) => keys.push(("expect_hex", Yaml::text(hex.as_str()))),
        Some(None) => keys.push(("expect", Yaml::text(""))),
        None => {}
    }
    with("udp", keys)
}

fn misc(
    command: Option<&Command>,
    dynamic: bool,
    global: &Global,
    at: &Checker,
    notes: &mut Notes,
) -> Option<(Keys, Notes)> {
    let Some(command) = command.filter(|command| !command.argv.is_empty()) else {
        notes.lost(&at.place, "MISC_CHECK without misc_path: keepalived leaves it out");
        return None;
    };
    let default = global.script_user.as_deref();
    command.told(default, &at.place, notes);
    let argv = command.argv.iter().map(|word| Yaml::text(word.as_str())).collect();
    let mut keys = vec![("argv", Yaml::List(argv)), ("user", Yaml::text(command.user(default)))];
    if dynamic {
        keys.push(("weight", Yaml::plain(true)));
    }
    Some(with("exec", keys))
}

/// Only a file that says yes or no has an equal: a number that is added to the weight has none.
fn file(at: &Checker, global: &Global, notes: &mut Notes) -> Option<(Keys, Notes)> {
    let Kind::File { name, weight, reverse } = &at.kind else { return None };
    let Some(file) = name.as_ref().and_then(|name| global.track_files.get(name)) else {
        let name = name.as_deref().unwrap_or("");
        notes.lost(&at.place, format!("FILE_CHECK: there is no track_file {name}"));
        return None;
    };
    let weight = weight.or(file.weight).unwrap_or(1);
    if weight != 0 || *reverse {
        let text = format!(
            "FILE_CHECK with weight {weight}: the number in {} times it is added to the server's \
             weight; a check of type file with weight: true takes the number itself",
            file.path
        );
        notes.lost(&at.place, text);
        return None;
    }
    if !file.path.starts_with('/') {
        notes.lost(&at.place, format!("FILE_CHECK of {}: not a whole path", file.path));
        return None;
    }
    Some(with("file", vec![("path", Yaml::text(file.path.as_str())), ("word", Yaml::text("0"))]))
}
