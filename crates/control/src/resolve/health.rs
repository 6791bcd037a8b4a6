//! What a service says of its servers' health, against its servers.

use dataplane::forward::{Forward, ServiceKey};
use health::pool;

use super::{Names, server};
use crate::{
    fault::Fault,
    file::{self, Put},
    model::{Health, Hints, Server},
};

/// Reports what is wrong with the names of checks, and keys that would do nothing without
/// them; once for an entry, whatever number of services it stands for.
pub(super) fn names(
    service: &file::Service,
    members: &[file::Server],
    names: &Names<'_>,
    faults: &mut Vec<Fault>,
) {
    let written = &service.health;
    names.checks.names(&written.checks, faults);
    for own in members.iter().filter_map(|server| server.checks.as_ref()) {
        names.checks.names(own, faults);
    }
    let checked =
        members.iter().any(|server| server.checks.as_ref().is_some_and(|c| !c.is_empty()));
    if checked || !written.checks.is_empty() {
        return;
    }
    let idle = [
        ("require", written.require.as_ref().map(|put| &put.spot)),
        ("on_down", written.on_down.as_ref().map(|put| &put.spot)),
        ("damping", written.damping.as_ref().map(|put| &put.spot)),
        ("all_down", written.all_down.as_ref().map(|put| &put.spot)),
        ("pause_without_vip", written.pause_without_vip.as_ref().map(|put| &put.spot)),
    ];
    for (key, spot) in idle.into_iter().filter_map(|(key, spot)| Some((key, spot?))) {
        let sentence = format!("{key} without checks would do nothing");
        faults.push(spot.fault(sentence, "add checks:, or remove it"));
    }
}

/// What holds for one LVS service of the entry.
pub(super) fn of(
    service: &file::Service,
    key: ServiceKey,
    forward: Forward,
    names: &Names<'_>,
    servers: &[Server],
    faults: &mut Vec<Fault>,
) -> Health {
    let written = &service.health;
    let sorry = written.sorry.as_ref().and_then(|put| {
        let one = std::slice::from_ref(&put.value);
        server::servers(one, key, service, forward, names, faults).pop()
    });
    quorum(service, servers, faults);
    if let Some(put) = written.withdraw.as_ref().filter(|put| put.value && key.endpoint().is_none())
    {
        let sentence = "withdraw in a service of a mark, which has no VIP of its own";
        faults.push(put.spot.fault(sentence, "remove it"));
    }
    let said = |put: &Option<Put<bool>>| put.as_ref().is_some_and(|put| put.value);
    if let Some(put) = written.pause_without_vip.as_ref().filter(|put| put.value)
        && said(&written.withdraw)
    {
        let sentence = "pause_without_vip and withdraw: checks that pause never bring the VIP back";
        faults.push(put.spot.fault(sentence, "keep one of the two"));
    }
    let value =
        |put: &Option<Put<u32>>, default: u32| put.as_ref().map_or(default, |put| put.value);
    Health {
        require: written.require.as_ref().map(|put| put.value).unwrap_or_default(),
        pool: pool::Policy {
            quorum: value(&written.quorum, 1).into(),
            hysteresis: value(&written.hysteresis, 0).into(),
            all_down: written.all_down.as_ref().map(|put| put.value).unwrap_or_default(),
            sorry: sorry.is_some(),
        },
        on_down: written.on_down.as_ref().map(|put| put.value).unwrap_or_default(),
        keeps: service.lifecycle.keeps.unwrap_or(false),
        damping: written.damping.as_ref().map(|put| put.value),
        // It is never asked: who has nothing else to offer need not look at it.
        sorry: sorry.map(|sorry| Server { checks: Vec::new(), ..sorry }),
        withdraw: said(&written.withdraw),
        pause_without_vip: said(&written.pause_without_vip),
        hints: hints(written, forward, faults),
    }
}

/// Only where servers' answers pass here anything is seen of them.
fn hints(written: &file::Health, forward: Forward, faults: &mut Vec<Fault>) -> Hints {
    let Some(put) = &written.hints else { return Hints::default() };
    if !forward.two_way() {
        let sentence =
            format!("hints with forward: {}: servers' answers do not pass here", forward.name());
        faults.push(put.spot.fault(sentence, "remove it; checks with via: service see the path"));
    }
    put.value
}

/// A quorum that can be reached, and a hysteresis that can be lost.
fn quorum(service: &file::Service, servers: &[Server], faults: &mut Vec<Fault>) {
    let Some(quorum) = &service.health.quorum else {
        if let Some(hysteresis) = service.health.hysteresis.as_ref().filter(|put| put.value > 0) {
            let sentence = "hysteresis without quorum would do nothing";
            faults.push(hysteresis.spot.fault(sentence, "add quorum:, or remove it"));
        }
        return;
    };
    let total: u64 = servers.iter().map(|server| u64::from(server.weight)).sum();
    if u64::from(quorum.value) > total {
        faults.push(quorum.spot.fault(
            format!("{} is more than the weights of all servers, {total}", quorum.value),
            "write a number that they can reach",
        ));
    }
    let Some(hysteresis) = &service.health.hysteresis else { return };
    if hysteresis.value >= quorum.value {
        let sentence =
            format!("{} is not less than the quorum, {}", hysteresis.value, quorum.value);
        faults.push(hysteresis.spot.fault(sentence, "write a smaller number"));
    } else if u64::from(quorum.value) + u64::from(hysteresis.value) > total {
        faults.push(hysteresis.spot.fault(
            "quorum and hysteresis together are more than all weights: once lost, it never returns",
            "write a smaller number",
        ));
    }
}
