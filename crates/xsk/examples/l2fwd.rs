//! The bare loop: UDP to one address and port that arrives on one interface leaves by the
//! other, and nothing else happens. What xlvs costs is measured against it.
//!
//! `l2fwd IN OUT ADDRESS:PORT SECONDS [GENERATE]`: with a fifth argument, the frames are
//! made here too, by a generator thread, and leave by that interface (IN's veth peer).

use std::{
    env,
    error::Error,
    io,
    net::SocketAddrV4,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};
use xsk::{
    AddressFlags, AttachMode, EndpointFlags, Frame, Generator, MatchCapacities, MatchMaps, Pool,
    Port, PortConfig, Program, Tap, Umem, UmemConfig, WhenDown, link,
};

const BURST: usize = 64;
const FLOWS: u32 = 1024;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [input, output, service, seconds, rest @ ..] = arguments.as_slice() else {
        return Err("usage: l2fwd IN OUT ADDRESS:PORT SECONDS [GENERATE]".into());
    };
    let service: SocketAddrV4 = service.parse()?;
    let time = Duration::from_secs(seconds.parse()?);
    let maps = MatchMaps::new(MatchCapacities::default())?;
    maps.set_endpoint(17, (*service.ip()).into(), service.port(), EndpointFlags::SERVICE)?;
    maps.set_address((*service.ip()).into(), AddressFlags::VIP)?;
    let tap = Tap::open("l2fwd%d")?;
    let (umem, mut pools) =
        Umem::new(UmemConfig { chunk_size: 2048, frames_per_worker: vec![8192] })?;
    umem.anchor(tap.name())?;
    let pool = &mut pools[0];
    let mut from = Port::open(&umem, input, 0, &PortConfig::default())?;
    let mut to = Port::open(&umem, output, 0, &PortConfig::default())?;
    from.refill(pool);
    let program = Program::load(&maps, link::mac(input)?, WhenDown::Pass)?;
    program.set_socket(0, &from)?;
    let attached = program.attach(input, AttachMode::Auto, None)?;
    let pages = if umem.on_huge_pages() { "huge" } else { "small" };
    println!("{input}: {} XDP, {:?} sockets, {pages} pages", attached.mode(), from.mode());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<(), Box<dyn Error + Send + Sync>> {
        if let [generate] = rest {
            let frame = template(link::mac(input)?, service);
            let generator = Generator::new(link::index(generate)?, &frame, FLOWS)?;
            scope.spawn(|| flood(generator, &stop));
        }
        let forwarded = forward(&mut from, &mut to, pool, time);
        stop.store(true, Relaxed);
        let rate = forwarded as f64 / time.as_secs_f64() / 1e6;
        println!("{forwarded} frames, {rate:.3} Mpps, {:?}", from.stats()?);
        Ok(())
    })?;
    drop(attached);
    from.close(pool);
    to.close(pool);
    println!("{:?}", pool.ledger());
    Ok(())
}

/// Forwards until the time is over; returns how many frames went out.
fn forward(from: &mut Port, to: &mut Port, pool: &mut Pool, time: Duration) -> u64 {
    let mut burst: Vec<Frame> = Vec::with_capacity(BURST);
    let (start, mut forwarded) = (Instant::now(), 0);
    while start.elapsed() < time {
        from.receive(pool, &mut burst, BURST);
        for frame in burst.drain(..) {
            match to.send(pool, frame) {
                Ok(()) => forwarded += 1,
                Err(frame) => pool.give(frame),
            }
        }
        to.flush();
        to.reclaim(pool);
        from.refill(pool);
    }
    forwarded
}

fn flood(generator: Generator, stop: &AtomicBool) -> io::Result<()> {
    while !stop.load(Relaxed) {
        generator.run_for(Duration::from_millis(500), 64)?;
    }
    Ok(())
}

/// 60 octets of UDP without a checksum.
fn template(mac: [u8; 6], to: SocketAddrV4) -> Vec<u8> {
    let mut frame = mac.to_vec();
    frame.extend([2, 0, 0, 0, 0, 2, 8, 0]);
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 99, 0, 1]);
    frame.extend(to.ip().octets());
    let sum: u32 =
        frame[14..34].as_chunks().0.iter().map(|w| u32::from(u16::from_be_bytes(*w))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame.extend(1024u16.to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend([0, 26, 0, 0]);
    frame.resize(60, 0);
    frame
}
