//! Damaged packets through a whole worker: the frames of all golden tables, changed in every
//! way, must neither panic nor get lost nor leave anything behind.

use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_channel::bounded;
use dataplane::{
    clock::Now,
    director::{Director, Limits},
    forward::Forward,
    memory::{MemoryFrame, MemoryIo},
    stats::Stats,
    table::Secret,
    verdict::Drop,
    worker::Worker,
};

use crate::{
    desk::LIMITS,
    golden,
    lives::{check_counts, check_keys, list},
    random::Random,
    verdicts::packets,
    wire::{ICMP, ICMPV6, checksum, transport_checksum},
};

/// Packets for each mode.
const PACKETS: usize = 800_000;
const BURST: usize = 32;
const SERVERS: usize = 4;

/// What damaged packets must have met in each mode.
const MET: [Drop; 10] = [
    Drop::Malformed,
    Drop::BadIpChecksum,
    Drop::Land,
    Drop::SourceRoute,
    Drop::BadSource,
    Drop::TtlExceeded,
    Drop::TooBig,
    Drop::HalfOpenLimit,
    Drop::WaitingFull,
    Drop::FragmentOfDropped,
];

struct Abuse {
    random: Random,
    frames: Vec<Vec<u8>>,
    director: Arc<Director>,
    stats: Arc<Stats>,
    worker: Worker<MemoryFrame>,
    io: MemoryIo,
    now: Now,
}

#[test]
fn damaged_packets_neither_panic_nor_get_lost() {
    let modes = [
        (Forward::Nat, false),
        (Forward::FullNat, false),
        (Forward::Dr, false),
        (Forward::Tun, false),
        (Forward::Tun, true),
    ];
    let frames = golden::frames();
    assert!(frames.len() > 500, "{} golden frames", frames.len());
    std::thread::scope(|scope| {
        for (seed, (forward, mixed)) in modes.into_iter().enumerate() {
            let frames = frames.clone();
            scope.spawn(move || abuse(seed as u64, frames, forward, mixed));
        }
    });
}

fn abuse(seed: u64, frames: Vec<Vec<u8>>, forward: Forward, mixed: bool) {
    let snapshot = |generation: u64, mtu| golden::snapshot(generation, forward, mixed, mtu);
    let snapshots = [snapshot(1, 1500), snapshot(2, 1400), snapshot(3, 1280)];
    let published = Arc::new(ArcSwap::new(Arc::clone(&snapshots[0])));
    let mut abuse = Abuse::new(seed, frames, Arc::clone(&published));
    abuse.director.prepare(&snapshots[0].services);
    for breath in 0..PACKETS / BURST {
        if breath % 1_000 == 999 {
            published.store(Arc::clone(&snapshots[breath / 1_000 % 3]));
        }
        for _ in 0..BURST {
            let port = abuse.random.below(2) as u16;
            let frame = abuse.damaged();
            // While frames are held or the ring is full, the pool may be empty: a NIC drops.
            abuse.io.arrive(port, &frame);
        }
        abuse.breathe();
    }
    abuse.finish();
}

impl Abuse {
    fn new(
        seed: u64,
        frames: Vec<Vec<u8>>,
        published: Arc<ArcSwap<dataplane::snapshot::Snapshot>>,
    ) -> Self {
        let mut random = Random::new(seed);
        let limits = Limits { connections_v4: 200, connections_v6: 200, ..LIMITS };
        let secrets = [(); 2].map(|()| Secret(std::array::from_fn(|_| random.next() << 20)));
        let (sender, _) = bounded(64);
        let director = Arc::new(Director::with_secrets(limits, sender, secrets).expect("memory"));
        let stats = Arc::new(Stats::new(director.limits().servers));
        let worker = Worker::new((0, 1), Arc::clone(&director), published, Arc::clone(&stats));
        let mut io = MemoryIo::new(2, 64);
        io.keep_punts = false;
        Self { random, frames, director, stats, worker, io, now: Now { millis: 1000 } }
    }

