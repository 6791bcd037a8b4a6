//! `lvs_method` and `lvs_sched`.

use super::{tree::Statement, value};
use crate::{
    document::Keys,
    note::{Notes, Place},
    scheduler::{SCHEDULERS, scheduler},
    yaml::Yaml,
};

/// How packets reach servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Method {
    /// xlvs's word.
    pub(super) forward: &'static str,
    /// `tunnel`, where it is not IP in IP without anything.
    pub(super) tunnel: Option<Yaml>,
}

impl Method {
    pub(super) const NAT: Self = Self { forward: "nat", tunnel: None };

    /// `NAT`, `DR` or `TUN [type ipip|gue port N|gre] [nocsum|csum|remcsum]`.
    pub(super) fn read(statement: &Statement, notes: &mut Notes) -> Option<Self> {
        let forward = match statement.word(1) {
            Some("NAT") => "nat",
            Some("DR") => "dr",
            Some("TUN") => return Some(tunnel(statement, notes)),
            _ => {
                value::not_read(statement, "NAT, DR or TUN; keepalived takes NAT", notes);
                return None;
            }
        };
        value::only(statement, 1, notes);
        Some(Self { forward, tunnel: None })
    }

    /// Servers must have the port of the service.
    pub(super) fn keeps_port(&self) -> bool {
        self.forward != "nat"
    }
}

fn tunnel(statement: &Statement, notes: &mut Notes) -> Method {
    let mut words = statement.words.iter().skip(2).map(String::as_str);
    let (mut kind, mut port, mut checksum) = ("ipip", None, false);
    while let Some(word) = words.next() {
        match word {
            "type" => match words.next() {
                Some(known @ ("ipip" | "gue" | "gre")) => {
                    kind = if known == "gue" {
                        "gue"
                    } else if known == "gre" {
                        "gre"
                    } else {
                        "ipip"
                    };
                }
                other => {
                    let text = format!("tunnel type {}: not a known one", other.unwrap_or(""));
                    notes.lost(&statement.place, text);
                }
            },
            "port" => port = words.next().and_then(|port| port.parse::<u16>().ok()),
            "nocsum" => checksum = false,
            "csum" => checksum = true,
            "remcsum" => {
                checksum = true;
                let text =
                    "remcsum: the outer checksum is filled, the inner one is complete already";
                notes.say(&statement.place, text);
            }
            other => notes.lost(&statement.place, format!("{other}: unknown in lvs_method TUN")),
        }
    }
    let mut keys: Keys = vec![("type", Yaml::plain(kind))];
    if kind == "gue" {
        match port.filter(|port| *port > 0) {
            Some(port) => keys.push(("port", Yaml::plain(port))),
            None => {
                let text = "gue without a port: 6080 is written here";
                notes.lost(&statement.place, text);
                keys.push(("port", Yaml::plain(6080)));
            }
        }
    }
    if checksum && kind != "ipip" {
        keys.push(("checksum", Yaml::plain(true)));
    }
    let tunnel = match kind {
        "ipip" => None,
        _ if keys.len() == 1 => Some(Yaml::plain(kind)),
        _ => Some(Yaml::Map(keys)),
    };
    Method { forward: "tun", tunnel }
}

/// `lvs_sched` and its flags.
#[derive(Clone, Debug, Default)]
pub(super) struct Scheduler {
    name: Option<&'static str>,
    flags: Vec<(String, Place)>,
}

const FLAGS: [&str; 7] =
    ["flag-1", "flag-2", "flag-3", "sh-port", "sh-fallback", "mh-port", "mh-fallback"];

impl Scheduler {
    /// Reads one of the keywords; false if it is another one.
    pub(super) fn read(&mut self, statement: &Statement, notes: &mut Notes) -> bool {
        let keyword = statement.keyword();
        if matches!(keyword, "lvs_sched" | "lb_algo") {
            let Some(word) = value::word(statement, notes) else { return true };
            self.name = SCHEDULERS.into_iter().find(|known| *known == word);
            if self.name.is_none() {
                let text =
                    format!("{word}: not a scheduler; keepalived takes wlc, and so does this");
                notes.lost(&statement.place, text);
            }
            return true;
        }
        if FLAGS.contains(&keyword) {
            value::alone(statement, notes);
            self.flags.push((keyword.to_owned(), statement.place.clone()));
            return true;
        }
        false
    }

    pub(super) fn yaml(&self, place: &Place, notes: &mut Notes) -> Yaml {
        let Some(name) = self.name else {
            notes.say(place, "no scheduler: keepalived takes wlc");
            return Yaml::plain("wlc");
        };
        let flags = self.flags.iter().map(|(flag, place)| (flag.as_str(), place));
        scheduler(name, flags, notes)
    }
}
