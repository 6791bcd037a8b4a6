//! Addresses as the hashing schedulers of the kernel see them.

use std::net::IpAddr;

/// An address as one number: IPv4 in host order, IPv6 its four words in host order, each
/// XORed with the others.
pub(crate) fn fold(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => u32::from(address),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            [96, 64, 32, 0].iter().fold(0, |folded, shift| folded ^ (bits >> shift) as u32)
        }
    }
}

/// The upper eight bits of a multiplicative hash: `hash_32(value, 8)` in the kernel's
/// `linux/hash.h`.
pub(crate) const fn hash_8(value: u32) -> u32 {
    value.wrapping_mul(0x61C8_8647) >> 24
}