    fn breathe(&mut self) {
        let millis =
            if self.random.chance(1) { self.random.below(400_000) } else { self.random.below(20) };
        self.now.millis += millis as u64;
        self.io.tx_limit = self.random.pick(&[4, usize::MAX, usize::MAX, usize::MAX]);
        self.worker.breathe(&mut self.io, self.now);
        let held = self.worker.held();
        assert_eq!(self.io.outstanding(), held, "law 2: frames without a home");
        let packets = packets(&self.stats, self.io.parts());
        assert_eq!(self.stats.rx_packets.value(), packets + held as u64, "law 5");
        self.io.discard_sent();
    }

    fn finish(&mut self) {
        for drop in MET {
            assert!(self.stats.drops[drop as usize].value() > 0, "never: {}", drop.name());
        }
        assert!(self.stats.opened.value() > 1_000 && self.stats.tx_packets.value() > 10_000);
        assert!(self.io.parts().sent > 100, "hardly anything was fragmented");
        let listing = list(&self.director);
        check_keys(&listing);
        check_counts(&self.director, &listing, SERVERS);
        for _ in 0..3 {
            self.now.millis += 2_000_000;
            self.breathe();
        }
        check_counts(&self.director, &list(&self.director), SERVERS);
        assert_eq!(self.director.v4.keys() + self.director.v6.keys(), 0, "keys left");
        assert_eq!(self.worker.held(), 0, "frames held");
    }

    /// A golden frame, damaged.
    fn damaged(&mut self) -> Vec<u8> {
        let at = self.random.below(self.frames.len());
        let mut frame = self.frames[at].clone();
        for _ in 0..self.random.below(4) {
            self.damage(&mut frame);
        }
        if self.random.chance(80) {
            mend(&mut frame);
        }
        frame
    }

    fn damage(&mut self, frame: &mut Vec<u8>) {
        const OCTETS: [u8; 10] = [0, 1, 4, 6, 17, 0x29, 0x2c, 0x45, 0x60, 0xff];
        let len = frame.len();
        if len < 16 {
            return;
        }
        // Headers are worth more damage than data.
        let near = 12 + self.random.below((len - 12).min(100));
        match self.random.below(12) {
            0..=4 => frame[near] ^= 1 << self.random.below(8),
            5..=7 => frame[near] = self.random.pick(&OCTETS),
            8 => frame[near] = self.random.next() as u8,
            9 => frame.truncate(near),
            10 => frame.extend(std::iter::repeat_n(0, self.random.below(60).min(1700 - len))),
            _ => {
                // The rest of another packet.
                let other = self.random.below(self.frames.len());
                frame.truncate(near);
                frame.extend(self.frames[other].iter().skip(near));
            }
        }
    }
}

/// Makes the checksums right that the box verifies, as far as they can be found.
fn mend(frame: &mut [u8]) {
    if frame.len() < 62 {
        return;
    }
    let ip = &mut frame[14..];
    if ip[0] == 0x45 {
        ip[10..12].fill(0);
        let sum = checksum(&[&ip[..20]]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let end = (usize::from(ip[2]) << 8 | usize::from(ip[3])).clamp(20, ip.len());
        if ip[9] == ICMP && end >= 28 {
            ip[22..24].fill(0);
            let sum = checksum(&[&ip[20..end]]);
            ip[22..24].copy_from_slice(&sum.to_be_bytes());
        }
    } else if ip[0] >> 4 == 6 && ip[6] == ICMPV6 {
        let address = |at: usize| {
            std::net::IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).expect("16 octets"))
        };
        let (src, dst) = (address(8), address(24));
        let end = 40 + (usize::from(ip[4]) << 8 | usize::from(ip[5]));
        let end = end.clamp(44, ip.len());
        ip[42..44].fill(0);
        let sum = transport_checksum(src, dst, ICMPV6, &ip[40..end]);
        ip[42..44].copy_from_slice(&sum.to_be_bytes());
    }
}
