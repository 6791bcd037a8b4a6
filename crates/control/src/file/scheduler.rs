//! `scheduler:`, a name or a mapping with options.

use sched::{Kind, Plan, SLOTS};

use super::{
    cursor::{Cursor, Keys, any_of},
    lvs::EXPIRATION_MOST,
    scalar::{self, Wrong},
};
use crate::fault::Fault;

/// Which scheduler, and what is said of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scheduler {
    /// `name`; wlc unless given.
    pub kind: Kind,
    port: bool,
    fallback: bool,
    expiration: Option<u32>,
    destinations: Option<u32>,
    slots: Option<u32>,
}

impl Scheduler {
    /// What is written replaces what `base`, the box's plan for this kind, has.
    pub fn over(&self, base: Plan) -> Plan {
        Plan {
            kind: self.kind,
            port: self.port,
            fallback: self.fallback,
            expiration: self.expiration.unwrap_or(base.expiration),
            destinations: self.destinations.unwrap_or(base.destinations),
            slots: self.slots.unwrap_or(base.slots),
        }
    }
}

/// Names that other load balancers have for what is one of ours.
const ELSEWHERE: [(&str, &str); 6] = [
    ("maglev", "mh"),
    ("conhash", "mh"),
    ("sh-port", "{name: sh, port: true}"),
    ("sh-fallback", "{name: sh, fallback: true}"),
    ("mh-port", "{name: mh, port: true}"),
    ("mh-fallback", "{name: mh, fallback: true}"),
];

pub(super) fn scheduler(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Scheduler> {
    if !at.is_map() {
        let kind = at.read(faults, kind)?.value;
        return Some(Scheduler { kind, ..Scheduler::default() });
    }
    let mut keys = at.keys(faults)?;
    let name = keys.need("name", faults, "write name: and a scheduler, like mh");
    let kind = name.and_then(|at| at.read(faults, kind)).map(|put| put.value);
    let scheduler = kind.map(|kind| options(kind, &mut keys, faults));
    if scheduler.is_some() {
        keys.finish(faults, |_| false);
    }
    scheduler
}

/// The keys that this scheduler has; those of others are refused.
fn options(kind: Kind, keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Scheduler {
    let mut scheduler = Scheduler { kind, ..Scheduler::default() };
    let hashes = matches!(kind, Kind::Sh | Kind::Mh);
    for (key, flag) in [("port", &mut scheduler.port), ("fallback", &mut scheduler.fallback)] {
        if hashes {
            *flag = keys.take(key).and_then(|at| at.truth(faults)).unwrap_or(false);
        } else {
            let sentence = format!("{} has no such option, only sh and mh have", kind.name());
            keys.refuse(key, &sentence, "remove it, or write name: sh or mh", faults);
        }
    }
    if matches!(kind, Kind::Lblc | Kind::Lblcr) {
        let seconds = |text: &str| scalar::seconds(text, EXPIRATION_MOST);
        let expiration = keys.take("expiration").and_then(|at| at.read(faults, seconds));
        scheduler.expiration = expiration.map(|put| put.value);
        let destinations = keys.take("destinations").and_then(|at| at.number(faults, 1, 1 << 20));
        scheduler.destinations = destinations.map(|put| put.value);
    } else {
        for key in ["expiration", "destinations"] {
            let sentence = format!("{} has no such option, only lblc and lblcr have", kind.name());
            keys.refuse(key, &sentence, "remove it, or write name: lblc or lblcr", faults);
        }
    }
    if kind == Kind::Mh {
        let slots = keys.take("slots").and_then(|at| at.read(faults, slots));
        scheduler.slots = slots.map(|put| put.value);
    } else {
        let sentence = format!("{} has no such option, only mh has", kind.name());
        keys.refuse("slots", &sentence, "remove it, or write name: mh", faults);
    }
    scheduler
}

fn slots(text: &str) -> Result<u32, Wrong> {
    let known = text.parse().ok().filter(|slots| SLOTS.contains(slots));
    known.ok_or_else(|| {
        let all = SLOTS.map(|slots| slots.to_string());
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        Wrong::new(
            "not a number of slots that a kernel can have",
            format!("write {}", any_of(&all)),
        )
    })
}

fn kind(text: &str) -> Result<Kind, Wrong> {
    if let Some(kind) = Kind::from_name(text) {
        return Ok(kind);
    }
    if let Some((_, ours)) = ELSEWHERE.iter().find(|(name, _)| *name == text) {
        return Err(Wrong::new("not one of LVS's schedulers", format!("write {ours}")));
    }
    let names = Kind::ALL.map(Kind::name);
    Err(Wrong::new("not a scheduler", format!("write {}", any_of(&names))))
}
