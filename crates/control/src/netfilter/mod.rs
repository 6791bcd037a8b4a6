//! Netfilter's rules, as `iptables-save`, `ip6tables-save` and `nft list ruleset` print them:
//! read into plain values, from which come `marks:` entries ([`import`]) and warnings about
//! rules that will not act on what xlvs takes ([`warnings`]).

pub mod import;
mod iptables;
mod marking;
mod nft;
mod nft_json;
pub mod warnings;

use std::ops::RangeInclusive;

use dataplane::{forward::Protocol, prefix::Prefix};

pub use marking::Marking;

/// Why a text is no list of rules.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Neither of the three forms.
    #[error(
        "this is no output of iptables-save, ip6tables-save or nft list ruleset (with or without -j)"
    )]
    Form,
    /// `nft -j` was cut off or is damaged.
    #[error("nft's JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// All chains of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// In the order of the text.
    pub chains: Vec<Chain>,
}

/// Where netfilter calls a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// As packets arrive.
    Prerouting,
    /// On their way to this box.
    Input,
    /// On their way through it.
    Forward,
    /// On their way out, or on another layer.
    Other,
}

/// A chain of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Family (of nft) and name of its table: chains jump within it.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Whether IPv4, and whether IPv6 packets come here.
    pub families: [bool; 2],
    /// Where it is called, and its place among the chains there; none: only by jumps.
    pub hook: Option<(Hook, i32)>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its line, counted from 1; in JSON its handle.
    pub place: String,
    /// Its words.
    pub text: String,
    /// What it asks for, as far as it could be read.
    pub when: When,
    /// What else it asks for.
    pub unread: Vec<String>,
    /// What it then does.
    pub does: Vec<Does>,
}

/// What packets a rule is for: in each list one of the values; an empty one asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Only IPv4 (false) or only IPv6 (true).
    pub ipv6: Option<bool>,
    /// Destination networks.
    pub destinations: Vec<Prefix>,
    /// Source networks.
    pub sources: Vec<Prefix>,
    /// Protocols.
    pub protocols: Vec<Protocol>,
    /// Destination ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Where packets arrive.
    pub interfaces: Vec<String>,
}

/// What a rule does with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Does {
    /// Changes its mark.
    Mark(Marking),
    /// Goes through another chain and comes back.
    Jump(String),
    /// Goes to another chain for good.
    Goto(String),
    /// Leaves the chain.
    Return,
    /// Lets it pass, out of all chains of this hook and table.
    Accept,
    /// Drops or rejects it.
    Refuse,
    /// Sends it to another destination.
    Redirect,
    /// Something else.
    Other(String),
}

/// Reads any of the forms; several saves may follow each other.
///
/// # Errors
/// The text is none of them. A rule that is not understood is no error: it says so in
/// [`Rule::unread`].
pub fn read(text: &str) -> Result<Ruleset, ReadError> {
    let first = text.trim_start();
    if first.starts_with('{') {
        return nft_json::read(first);
    }
    let is_save = |line: &str| line.starts_with('*') || line.starts_with("-A ");
    if text.lines().any(is_save) {
        return Ok(iptables::read(text));
    }
    if text.lines().any(|line| line.trim_start().starts_with("table ")) {
        return Ok(nft::read(text));
    }
    Err(ReadError::Form)
}

impl Chain {
    /// The chain to which this one jumps by that name.
    fn called<'a>(&self, ruleset: &'a Ruleset, name: &str) -> Option<&'a Self> {
        ruleset.chains.iter().find(|chain| {
            chain.table == self.table && chain.families == self.families && chain.name == name
        })
    }
}

impl When {
    /// Both must hold; the word for what both name, which is left to nobody to work out.
    ///
    /// # Errors
    /// Both ask for the same thing and not for the same values.
    pub fn and(&self, other: &Self) -> Result<Self, &'static str> {
        Ok(Self {
            ipv6: joined(self.ipv6.as_slice(), other.ipv6.as_slice(), "family")?.first().copied(),
            destinations: joined(&self.destinations, &other.destinations, "destination")?,
            sources: joined(&self.sources, &other.sources, "source")?,
            protocols: joined(&self.protocols, &other.protocols, "protocol")?,
            ports: joined(&self.ports, &other.ports, "port")?,
            interfaces: joined(&self.interfaces, &other.interfaces, "interface")?,
        })
    }
}

fn joined<T: Clone + PartialEq>(
    a: &[T],
    b: &[T],
    word: &'static str,
) -> Result<Vec<T>, &'static str> {
    match (a, b) {
        (same, []) | ([], same) => Ok(same.to_vec()),
        (a, b) if a == b => Ok(a.to_vec()),
        _ => Err(word),
    }
}

