//! What a service says of its servers' health.

use std::time::Duration;

use health::{check::Require, member::Damping, pool::AllDown};

use super::{
    check::{self, Named},
    cursor::{Cursor, Keys, Put},
    scalar,
    server::{self, Server},
};
use crate::{
    fault::Fault,
    model::{Hints, OnDown},
};

/// The keys of a service that checks belong to.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// `checks`.
    pub checks: Vec<Named>,
    /// `require`.
    pub require: Option<Put<Require>>,
    /// `quorum`.
    pub quorum: Option<Put<u32>>,
    /// `hysteresis`.
    pub hysteresis: Option<Put<u32>>,
    /// `all_down`.
    pub all_down: Option<Put<AllDown>>,
    /// `on_down`.
    pub on_down: Option<Put<OnDown>>,
    /// `damping`.
    pub damping: Option<Put<Damping>>,
    /// `sorry`.
    pub sorry: Option<Put<Server>>,
    /// `withdraw`.
    pub withdraw: Option<Put<bool>>,
    /// `pause_without_vip`.
    pub pause_without_vip: Option<Put<bool>>,
    /// `hints`.
    pub hints: Option<Put<Hints>>,
}

/// Weights are at most 65535, servers at most some thousands.
const QUORUM_MOST: u32 = 1 << 30;

pub(super) fn health(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Health {
    let all_down =
        [("refuse", AllDown::Refuse), ("keep_last", AllDown::KeepLast), ("all_up", AllDown::AllUp)];
    let on_down =
        [("leave", OnDown::Leave), ("weight0", OnDown::Weight0), ("remove", OnDown::Remove)];
    Health {
        checks: keys.take("checks").map(|at| checks(&at, faults)).unwrap_or_default(),
        require: keys.take("require").and_then(|at| at.read(faults, check::require)),
        quorum: keys.take("quorum").and_then(|at| at.number(faults, 1, QUORUM_MOST)),
        hysteresis: keys.take("hysteresis").and_then(|at| at.number(faults, 0, QUORUM_MOST)),
        all_down: keys.take("all_down").and_then(|at| at.word(faults, &all_down)),
        on_down: keys.take("on_down").and_then(|at| at.word(faults, &on_down)),
        damping: keys.take("damping").and_then(|at| damping(&at, faults)),
        sorry: keys.take("sorry").and_then(|at| sorry(&at, faults)),
        withdraw: truth(keys, "withdraw", faults),
        pause_without_vip: truth(keys, "pause_without_vip", faults),
        hints: keys.take("hints").and_then(|at| hints(&at, faults)),
    }
}

/// Names, or one name.
pub(super) fn checks(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Vec<Named> {
    let items = at.one_or_more(faults);
    items.iter().filter_map(|item| check::named(item, faults)).collect()
}

fn truth(keys: &mut Keys<'_>, key: &'static str, faults: &mut Vec<Fault>) -> Option<Put<bool>> {
    let at = keys.take(key)?;
    Some(Put { value: at.truth(faults)?, spot: at.spot() })
}

fn sorry(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Put<Server>> {
    Some(Put { value: server::server(at, faults)?, spot: at.spot() })
}

/// `{failures: 3, suspect: 5s}`.
fn hints(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Put<Hints>> {
    let mut keys = at.keys(faults)?;
    let default = Hints::default();
    let failures = keys.take("failures").and_then(|at| at.number(faults, 0, 1_000_000));
    let suspect = keys.take("suspect");
    let suspect = suspect.and_then(|at| at.read(faults, |text| scalar::seconds(text, 86_400)));
    keys.finish(faults, |_| false);
    let failures = failures.map_or(default.failures, |put| put.value);
    let suspect = suspect.map(|put| Duration::from_secs(put.value.into()));
    Some(Put { value: Hints { failures, suspect }, spot: at.spot() })
}

/// `{changes: 5, within: 1m, hold: 5m}`.
fn damping(at: &Cursor<'_>, faults: &mut Vec<Fault>) -> Option<Put<Damping>> {
    let mut keys = at.keys(faults)?;
    let changes = keys.need("changes", faults, "write changes: 5");
    let changes = changes.and_then(|at| at.number(faults, 1, 1000));
    let mut time = |key, remedy| {
        let at = keys.need(key, faults, remedy)?;
        let put = at.read(faults, |text| scalar::seconds(text, 86_400))?;
        Some(Duration::from_secs(put.value.into()))
    };
    let (within, hold) = (time("within", "write within: 1m"), time("hold", "write hold: 5m"));
    keys.finish(faults, |_| false);
    let value = Damping { changes: changes?.value, within: within?, hold: hold? };
    Some(Put { value, spot: at.spot() })
}
