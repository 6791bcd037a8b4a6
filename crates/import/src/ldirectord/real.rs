//! `real =`.

use std::net::IpAddr;

use ::ipvsadm::Resolver;

use super::{Line, address, port};
use crate::{
    note::{Notes, Place},
    server_address::unusable,
};

/// A real server.
pub(super) struct Real {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
    pub(super) forward: &'static str,
    pub(super) weight: u32,
    pub(super) request: Option<String>,
    pub(super) receive: Option<String>,
    pub(super) place: Place,
}

/// A range of addresses that is longer is a mistake.
const RANGE_MOST: u128 = 4096;

/// `ADDRESS[->ADDRESS][:PORT] gate|masq|ipip [WEIGHT] ["REQUEST"[, "RECEIVE"]]`.
pub(super) fn read(line: &Line, names: &dyn Resolver, notes: &mut Notes) -> Vec<Real> {
    let found = parse(line, names, notes);
    if found.is_none() {
        notes.lost(
            &line.place,
            format!("not a real server that is known here: real = {}", line.value),
        );
    }
    let mut reals = found.unwrap_or_default();
    reals.retain(|real| {
        let why = unusable(real.address);
        if let Some(why) = why {
            let text =
                format!("real = {}: {why}, xlvs reaches servers over the network only", line.value);
            notes.lost(&line.place, text);
        }
        why.is_none()
    });
    reals
}

fn parse(line: &Line, names: &dyn Resolver, notes: &mut Notes) -> Option<Vec<Real>> {
    let (plain, quoted) = match line.value.find('"') {
        Some(at) => line.value.split_at(at),
        None => (line.value.as_str(), ""),
    };
    let mut words = plain.split_whitespace();
    let (hosts, port) = host_and_port(words.next()?, names)?;
    let (first, last) = hosts.split_once("->").unwrap_or((hosts, hosts));
    let (first, last) = (address(first, names)?, address(last, names)?);
    let forward = forward(words.next()?)?;
    let mut weight = 1;
    for word in words {
        match word.trim_end_matches(',').parse() {
            Ok(number) => weight = number,
            Err(_) => notes.lost(&line.place, format!("{word}: unknown in real = {}", line.value)),
        }
    }
    if weight > 65_535 {
        notes.lost(&line.place, format!("weight {weight}: xlvs has weights up to 65535"));
    }
    let mut texts = quoted.split('"').skip(1).step_by(2).map(str::to_owned);
    let (request, receive) = (texts.next(), texts.next());
    if let Some(more) = texts.next() {
        notes.lost(&line.place, format!("\"{more}\": unknown in real = {}", line.value));
    }
    let real = |address| Real {
        address,
        port,
        forward,
        weight: weight.min(65_535),
        request: request.clone(),
        receive: receive.clone(),
        place: line.place.clone(),
    };
    Some(range(first, last)?.into_iter().map(real).collect())
}

fn range(first: IpAddr, last: IpAddr) -> Option<Vec<IpAddr>> {
    let (from, to, v6): (u128, u128, bool) = match (first, last) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (from.to_bits().into(), to.to_bits().into(), false),
        (IpAddr::V6(from), IpAddr::V6(to)) => (from.to_bits(), to.to_bits(), true),
        _ => return None,
    };
    if to < from || to - from >= RANGE_MOST {
        return None;
    }
    let address = |bits: u128| match v6 {
        true => IpAddr::V6(bits.into()),
        false => IpAddr::V4((bits as u32).into()),
    };
    Some((from..=to).map(address).collect())
}

/// What stands before the port, and the port.
pub(super) fn host_and_port<'t>(
    text: &'t str,
    names: &dyn Resolver,
) -> Option<(&'t str, Option<u16>)> {
    if text.parse::<std::net::Ipv6Addr>().is_ok() || text.ends_with(']') {
        return Some((text, None));
    }
    match text.rsplit_once(':') {
        None => Some((text, None)),
        Some((host, text)) => Some((host, Some(port(text, names)?).filter(|port| *port > 0))),
    }
}

pub(super) fn forward(word: &str) -> Option<&'static str> {
    match word {
        "gate" => Some("dr"),
        "masq" => Some("nat"),
        "ipip" => Some("tun"),
        _ => None,
    }
}
