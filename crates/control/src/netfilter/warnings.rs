//! Netfilter rules that will not act: what belongs to a service is taken before netfilter
//! sees it.

use std::{net::IpAddr, ops::RangeInclusive};

use dataplane::{forward::Protocol, mark::MarkRule};

use super::{Chain, Does, Hook, Rule, Ruleset, When};

/// What clients connect to: an address, a protocol, and its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The VIP.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The service's ports.
    pub ports: RangeInclusive<u16>,
}

/// What mark rules for single addresses take.
pub fn of_marks(rules: &[MarkRule]) -> Vec<Served> {
    let hosts = rules.iter().filter(|rule| rule.destination.is_host());
    let of_rule = |rule: &MarkRule| {
        let address = rule.destination.address();
        let every = [0..=u16::MAX];
        let ports = if rule.ports.is_empty() { every.to_vec() } else { rule.ports.clone() };
        let protocols = rule.protocol.map_or(Protocol::ALL.to_vec(), |protocol| vec![protocol]);
        let served = protocols.into_iter().flat_map(move |protocol| {
            ports.clone().into_iter().map(move |ports| Served { address, protocol, ports })
        });
        served.collect::<Vec<_>>()
    };
    hosts.flat_map(of_rule).collect()
}

/// A rule that will not act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Table and chain.
    pub chain: String,
    /// The rule.
    pub text: String,
    /// The key of the configuration that does it.
    pub remedy: &'static str,
}

/// How many rules are named; one more sentence says how many there are.
pub const NAMED: usize = 20;

/// How many rules are looked at, with those of a chain again for each jump to it.
const LOOKS: usize = 100_000;

/// The rules of the hooks prerouting, input and forward, and of chains that these call, that
/// name what is served: an address of it, or without any address a port of it. Rules that
/// accept are left out: they let pass what passes.
pub fn idle(ruleset: &Ruleset, served: &[Served]) -> Vec<Idle> {
    let early = |chain: &&Chain| {
        let hook = chain.hook.map(|(hook, _)| hook);
        matches!(hook, Some(Hook::Prerouting | Hook::Input | Hook::Forward))
    };
    let mut todo: Vec<(&Chain, When)> =
        ruleset.chains.iter().filter(early).map(|chain| (chain, When::default())).collect();
    todo.reverse();
    let mut idle: Vec<Idle> = Vec::new();
    let mut looks = 0;
    while let Some((chain, from)) = todo.pop() {
        looks += 1 + chain.rules.len();
        if looks > LOOKS {
            break;
        }
        for rule in &chain.rules {
            // Where both name the same thing the rule is the narrower one, or never reached.
            let when = from.and(&rule.when).unwrap_or_else(|_| rule.when.clone());
            for does in &rule.does {
                if let Does::Jump(name) | Does::Goto(name) = does {
                    todo.extend(chain.called(ruleset, name).map(|called| (called, when.clone())));
                }
            }
            let named = served.iter().any(|served| names(&when, served));
            let remedy = rule.does.iter().find_map(|does| remedy(does, rule)).filter(|_| named);
            let chain = format!("{} {}", chain.table, chain.name);
            let found = remedy.map(|remedy| Idle { chain, text: rule.text.clone(), remedy });
            idle.extend(found.filter(|found| !idle.contains(found)));
        }
    }
    idle
}

fn names(when: &When, served: &Served) -> bool {
    let overlap = |range: &RangeInclusive<u16>| {
        range.start() <= served.ports.end() && served.ports.start() <= range.end()
    };
    let by_port = !when.ports.is_empty();
    let by_address = !when.destinations.is_empty();
    // Every port is nothing that a rule without an address could mean.
    (by_address || by_port && served.ports != (0..=u16::MAX))
        && (!by_port || when.ports.iter().any(overlap))
        && (!by_address
            || when.destinations.iter().any(|d| d.length() > 0 && d.contains(served.address)))
        && (when.protocols.is_empty() || when.protocols.contains(&served.protocol))
        && when.ipv6.is_none_or(|ipv6| ipv6 == served.address.is_ipv6())
}

fn remedy(does: &Does, rule: &Rule) -> Option<&'static str> {
    let limits = rule.unread.iter().any(|words| words.contains("limit"));
    match does {
        Does::Mark(_) => Some("write it under marks; xlvs import iptables does"),
        Does::Refuse if limits => Some("write access: new_connections for the service"),
        Does::Refuse => Some("write access: deny for the service"),
        Does::Accept if limits => Some("write access: new_connections for the service"),
        Does::Redirect => Some("let a service listen there, or take the address out of it"),
        Does::Other(_) => Some("there is no key for it: take it for what passes no service"),
        Does::Accept | Does::Return | Does::Jump(_) | Does::Goto(_) => None,
    }
}