impl Rule {
    /// Takes one condition by nft's name for it; false if it is not one that is known, or a
    /// value is not.
    fn ask(&mut self, key: &str, values: &[String]) -> bool {
        let when = &mut self.when;
        let family = |protocol: &str| match protocol {
            "ip" | "ipv4" => Some(false),
            "ip6" | "ipv6" => Some(true),
            _ => None,
        };
        let (first, last) = key.split_once(' ').unwrap_or((key, ""));
        match (first, last) {
            ("ip" | "ip6", "daddr") => put(&mut when.destinations, networks(values)),
            ("ip" | "ip6", "saddr") => put(&mut when.sources, networks(values)),
            ("meta", "l4proto") => put(&mut when.protocols, protocols(values)),
            ("ip", "protocol") | ("ip6", "nexthdr") => {
                when.ipv6 = family(first);
                put(&mut when.protocols, protocols(values))
            }
            ("meta", "nfproto") if values.len() == 1 => {
                when.ipv6 = family(&values[0]);
                when.ipv6.is_some()
            }
            ("th", "dport") => put(&mut when.ports, ports(values)),
            (protocol, "dport") => {
                let Some(protocol) = named(protocol) else { return false };
                if !when.protocols.is_empty() && when.protocols != [protocol] {
                    return false;
                }
                when.protocols = vec![protocol];
                put(&mut when.ports, ports(values))
            }
            ("iif" | "iifname", "") | ("meta", "iif" | "iifname") => {
                let plain = |name: &String| !name.ends_with(['*', '+']);
                put(&mut when.interfaces, values.iter().all(plain).then(|| values.to_vec()))
            }
            _ => false,
        }
    }
}

/// A second condition of a kind is one that is not understood.
fn put<T>(place: &mut Vec<T>, values: Option<Vec<T>>) -> bool {
    match values {
        Some(values) if place.is_empty() && !values.is_empty() => {
            *place = values;
            true
        }
        _ => false,
    }
}

/// A protocol that services have, by name or number.
fn named(protocol: &str) -> Option<Protocol> {
    let by_name = Protocol::ALL.into_iter().find(|known| known.name() == protocol);
    by_name.or_else(|| Protocol::from_number(protocol.parse().ok()?))
}

fn protocols(values: &[String]) -> Option<Vec<Protocol>> {
    values.iter().map(|value| named(value)).collect()
}

/// `80`, `8000-8099` or `8000:8099`.
fn ports(values: &[String]) -> Option<Vec<RangeInclusive<u16>>> {
    let range = |value: &String| {
        let (low, high) = value.split_once(['-', ':']).unwrap_or((value, value));
        let low = if low.is_empty() { 0 } else { low.parse().ok()? };
        let high = if high.is_empty() { u16::MAX } else { high.parse().ok()? };
        (low <= high).then_some(low..=high)
    };
    values.iter().map(range).collect()
}

/// An address, a network, or a range of addresses as networks.
fn networks(values: &[String]) -> Option<Vec<Prefix>> {
    let mut networks = Vec::new();
    for value in values {
        if let Some((low, high)) = value.split_once('-') {
            networks.extend(between(low.parse().ok()?, high.parse().ok()?)?);
        } else if let Some((address, length)) = value.split_once('/') {
            networks.push(Prefix::new(address.parse().ok()?, length.parse().ok()?)?);
        } else {
            networks.push(Prefix::host(value.parse().ok()?));
        }
    }
    Some(networks)
}

/// The networks that make up a range; nothing if its ends do not fit each other.
fn between(low: std::net::IpAddr, high: std::net::IpAddr) -> Option<Vec<Prefix>> {
    use std::net::IpAddr::{V4, V6};
    let (mut at, end, bits) = match (low, high) {
        (V4(low), V4(high)) => (u128::from(u32::from(low)), u128::from(u32::from(high)), 32),
        (V6(low), V6(high)) => (u128::from(low), u128::from(high), 128),
        _ => return None,
    };
    let mut networks = Vec::new();
    while at <= end {
        let room = (end - at).checked_add(1).map_or(127, u128::ilog2);
        let host_bits = at.trailing_zeros().min(room).min(bits);
        let address = match low {
            V4(_) => V4((at as u32).into()),
            V6(_) => V6(at.into()),
        };
        networks.push(Prefix::new(address, (bits - host_bits) as u8)?);
        let Some(next) = at.checked_add(1 << host_bits) else { break };
        at = next;
    }
    (!networks.is_empty()).then_some(networks)
}
