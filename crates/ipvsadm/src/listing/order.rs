//! The order of ipvsadm's sorted listings.
//!
//! ipvsadm compares 32-bit words by the sign of their difference, which wraps: 192.168.0.1 stands
//! before 10.0.0.1. That is no total order, so the result depends on the sorting too: glibc's
//! `qsort`, a merge sort that halves from the top.

use std::net::IpAddr;

use super::{ListedServer, ListedService};
use crate::command::ServiceRef;

/// The sign decides, as in `qsort`; 0 is equal.
type Compare<T> = fn(&T, &T) -> i32;

/// All items, sorted as glibc's `qsort` does it.
pub(crate) fn sorted<'a, T>(items: impl Iterator<Item = &'a T>, compare: Compare<T>) -> Vec<&'a T> {
    let items: Vec<&T> = items.collect();
    merge_sort(&items, compare)
}

fn merge_sort<'a, T>(items: &[&'a T], compare: Compare<T>) -> Vec<&'a T> {
    if items.len() <= 1 {
        return items.to_vec();
    }
    let (left, right) = items.split_at(items.len() / 2);
    let left = merge_sort(left, compare);
    let right = merge_sort(right, compare);
    let mut merged = Vec::with_capacity(items.len());
    let (mut l, mut r) = (0, 0);
    while l < left.len() && r < right.len() {
        if compare(left[l], right[r]) <= 0 {
            merged.push(left[l]);
            l += 1;
        } else {
            merged.push(right[r]);
            r += 1;
        }
    }
    merged.extend_from_slice(&left[l..]);
    merged.extend_from_slice(&right[r..]);
    merged
}

/// By mark, family, protocol, address, port: marks stand last.
pub(super) fn services(a: &ListedService, b: &ListedService) -> i32 {
    let (a, b) = (service_words(&a.spec.service), service_words(&b.spec.service));
    first_difference(a.into_iter().zip(b))
}

/// By address and port.
pub(super) fn servers(a: &ListedServer, b: &ListedServer) -> i32 {
    let addresses = words(a.spec.address).into_iter().zip(words(b.spec.address));
    // The family of the first one says how much of both is compared.
    let addresses = addresses.take(if a.spec.address.is_ipv6() { 4 } else { 1 });
    first_difference(addresses.chain([(a.spec.port.into(), b.spec.port.into())]))
}

fn service_words(service: &ServiceRef) -> [u32; 8] {
    let family = if service.is_ipv6() { 10 } else { 2 };
    match *service {
        ServiceRef::Mark { mark, .. } => [mark, family, 0, 0, 0, 0, 0, 0],
        ServiceRef::Endpoint { protocol, address, port } => {
            let [a, b, c, d] = words(address);
            [0, family, protocol.number() as u32, a, b, c, d, port.into()]
        }
    }
}

fn first_difference(pairs: impl Iterator<Item = (u32, u32)>) -> i32 {
    pairs.map(|(a, b)| a.wrapping_sub(b) as i32).find(|difference| *difference != 0).unwrap_or(0)
}

/// An address as the four words of an IPv6 one; IPv4 is in the first.
fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(v4) => [v4.to_bits(), 0, 0, 0],
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            [96, 64, 32, 0].map(|shift| (bits >> shift) as u32)
        }
    }
}
