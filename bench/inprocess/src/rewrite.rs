//! What each mode changes in a frame, without finding out what.

use std::{
    io,
    time::{Duration, Instant},
};

use dataplane::{
    forward::{Forward, Protocol, Tunnel, Tuple},
    io::Frame,
    packet::Packet,
    rewrite::{address_frame, translate},
    topology::{Hop, Mac},
    tunnel::{self, Chosen, Ends, Path},
    wire::{ethernet, tcp},
};

use crate::{ForFamily, MODES, Session, for_families};
use crate::{
    carousel::{Carousel, ChunkFrame, FRAMES},
    flows::{BenchFamily, Template},
};

struct Rewrite(Forward);

pub(crate) fn run(session: &mut Session<'_>) -> io::Result<()> {
    MODES.into_iter().try_for_each(|mode| for_families(&Rewrite(mode), session))
}

impl ForFamily for Rewrite {
    fn run<A: BenchFamily>(&self, session: &mut Session<'_>) -> io::Result<()> {
        let name = format!("rewrite {} {}", self.0.name(), A::NAME);
        if !session.wants(&name) {
            return Ok(());
        }
        let mut carousel = Carousel::new();
        let template = Template::<A>::new(Protocol::Tcp, tcp::ACK);
        session.measure(&name, || {
            carousel.fill(|room| template.write(0, room));
            let took = turn(carousel.arrived(), self.0, template.packet());
            carousel.empty();
            (took, FRAMES)
        });
        Ok(())
    }
}

fn turn<A: BenchFamily>(frames: &mut [ChunkFrame], mode: Forward, packet: &Packet<A>) -> Duration {
    let mac = Mac([2, 0, 0, 0, 0, 9]);
    let hop = Hop { port: 1, mac: Some(mac), source: Mac([2, 0, 0, 0, 0, 8]), mtu: 1500 };
    let nat = Tuple { dst: A::SERVER, dport: 8080, ..packet.tuple };
    let full_nat = Tuple { src: A::LOCAL, sport: 10_000, ..nat };
    let ends = Ends::new(A::INSIDE.ip(), A::SERVER.ip()).expect("one family");
    let path = Path::new(ends, Tunnel::Ipip, true);
    let chosen = Chosen { id: 0, dont_fragment: false, source_port: 0 };
    let start = Instant::now();
    for frame in frames {
        match mode {
            Forward::Nat => translate(frame.bytes_mut(), packet, nat),
            Forward::FullNat => translate(frame.bytes_mut(), packet, full_nat),
            Forward::Dr => A::decrement_ttl(&mut frame.bytes_mut()[ethernet::LEN..]),
            Forward::Tun => {
                let end = tunnel::encapsulate(frame.room(), packet, &path, chosen).expect("room");
                frame.set_len(end);
            }
        }
        address_frame(frame.bytes_mut(), &hop, mac);
    }
    start.elapsed()
}
