//! The keyed hash of a tuple: folded 64 x 64 -> 128 bit multiplications.
//!
//! The secret keeps clients from choosing tuples that fall into one bucket. Bucket
//! numbers come from the high half and tags from the low half, so the last step
//! carries the high bits down once more.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::forward::{Address, Tuple};

/// The key of a table's hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u64; 6]);

impl Secret {
    /// A secret that nobody knows, from the randomness that the standard library's maps use.
    pub fn random() -> Self {
        let state = RandomState::new();
        Self(std::array::from_fn(|i| {
            let mut hasher = state.build_hasher();
            hasher.write_usize(i);
            hasher.finish()
        }))
    }
}

impl std::fmt::Debug for Secret {
    /// Never shows the secret: it would help to flood one bucket.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The high half of the product mixed into the low half.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// The hash of a tuple under a secret.
#[inline(always)]
pub(super) fn hash<A: Address>(secret: &Secret, tuple: &Tuple<A>) -> u64 {
    let key = &secret.0;
    let [src, src_low] = tuple.src.words();
    let [dst, dst_low] = tuple.dst.words();
    let ports = u64::from(tuple.sport) << 32
        | u64::from(tuple.dport) << 16
        | u64::from(tuple.protocol as u8);
    let mixed = if A::IPV6 {
        let from = fold(src ^ key[0], src_low ^ key[1]);
        let to = fold(dst ^ key[2], dst_low ^ key[3]);
        fold(from ^ ports ^ key[4], to ^ key[5])
    } else {
        fold((src << 32 | dst) ^ key[0], ports ^ key[1])
    };
    let last = fold(mixed ^ key[2], key[3] | 1);
    last ^ last >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{Protocol, V4, V6};

    fn tuple<A>(src: A, dst: A, sport: u16) -> Tuple<A> {
        Tuple { src, dst, sport, dport: 80, protocol: Protocol::Tcp }
    }

    /// Sequential clients and ports must spread over buckets and over tags.
    #[test]
    fn neighbours_spread() {
        let secret =
            Secret([3, 5, 7, 11, 13, 17].map(|x: u64| x.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for i in 0..64u32 {
            for port in 0..256u16 {
                v4.push(hash(&secret, &tuple(V4(0x0a00_0000 + i), V4(0xc000_0201), port)));
                v6.push(hash(&secret, &tuple(V6(u128::from(i)), V6(1 << 64), port)));
            }
        }
        for hashes in [&mut v4, &mut v6] {
            let mut buckets = vec![0u32; 4096];
            hashes.iter().for_each(|h| buckets[(h >> 52) as usize] += 1);
            // 4 on average; 24 would be far outside of what chance gives.
            assert!(buckets.iter().all(|&count| count < 24));
            let mut tags: Vec<u32> = hashes.iter().map(|&h| h as u32).collect();
            tags.sort_unstable();
            tags.dedup();
            assert!(tags.len() > hashes.len() - 8);
        }
    }

    #[test]
    fn every_part_and_the_secret_count() {
        let secret = Secret::random();
        let base = tuple(V4(1), V4(2), 3);
        let others = [
            tuple(V4(9), V4(2), 3),
            tuple(V4(1), V4(9), 3),
            tuple(V4(1), V4(2), 9),
            Tuple { dport: 9, ..base },
            Tuple { protocol: Protocol::Udp, ..base },
            base.reversed(),
        ];
        for other in others {
            assert_ne!(hash(&secret, &base), hash(&secret, &other));
        }
        assert_ne!(hash(&secret, &base), hash(&Secret::random(), &base));
    }
}
