//! `hooks:`, of the box and of a service.

use std::time::Duration;

use super::{
    cursor::{Cursor, Put, any_of},
    program,
    scalar::{self, Wrong},
};
use crate::{
    event::{Kind, Topic},
    fault::Fault,
};

/// One entry of `hooks:`.
#[derive(Clone, Debug)]
pub struct Hook {
    /// `argv`; empty if a fault was reported.
    pub argv: Vec<String>,
    /// `on`: kinds, each in any state or in one; `None`: what is bad and good news for most.
    pub on: Option<Vec<Put<Topic>>>,
    /// `user`.
    pub user: String,
    /// `timeout`.
    pub timeout: Duration,
    /// `at_start`.
    pub at_start: bool,
}

/// Unless `timeout` says another one.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The others wait meanwhile.
const LONGEST: Duration = Duration::from_secs(600);

pub(super) fn hook(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Hook> {
    let mut keys = at.keys(faults)?;
    let argv = program::argv(&mut keys, "/usr/local/lib/xlvs/mail", faults).unwrap_or_default();
    let on = keys.take("on").map(|at| {
        let spot = at.spot();
        let items = at.one_or_more(faults);
        if items.is_empty() {
            faults.push(spot.fault("never", "name kinds of events, or remove the hook"));
        }
        items.iter().filter_map(|item| item.read(faults, topic)).collect()
    });
    let hook = Hook {
        argv,
        on,
        user: program::user(&mut keys, faults),
        timeout: keys.take("timeout").and_then(|at| timeout(&at, faults)).unwrap_or(TIMEOUT),
        at_start: keys.take("at_start").and_then(|at| at.truth(faults)).unwrap_or(false),
    };
    keys.finish(faults, |_| false);
    Some(hook)
}

fn timeout(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Duration> {
    let put = at.read(faults, scalar::duration)?;
    if put.value.is_zero() || put.value > LONGEST {
        let remedy = "write at most 10m: the other hooks wait meanwhile";
        faults.push(put.spot.fault("out of range", remedy));
    }
    Some(put.value)
}

/// `server`, or `server.down`.
fn topic(text: &str) -> Result<Topic, Wrong> {
    let (word, state) = text.split_once('.').map_or((text, None), |(word, s)| (word, Some(s)));
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == word) else {
        let known = Kind::ALL.map(Kind::name);
        return Err(Wrong::new("not a kind of events", format!("write {}", any_of(&known))));
    };
    let Some(state) = state else { return Ok(Topic { kind, state: None }) };
    let known = kind.states().iter().find(|known| **known == state);
    known.map(|state| Topic { kind, state: Some(state) }).ok_or_else(|| {
        let remedy = match kind.states() {
            [] => format!("write {word}"),
            states => format!("write {word}, or {word}. and {}", any_of(states)),
        };
        Wrong::new("not one of its states", remedy)
    })
}
