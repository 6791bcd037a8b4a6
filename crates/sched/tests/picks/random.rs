//! Numbers that look random and are the same in each run.

use std::net::Ipv4Addr;

use sched::Request;

/// xorshift64* (Vigna 2016).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.bits() >> 33) as usize % limit
    }

    /// A connection from any client to any destination.
    pub(crate) fn request(&mut self) -> Request {
        let mut address = || Ipv4Addr::from((self.bits() >> 32) as u32).into();
        let (client, destination) = (address(), address());
        let client_port = self.below(65_536) as u16;
        Request { client, client_port, destination, now: 0, random: mixed(self.bits()) }
    }
}

/// All 64 bits as good as the upper ones (the finalizer of SplitMix64).
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
