//! `virtual_server_group`.

use std::net::IpAddr;

use super::{tree::Statement, value};
use crate::{
    note::{Notes, Place},
    server_address::unusable,
};

/// Addresses and marks that share servers.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) place: Place,
    /// As it is written.
    pub(super) text: String,
    /// An address without a port takes all ports.
    pub(super) listens: Vec<(IpAddr, Option<u16>)>,
    /// With the family, if it is said.
    pub(super) marks: Vec<(u32, Option<bool>)>,
}

/// A range that is longer is a mistake, and xlvs has no room for it.
const ADDRESSES_MOST: usize = 16_384;

pub(super) fn all(root: &[Statement], notes: &mut Notes) -> Vec<Group> {
    let statements = root.iter().filter(|s| s.keyword() == "virtual_server_group");
    statements.filter_map(|statement| group(statement, notes)).collect()
}

fn group(statement: &Statement, notes: &mut Notes) -> Option<Group> {
    let Some(name) = statement.word(1) else {
        notes.lost(&statement.place, "virtual_server_group without a name");
        return None;
    };
    let mut group = Group {
        name: name.to_owned(),
        place: statement.place.clone(),
        text: statement.text(),
        listens: Vec::new(),
        marks: Vec::new(),
    };
    for entry in statement.statements() {
        if entry.keyword() == "fwmark" {
            group.marks.extend(mark(entry, notes));
            continue;
        }
        let Some((addresses, port)) = addresses(entry, notes) else { continue };
        if group.listens.len() + addresses.len() > ADDRESSES_MOST {
            let text = format!("{}: more than {ADDRESSES_MOST} addresses", entry.text());
            notes.lost(&entry.place, text);
            continue;
        }
        for address in addresses {
            match unusable(address) {
                Some(why) => notes.lost(&entry.place, format!("{address}: {why}, not a VIP")),
                None => group.listens.push((address, port)),
            }
        }
    }
    Some(group)
}

/// `fwmark N [inet|inet6]`.
fn mark(entry: &Statement, notes: &mut Notes) -> Option<(u32, Option<bool>)> {
    value::only(entry, 2, notes);
    let mark = entry.word(1).and_then(|text| text.parse::<u32>().ok()).filter(|mark| *mark > 0);
    let family = match entry.word(2) {
        None => Some(None),
        Some("inet") => Some(Some(false)),
        Some("inet6") => Some(Some(true)),
        Some(_) => None,
    };
    match (mark, family) {
        (Some(mark), Some(family)) => Some((mark, family)),
        _ => {
            value::not_read(entry, "a mark", notes);
            None
        }
    }
}

/// `ADDRESS`, `ADDRESS-LAST`, `ADDRESS-ADDRESS` or `NETWORK/LENGTH`, and a port.
fn addresses(entry: &Statement, notes: &mut Notes) -> Option<(Vec<IpAddr>, Option<u16>)> {
    value::only(entry, 1, notes);
    let port = match entry.word(1) {
        None => Some(None),
        Some(text) if text.bytes().all(|b| b == b'0') => Some(None),
        Some(text) => text.parse::<u16>().ok().map(Some),
    };
    let range = port.is_some().then(|| range(entry.keyword())).flatten();
    let Some((first, last)) = range else {
        value::not_read(entry, "addresses and a port", notes);
        return None;
    };
    let count = last.checked_sub(first).and_then(|more| usize::try_from(more).ok());
    let Some(count) = count.filter(|count| *count < ADDRESSES_MOST) else {
        let text = format!("{}: more than {ADDRESSES_MOST} addresses", entry.text());
        notes.lost(&entry.place, text);
        return None;
    };
    let v6 = entry.keyword().contains(':');
    let address = |bits: u128| match v6 {
        true => IpAddr::V6(bits.into()),
        false => IpAddr::V4((bits as u32).into()),
    };
    let all = (0..=count as u128).map(|more| address(first + more)).collect();
    Some((all, port.flatten()))
}

/// The first and the last address as numbers.
fn range(text: &str) -> Option<(u128, u128)> {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    if let Some((first, length)) = text.split_once('/') {
        let first: IpAddr = first.parse().ok()?;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let host = width - length.parse::<u32>().ok().filter(|l| (1..=width).contains(l))?;
        let mask = if host == 0 { 0 } else { u128::MAX >> (128 - host) };
        let first = bits(first);
        return (first & mask == 0).then_some((first, first | mask));
    }
    let Some((first, last)) = text.split_once('-') else {
        let one = bits(text.parse().ok()?);
        return Some((one, one));
    };
    let from: IpAddr = first.parse().ok()?;
    let last = match (last.parse::<IpAddr>(), from) {
        (Ok(last), from) if last.is_ipv4() == from.is_ipv4() => bits(last),
        (Ok(_), _) => return None,
        (Err(_), IpAddr::V4(v4)) => {
            let octet = last.parse::<u8>().ok()?;
            u128::from(v4.to_bits()) & !0xff | u128::from(octet)
        }
        (Err(_), IpAddr::V6(v6)) => {
            let group = u16::from_str_radix(last, 16).ok()?;
            v6.to_bits() & !0xffff | u128::from(group)
        }
    };
    (bits(from) <= last).then_some((bits(from), last))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges() {
        let table = [
            ("10.0.0.1", Some((0x0a00_0001, 0x0a00_0001))),
            ("10.0.0.1-9", Some((0x0a00_0001, 0x0a00_0009))),
            ("192.168.200.250-192.168.201.10", Some((0xc0a8_c8fa, 0xc0a8_c90a))),
            ("192.168.202.8/29", Some((0xc0a8_ca08, 0xc0a8_ca0f))),
            ("192.168.202.9/29", None),
            ("10.0.0.9-1", None),
            ("ae00::2-9", Some((0xae00 << 112 | 2, 0xae00 << 112 | 9))),
            ("ae00::2-a", Some((0xae00 << 112 | 2, 0xae00 << 112 | 10))),
            ("ae00::/128", Some((0xae00 << 112, 0xae00 << 112))),
            ("10.0.0.1-x", None),
            ("10.0.0.0/0", None),
            ("web", None),
        ];
        for (text, expected) in table {
            assert_eq!(range(text), expected, "{text}");
        }
    }
}
