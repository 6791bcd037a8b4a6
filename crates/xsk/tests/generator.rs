//! The generator's frames: all flows, valid checksums, the right number. Needs root.

mod net;
mod packets;

use net::{in_namespace, veth};
use packets::{Packet, checksum, tcp, udp};
use std::{
    collections::HashSet,
    net::IpAddr,
    time::{Duration, Instant},
};
use xsk::{
    AddressFlags, AttachMode, EndpointFlags, Generator, MatchCapacities, MatchMaps, Pool, Port,
    PortConfig, Program, Umem, UmemConfig, WhenDown, link,
};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Frames of one run: fewer than the rings hold.
const EACH: u32 = 1024;

/// The sum over pseudo header and segment (RFC 768, RFC 9293 section 3.1, RFC 8200 8.1).
fn transport_checksum(frame: &[u8]) -> u16 {
    let ipv4 = frame[12] == 8;
    let (addresses, protocol, segment) = if ipv4 {
        let length = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        (&frame[26..34], frame[23], &frame[34..length])
    } else {
        let length = 54 + usize::from(u16::from_be_bytes([frame[18], frame[19]]));
        (&frame[22..54], frame[20], &frame[54..length])
    };
    let mut sum = addresses.to_vec();
    sum.extend([0, protocol]);
    sum.extend((segment.len() as u16).to_be_bytes());
    sum.extend(segment);
    checksum(&sum)
}

fn template(source: IpAddr, destination: IpAddr, protocol: u8, mac: [u8; 6]) -> Vec<u8> {
    let (mut payload, at) = if protocol == TCP { (tcp(1000, 80), 16) } else { (udp(1000, 80), 6) };
    payload.extend([0xab; 16]);
    if protocol == UDP {
        payload[5] = payload.len() as u8;
    }
    let mut frame = Packet::new(source, destination).frame(protocol, payload);
    frame[..6].copy_from_slice(&mac);
    let start = if source.is_ipv4() { 34 } else { 54 };
    let sum = transport_checksum(&frame);
    frame[start + at..start + at + 2].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(transport_checksum(&frame), 0);
    frame
}

/// Source address and port of all that arrives, each frame checked.
fn collect(port: &mut Port, pool: &mut Pool, flows: &mut HashSet<Vec<u8>>) -> usize {
    let mut burst = Vec::new();
    let count = port.receive(pool, &mut burst, 2048);
    for frame in burst {
        let bytes = frame.bytes();
        let ipv4 = bytes[12] == 8;
        if ipv4 {
            assert_eq!(checksum(&bytes[14..34]), 0, "IPv4 header checksum");
        }
        assert_eq!(transport_checksum(bytes), 0, "TCP or UDP checksum");
        flows.insert(if ipv4 { bytes[26..36].to_vec() } else { bytes[22..56].to_vec() });
        pool.give(frame);
    }
    port.refill(pool);
    count
}

#[test]
fn each_frame_is_of_the_next_flow_and_valid() {
    in_namespace(|| {
        veth("a0", "a1", 1);
        let config = UmemConfig { chunk_size: 2048, frames_per_worker: vec![2048] };
        let (umem, mut pools) = Umem::new(config).unwrap();
        let (pool, mac) = (&mut pools[0], link::mac("a0").unwrap());
        let mut port = Port::open(&umem, "a0", 0, &PortConfig::default()).unwrap();
        port.refill(pool);
        let maps = MatchMaps::new(MatchCapacities::default()).unwrap();
        let program = Program::load(&maps, mac, WhenDown::Pass).unwrap();
        program.set_socket(0, &port).unwrap();
        let _attached = program.attach("a0", AttachMode::Native, None).unwrap();
        let out = link::index("a1").unwrap();
        let v4 = (IpAddr::from([10, 1, 0, 5]), IpAddr::from([10, 2, 0, 5]));
        let v6 = ("fd00::ff05".parse().unwrap(), "fd00:2::5".parse().unwrap());
        for (source, destination) in [v4, v6] {
            maps.set_address(destination, AddressFlags::VIP).unwrap();
            for (protocol, flows) in [(TCP, 1), (UDP, 64), (TCP, 1 << 15), (UDP, 1 << 15)] {
                maps.set_endpoint(protocol, destination, 80, EndpointFlags::SERVICE).unwrap();
                let frame = template(source, destination, protocol, mac);
                let generator = Generator::new(out, &frame, flows).unwrap();
                let (mut seen, mut received) = (HashSet::new(), 0);
                let rounds = (flows * 2).div_ceil(EACH);
                for _ in 0..rounds {
                    generator.run(EACH, 64).unwrap();
                    received += collect(&mut port, pool, &mut seen);
                }
                assert_eq!(received as u32, rounds * EACH, "{:?}", port.stats());
                assert_eq!(generator.sent().unwrap(), u64::from(rounds * EACH));
                // The counter is per CPU, and the kernel may move this thread.
                let least = if flows < 1 << 15 { flows } else { flows / 2 };
                assert!(seen.len() as u32 >= least, "{} of {flows} flows", seen.len());
            }
        }
        assert_eq!(pool.strays(), 0);
    });
}

#[test]
fn a_flood_lasts_as_long_as_it_should() {
    in_namespace(|| {
        veth("a0", "a1", 1);
        let (a, b) = (IpAddr::from([10, 1, 0, 5]), IpAddr::from([10, 2, 0, 5]));
        let frame = template(a, b, UDP, link::mac("a0").unwrap());
        let generator = Generator::new(link::index("a1").unwrap(), &frame, 1).unwrap();
        let (start, time) = (Instant::now(), Duration::from_millis(200));
        generator.run_for(time, 64).unwrap();
        assert!(start.elapsed() >= time, "{:?}", start.elapsed());
        assert!(generator.sent().unwrap() > 64);
        // The signal did no harm, and there can be another flood.
        generator.run_for(time, 64).unwrap();
    });
}

#[test]
fn templates_that_cannot_be_varied_are_refused() {
    let (a, b) = (IpAddr::from([10, 1, 0, 5]), IpAddr::from([10, 2, 0, 5]));
    let frame = template(a, b, TCP, [2; 6]);
    let mut options = frame.clone();
    options[14] = 0x46;
    let mut other = frame.clone();
    other[23] = 1;
    for bad in [&frame[..40], &options, &other, &[]] {
        let error = Generator::new(1, bad, 1).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    assert!(Generator::new(1, &frame, 3).is_err());
}
