//! What an entry of `services:` says of behaviour, against its scheduler, its method and
//! the packets that it takes.

use dataplane::{
    forward::{Forward, Protocol, ServiceKey},
    policy::{MssClamp, OnJoin, Persistence, Policy},
};

use crate::{
    fault::Fault,
    file::{self, Put},
    model::{Model, no_help},
};

/// The policy that all keys of the entry share: without persistence, whose mask depends on
/// the family, and local addresses, which do, too.
pub(super) fn of(
    service: &file::Service,
    forward: Forward,
    keys: &[Put<ServiceKey>],
    model: &Model,
    faults: &mut Vec<Fault>,
) -> Policy {
    mss_clamp(service, forward, faults);
    one_packet(service, keys, faults);
    on_join(service, faults);
    let own = service.on_join.as_ref().map(|put| put.value);
    Policy {
        scheduler: service.scheduler.over(model.plan(service.scheduler.kind)),
        persistence: None,
        one_packet: service.one_packet.is_some(),
        except_ports: service.except_ports.as_ref().map(|p| p.value.clone()).unwrap_or_default(),
        on_join: model.joining(own, service.scheduler.kind),
        access: service.access.clone(),
        local_addresses: Vec::new(),
        mss_clamp: service.mss_clamp.as_ref().map(|put| put.value).unwrap_or_default(),
        timeouts: service.timeouts.over(&model.timeouts),
        lifecycle: service.lifecycle.over(model.lifecycle),
    }
}

/// The service's persistence with a mask of its family.
pub(super) fn persistence(
    service: &file::Service,
    key: ServiceKey,
    faults: &mut Vec<Fault>,
) -> Option<Persistence> {
    let written = service.persistence.as_ref()?;
    let bits = if key.is_ipv6() { 128 } else { 32 };
    let Some(Put { value: mask, spot }) = &written.mask else {
        return Some(Persistence { timeout: written.timeout, prefix: bits });
    };
    if mask.dotted && key.is_ipv6() {
        let sentence = format!("a netmask of IPv4, but the service takes {key}");
        faults.push(spot.fault(sentence, "write a prefix length, like 64"));
    } else if mask.length > bits {
        let sentence = format!("a mask of {} bits, but the service takes {key}", mask.length);
        faults
            .push(spot.fault(sentence, format!("write 1 to {bits}, or a service for each family")));
    }
    Some(Persistence { timeout: written.timeout, prefix: mask.length })
}

fn mss_clamp(service: &file::Service, forward: Forward, faults: &mut Vec<Fault>) {
    let Some(Put { value, spot }) = &service.mss_clamp else { return };
    if *value == MssClamp::Off {
        return;
    }
    if !forward.two_way() {
        faults.push(spot.fault(
            format!(
                "mss_clamp with forward: {}: the server's answers do not pass here",
                forward.name()
            ),
            "lower the MSS on the servers instead (ip route ... advmss)",
        ));
    }
}

/// A datagram can be a connection of its own, a segment cannot. A mark's other protocols
/// keep their connections.
fn one_packet(service: &file::Service, keys: &[Put<ServiceKey>], faults: &mut Vec<Fault>) {
    let Some(spot) = &service.one_packet else { return };
    let other = keys.iter().find(|key| {
        key.value.endpoint().is_some_and(|endpoint| endpoint.protocol != Protocol::Udp)
    });
    if let Some(other) = other {
        faults.push(spot.fault(
            format!("one_packet is for UDP, and the service takes {}", other.value),
            "write a service of its own for /udp",
        ));
    }
}

fn on_join(service: &file::Service, faults: &mut Vec<Fault>) {
    let Some(Put { value, spot }) = &service.on_join else { return };
    let kind = service.scheduler.kind;
    let Some(why) = no_help(*value, kind) else { return };
    let word = match value {
        OnJoin::SlowStart(_) => "slow_start",
        _ => "reset_counts",
    };
    let remedy = match (value, no_help(OnJoin::ResetCounts, kind)) {
        (OnJoin::SlowStart(_), None) => "write reset_counts, or another scheduler",
        _ => "remove it, or write another scheduler",
    };
    faults.push(spot.fault(format!("{word} with scheduler {}, {why}", kind.name()), remedy));
}
