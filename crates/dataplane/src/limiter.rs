//! The rate limits on what we originate, with the kernel's defaults:
//! per peer `icmp_ratelimit` (one a second after a burst of six, `inet_peer_xrlim_allow`;
//! IPv6: one in 100 ms) and for the box `icmp_msgs_per_sec` with `icmp_msgs_burst`.
//! "Fragmentation needed" and "packet too big" are exempt, as there.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::clock::Now;

/// `XRLIM_BURST_FACTOR` of `net/ipv4/inetpeer.c`.
const PEER_BURST: u64 = 6;
/// `net.ipv4.icmp_ratelimit`, milliseconds between messages to a peer.
const PEER_INTERVAL_V4_MS: u64 = 1000;
/// `net.ipv6.icmp.ratelimit`, milliseconds.
const PEER_INTERVAL_V6_MS: u64 = 100;
/// `net.ipv4.icmp_msgs_per_sec`.
pub const BOX_PER_SECOND: u32 = 1000;
/// `net.ipv4.icmp_msgs_burst`.
const BOX_BURST: u32 = 50;
/// Peers that are remembered at a time; of two that share a place the last one is.
const PEERS: usize = 4096;

/// The box's allowance for ICMP errors; shared by the workers.
pub struct Limiter {
    /// Each word: 24 bits of the peer's hash, 40 bits of the time (ms) up to which
    /// its allowance is spent.
    peers: Box<[AtomicU64]>,
    all: Bucket,
    unlimited: bool,
    resets: Bucket,
    hasher: RandomState,
}

impl Limiter {
    /// An allowance of `per_second` errors for the box (`net.ipv4.icmp_msgs_per_sec`).
    pub fn new(per_second: u32) -> Self {
        Self {
            peers: (0..PEERS).map(|_| AtomicU64::new(0)).collect(),
            all: Bucket::new(per_second, BOX_BURST),
            unlimited: per_second == u32::MAX,
            resets: Bucket::new(per_second, per_second),
            hasher: RandomState::new(),
        }
    }

    /// One that says the same, from now on apart.
    pub(crate) fn replica(&self) -> Self {
        let word = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        Self {
            peers: self.peers.iter().map(word).collect(),
            all: self.all.replica(),
            unlimited: self.unlimited,
            resets: self.resets.replica(),
            hasher: self.hasher.clone(),
        }
    }

    /// True if one more error may go to `peer` now; then it is counted.
    pub fn allow(&self, peer: IpAddr, now: Now) -> bool {
        if self.unlimited {
            return true;
        }
        let interval = if peer.is_ipv4() { PEER_INTERVAL_V4_MS } else { PEER_INTERVAL_V6_MS };
        // The peer's allowance first: one that floods must not use up the box's for all others.
        self.allow_peer(peer, interval, now) && self.all.take(now)
    }

    /// True if one more connection may be reset now; then it is counted. For the box only, and
    /// a second's worth at once: whoever gets one has a connection here, and when a server goes
    /// all of its clients need one.
    pub fn allow_reset(&self, now: Now) -> bool {
        self.resets.take(now)
    }

    fn allow_peer(&self, peer: IpAddr, interval: u64, now: Now) -> bool {
        const TIME_BITS: u32 = 40;
        const TIME: u64 = (1 << TIME_BITS) - 1;
        let hash = self.hasher.hash_one(peer);
        let place = &self.peers[hash as usize % PEERS];
        let tag = hash >> TIME_BITS;
        let mut word = place.load(Ordering::Relaxed);
        loop {
            // Another peer's past is not held against this one.
            let spent = if word >> TIME_BITS == tag { word & TIME } else { 0 };
            let Some(next) = spend(spent, now.millis, interval, PEER_BURST) else { return false };
            let next = tag << TIME_BITS | next & TIME;
            match place.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
    }
}

/// A rate with a burst, shared by threads.
#[derive(Debug)]
#[repr(align(64))]
pub struct Bucket {
    /// The time (us) up to which it is spent.
    spent_us: AtomicU64,
    interval_us: u64,
    burst: u64,
}

impl Bucket {
    /// `per_second` tokens a second (at least 1), up to `burst` of them at once.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval_us = 1_000_000 / u64::from(per_second.clamp(1, 1_000_000));
        Self { spent_us: AtomicU64::new(0), interval_us, burst: burst.max(1).into() }
    }

    fn replica(&self) -> Self {
        let spent_us = AtomicU64::new(self.spent_us.load(Ordering::Relaxed));
        Self { spent_us, ..*self }
    }

    /// Takes a token, if there is one.
    pub fn take(&self, now: Now) -> bool {
        let now_us = now.millis * 1000;
        let next = |spent| spend(spent, now_us, self.interval_us, self.burst);
        self.spent_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// A token bucket in one number: the time up to which its tokens are spent.
fn spend(spent: u64, now: u64, interval: u64, burst: u64) -> Option<u64> {
    let next = spent.max(now) + interval;
    (next <= now + interval * burst).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_at_once_then_one_a_second() {
        let limiter = Limiter::new(BOX_PER_SECOND);
        let peer = IpAddr::from([192, 0, 2, 1]);
        let sent = |from_ms: u64, count: usize| {
            (0..count).filter(|_| limiter.allow(peer, Now { millis: from_ms })).count()
        };
        assert_eq!(sent(10_000, 20), 6);
        assert_eq!(sent(10_999, 5), 0);
        assert_eq!(sent(11_000, 5), 1);
        assert_eq!(sent(60_000, 20), 6);
    }

    #[test]
    fn one_peer_leaves_the_others_their_share() {
        let limiter = Limiter::new(BOX_PER_SECOND);
        let allowed = |peer: u8, times: usize| {
            let peer = IpAddr::from([10, 0, 0, peer]);
            (0..times).filter(|_| limiter.allow(peer, Now { millis: 5_000 })).count()
        };
        assert_eq!(allowed(1, 1000), 6);
        assert_eq!(allowed(2, 10), 6);
    }

    #[test]
    fn fifty_at_once_for_the_box() {
        let limiter = Limiter::new(BOX_PER_SECOND);
        let allowed = (0..200u8)
            .filter(|i| limiter.allow(IpAddr::from([10, 0, 0, *i]), Now { millis: 5_000 }))
            .count();
        assert_eq!(allowed, 50);
    }
}
