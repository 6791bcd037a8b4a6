//! Sockets, program and ledger on real (veth) interfaces. Needs root.

mod net;
mod packets;

use net::{Wire, in_namespace, run, veth};
use packets::{Packet, udp};
use std::{net::IpAddr, path::Path};
use xsk::{
    AddressFlags, AttachError, AttachMode, Attached, EndpointFlags, Frame, Ledger, MatchCapacities,
    MatchMaps, Mode, OpenError, Pool, Port, PortConfig, Program, Tap, Umem, UmemConfig, Waker,
    WhenDown, XdpMode, link, wait,
};

const UDP: u8 = 17;
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 7));
const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 10));
const CONFIG: PortConfig =
    PortConfig { rx: 256, tx: 256, fill: 256, zero_copy: false, need_wakeup: true };

fn maps() -> MatchMaps {
    let maps = MatchMaps::new(MatchCapacities::default()).unwrap();
    maps.set_endpoint(UDP, VIP, 53, EndpointFlags::SERVICE).unwrap();
    maps.set_address(VIP, AddressFlags::VIP).unwrap();
    maps
}

fn umem(frames_per_worker: &[u32]) -> (Umem, Vec<Pool>) {
    let frames_per_worker = frames_per_worker.to_vec();
    Umem::new(UmemConfig { chunk_size: 2048, frames_per_worker }).unwrap()
}

/// A frame to the service behind `ifname`; the payload carries a number.
fn request(ifname: &str, number: u32) -> Vec<u8> {
    let mut payload = udp(4000, 53);
    payload[5] = 12;
    payload.extend(number.to_be_bytes());
    let mut frame = Packet::new(CLIENT, VIP).frame(UDP, payload);
    frame[..6].copy_from_slice(&link::mac(ifname).unwrap());
    frame
}

fn number(frame: &[u8]) -> Option<u32> {
    frame.get(42..46)?.try_into().ok().map(u32::from_be_bytes)
}

/// A port with its program, as control would set it up.
struct Side {
    port: Port,
    program: Program,
    attached: Attached,
}

impl Side {
    fn new(umem: &Umem, pool: &mut Pool, maps: &MatchMaps, ifname: &str, mode: AttachMode) -> Self {
        let mut port = Port::open(umem, ifname, 0, &CONFIG).unwrap();
        port.refill(pool);
        let program = Program::load(maps, link::mac(ifname).unwrap(), WhenDown::Pass).unwrap();
        program.set_socket(0, &port).unwrap();
        let attached = program.attach(ifname, mode, None).unwrap();
        Self { port, program, attached }
    }

    fn close(self, pool: &mut Pool) -> usize {
        drop(self.attached);
        self.port.close(pool)
    }
}

/// What arrived on one port leaves by the other.
fn forward(from: &mut Port, to: &mut Port, pool: &mut Pool, burst: &mut Vec<Frame>) -> usize {
    from.receive(pool, burst, 64);
    let count = burst.len();
    for frame in burst.drain(..) {
        if let Err(frame) = to.send(pool, frame) {
            pool.give(frame);
        }
    }
    to.flush();
    to.reclaim(pool);
    from.refill(pool);
    assert!(pool.ledger().holds(), "{:?}", pool.ledger());
    count
}

fn all_home(total: usize) -> Ledger {
    Ledger { total, pool: total, ..Ledger::default() }
}

fn l2fwd(mode: AttachMode, expected: XdpMode) {
    veth("a0", "a1", 1);
    veth("b0", "b1", 1);
    link::set_feature("a0", link::Feature::Gro, false).unwrap();
    let tap = Tap::open("anchor%d").unwrap();
    let (umem, mut pools) = umem(&[1024]);
    umem.anchor(tap.name()).unwrap();
    let (pool, maps) = (&mut pools[0], maps());
    let mut a = Side::new(&umem, pool, &maps, "a0", mode);
    let mut b = Side::new(&umem, pool, &maps, "b0", mode);
    assert_eq!((a.attached.mode(), a.port.mode()), (expected, Mode::Copy));
    let (client, server) = (Wire::new("a1"), Wire::new("b1"));
    let mut burst = Vec::with_capacity(64);
    let (rounds, each) = (200, 50);
    for round in 0..rounds {
        for index in 0..each {
            client.send(&request("a0", round * each + index));
        }
        let mut forwarded = 0;
        for _ in 0..1000 {
            forwarded += forward(&mut a.port, &mut b.port, pool, &mut burst);
            if forwarded == each as usize {
                break;
            }
            wait([&a.port], &Waker::new().unwrap(), 10).unwrap();
        }
        assert_eq!(forwarded, each as usize, "{:?} {:?}", a.port.stats(), a.program.counters());
        for index in 0..each {
            let frame = server.receive().expect("a forwarded frame");
            assert_eq!(number(&frame), Some(round * each + index));
        }
    }
    assert_eq!(a.program.counters().unwrap().taken, u64::from(rounds * each));
    assert_eq!(a.port.stats().unwrap().rx_ring_full, 0);
    assert_eq!((a.close(pool), b.close(pool)), (0, 0));
    assert_eq!(pool.ledger(), all_home(1024));
    assert_eq!(pool.strays(), 0);
}

#[test]
fn l2fwd_native() {
    in_namespace(|| l2fwd(AttachMode::Auto, XdpMode::Native));
}

#[test]
fn l2fwd_generic() {
    in_namespace(|| l2fwd(AttachMode::Generic, XdpMode::Generic));
}

#[test]
fn an_interface_vanishes_and_comes_back() {
    in_namespace(|| {
        let tap = Tap::open("anchor%d").unwrap();
        let (umem, mut pools) = umem(&[1024]);
        umem.anchor(tap.name()).unwrap();
        let (pool, maps) = (&mut pools[0], maps());
        veth("b0", "b1", 1);
        let mut b = Side::new(&umem, pool, &maps, "b0", AttachMode::Auto);
        let server = Wire::new("b1");
        let mut burst = Vec::with_capacity(64);
        for life in 0..3 {
            veth("a0", "a1", 1);
            let mut a = Side::new(&umem, pool, &maps, "a0", AttachMode::Auto);
            let client = Wire::new("a1");
            for index in 0..50 {
                client.send(&request("a0", life * 100 + index));
            }
            let mut forwarded = 0;
            while forwarded < 50 {
                forwarded += forward(&mut a.port, &mut b.port, pool, &mut burst);
            }
            for index in 0..50 {
                assert_eq!(number(&server.receive().unwrap()), Some(life * 100 + index));
            }
            assert!(!a.port.gone() && !b.port.gone());
            let stuck = pool.take().map(|mut frame| {
                frame.set_len(60);
                frame
            });
            run("ip link del a0");
            assert!(a.port.gone() && !b.port.gone());
            let back = a.port.send(pool, stuck.unwrap()).unwrap_err();
            pool.give(back);
            assert_eq!(a.close(pool), 0);
        }
        assert_eq!(b.close(pool), 0);
        assert_eq!(pool.ledger(), all_home(1024));
        assert_eq!(pool.strays(), 0);
    });
}

#[test]
fn an_interface_that_is_down_keeps_its_socket() {
    in_namespace(|| {
        veth("a0", "a1", 1);
        veth("b0", "b1", 1);
        let tap = Tap::open("anchor%d").unwrap();
        let (umem, mut pools) = umem(&[1024]);
        umem.anchor(tap.name()).unwrap();
        let (pool, maps) = (&mut pools[0], maps());
        let mut a = Side::new(&umem, pool, &maps, "a0", AttachMode::Auto);
        run("ip link set a0 down");
        assert!(!a.port.gone());
        run("ip link set a0 up");
        let client = Wire::new("a1");
        client.send(&request("a0", 1));
        let mut burst = Vec::new();
        assert!(wait([&a.port], &Waker::new().unwrap(), 1000).unwrap());
        assert_eq!(a.port.receive(pool, &mut burst, 64), 1);
        burst.drain(..).for_each(|frame| pool.give(frame));
        assert_eq!(a.close(pool), 0);
        assert_eq!(pool.ledger(), all_home(1024));
    });
}

#[test]
fn without_an_anchor_the_first_port_stays_bound() {
    in_namespace(|| {
        veth("a0", "a1", 1);
        let (umem, mut pools) = umem(&[1024]);
        let pool = &mut pools[0];
        let mut port = Port::open(&umem, "a0", 0, &CONFIG).unwrap();
        port.refill(pool);
        assert_eq!(pool.ledger().rx_lent, 256);
        assert!(matches!(umem.anchor("a0"), Err(OpenError::AnchorTooLate)));
        assert_eq!(port.close(pool), 256, "the kernel may still write to them");
        assert!(pool.ledger().holds());
    });
}

#[test]
fn frames_stay_with_their_worker() {
    in_namespace(|| {
        veth("a0", "a1", 1);
        let (umem, mut pools) = umem(&[64, 64]);
        let (mut theirs, mut ours) = (pools.remove(1), pools.remove(0));
        let mut port = Port::open(&umem, "a0", 0, &CONFIG).unwrap();
        let mut frame = theirs.take().unwrap();
        frame.room().fill(7);
        frame.set_len(60);
        assert_eq!(frame.bytes(), [7; 60]);
        let frame = port.send(&mut ours, frame).unwrap_err();
        assert_eq!(ours.strays(), 1);
        theirs.give(frame);
        ours.give(theirs.take().unwrap());
        assert_eq!((ours.strays(), theirs.ledger().held), (2, 1));
        let taken: Vec<Frame> = std::iter::from_fn(|| ours.take()).collect();
        assert_eq!((taken.len(), ours.available()), (64, 0));
        drop(ours);
        assert_eq!(taken[63].room_len(), 1792, "frames outlive their pool");
        assert!(taken.iter().all(|frame| frame.is_empty()));
    });
}

#[test]
fn frames_stay_with_their_umem() {
    let ((_ours, mut pools), (_theirs, mut others)) = (umem(&[64]), umem(&[64]));
    let (pool, other) = (&mut pools[0], &mut others[0]);
    // The same place in another memory: two frames must not become one.
    let (mine, foreign) = (pool.take().unwrap(), other.take().unwrap());
    pool.give(foreign);
    assert_eq!((pool.strays(), pool.ledger().held, other.ledger().held), (1, 1, 1));
    pool.give(mine);
    assert_eq!(pool.ledger(), all_home(64));
}

#[test]
fn a_full_transmit_ring_gives_the_frame_back() {
    in_namespace(|| {
        veth("a0", "a1", 1);
        let (umem, mut pools) = umem(&[1024]);
        let pool = &mut pools[0];
        let mut port = Port::open(&umem, "a0", 0, &CONFIG).unwrap();
        let wire = Wire::new("a1");
        for _ in 0..3 {
            let mut sent = 0;
            let refused = loop {
                let mut frame = pool.take().unwrap();
                frame.set_len(60);
                frame.bytes_mut().fill(0xee);
                match port.send(pool, frame) {
                    Ok(()) => sent += 1,
                    Err(frame) => break frame,
                }
            };
            pool.give(refused);
            assert_eq!(sent, 256);
            port.flush();
            for _ in 0..256 {
                assert_eq!(wire.receive().unwrap(), [0xee; 60]);
            }
            assert_eq!(port.reclaim(pool), 256);
        }
        assert_eq!(pool.ledger(), all_home(1024));
    });
}

#[test]
fn refusals_name_the_interface_and_the_cause() {
    in_namespace(|| {
        veth("a0", "a1", 1);
        let (umem, _pools) = umem(&[64]);
        let refused = |result: Result<Port, OpenError>| result.unwrap_err().to_string();
        let missing = refused(Port::open(&umem, "nic9", 0, &CONFIG));
        assert_eq!(missing, "nic9: no such interface");
        let odd = PortConfig { rx: 100, ..CONFIG };
        assert!(refused(Port::open(&umem, "a0", 0, &odd)).contains("power of two"));
        assert!(refused(Port::open(&umem, "a0", 7, &CONFIG)).contains("no such queue"));
        let probe = xsk::probe_zero_copy("a0", 0).unwrap_err().to_string();
        assert!(
            probe.starts_with("a0 queue 0") && probe.contains("no AF_XDP zero-copy"),
            "{probe}"
        );
        let port = Port::open(&umem, "a0", 0, &CONFIG).unwrap();
        let twice = refused(Port::open(&umem, "a0", 0, &CONFIG));
        assert!(twice.contains("this process has a socket there"), "{twice}");
        let mixed = refused(Port::open(&umem, "a0", 0, &PortConfig { zero_copy: true, ..CONFIG }));
        assert!(mixed.contains("copy mode"), "{mixed}");
        let other = self::umem(&[64]).0;
        let busy = refused(Port::open(&other, "a0", 0, &CONFIG));
        assert!(busy.contains("another AF_XDP socket has this queue"), "{busy}");
        drop(port);
    });
}

#[test]
fn another_program_is_named() {
    in_namespace(|| {
        veth("a0", "a1", 1);
        let maps = maps();
        let mac = link::mac("a0").unwrap();
        let first = Program::load(&maps, mac, WhenDown::Pass).unwrap();
        let second = Program::load(&maps, mac, WhenDown::Pass).unwrap();
        let attached = first.attach("a0", AttachMode::Auto, None).unwrap();
        for mode in [AttachMode::Auto, AttachMode::Native, AttachMode::Generic] {
            let error = second.attach("a0", mode, None).unwrap_err();
            assert!(matches!(error, AttachError::Busy { .. }), "{error}");
            assert!(error.to_string().contains("match, id "), "{error}");
        }
        drop(attached);
        second.attach("a0", AttachMode::Auto, None).unwrap();
        let error = second.attach("nic9", AttachMode::Auto, None).unwrap_err();
        assert_eq!(error.to_string(), "nic9: no such interface");
        let dry = Program::load_dry(&maps, mac).unwrap();
        assert!(matches!(dry.attach("a0", AttachMode::Auto, None), Err(AttachError::Dry)));
    });
}

#[test]
fn a_driver_without_xdp_falls_back_with_the_reason() {
    in_namespace(|| {
        run("ip link add br0 type bridge");
        let program = Program::load(&maps(), [2; 6], WhenDown::Pass).unwrap();
        let attached = program.attach("br0", AttachMode::Auto, None).unwrap();
        assert_eq!(attached.mode(), XdpMode::Generic);
        assert!(attached.fallback().unwrap().starts_with("br0: native XDP: "));
        drop(attached);
        let error = program.attach("br0", AttachMode::Native, None).unwrap_err();
        assert!(error.to_string().starts_with("br0: native XDP: "), "{error}");
    });
}

#[test]
fn a_pinned_program_outlives_us_and_is_taken_over() {
    in_namespace(|| {
        veth("a0", "a1", 1);
        run("ip address add 10.0.1.10/24 dev a0");
        let directory = std::env::temp_dir();
        run(&format!("mount -t bpf bpf {}", directory.display()));
        let pin = directory.join("xlvs_a0");
        let maps = maps();
        let mac = link::mac("a0").unwrap();
        let start = || {
            let program = Program::load(&maps, mac, WhenDown::Drop).unwrap();
            let attached = program.attach("a0", AttachMode::Auto, Some(&pin)).unwrap();
            (program, attached)
        };
        let (program, attached) = start();
        assert!(!attached.taken_over() && pin.exists());
        drop((program, attached));
        let attached_now = || xdp_of("a0");
        assert!(attached_now(), "it stays when its owner goes");
        let (program, attached) = start();
        assert!(attached.taken_over());
        let client = Wire::new("a1");
        client.send(&request("a0", 1));
        assert_eq!(program.counters().unwrap().no_socket, 1, "the new program counts");
        attached.detach().unwrap();
        assert!(!attached_now() && !pin.exists());
        // A pin of an interface that is gone, and one of another mode, are replaced.
        drop(start());
        run("ip link del a0");
        veth("a0", "a1", 1);
        let (program, attached) = start();
        assert!(!attached.taken_over());
        drop(attached);
        let generic = program.attach("a0", AttachMode::Generic, Some(&pin)).unwrap();
        assert_eq!((generic.mode(), generic.taken_over()), (XdpMode::Generic, false));
        generic.detach().unwrap();
        let nowhere = Path::new("/proc/xlvs");
        let error = program.attach("a0", AttachMode::Auto, Some(nowhere)).unwrap_err();
        assert!(error.to_string().contains("BPF file system"), "{error}");
        assert!(!xdp_of("a0"), "nothing stays half attached");
    });
}

/// Whether an interface has an XDP program, as ip(8) sees it.
fn xdp_of(ifname: &str) -> bool {
    let output = std::process::Command::new("ip").args(["link", "show", ifname]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
}

#[test]
fn facts_of_an_interface() {
    in_namespace(|| {
        veth("a0", "a1", 3);
        run("ip link set a0 mtu 1400 address 02:00:00:00:00:05");
        assert_eq!(link::rx_queues("a0").unwrap(), 3);
        assert_eq!(link::driver("a0").unwrap(), "veth");
        assert_eq!(link::mtu("a0").unwrap(), 1400);
        assert_eq!(link::mac("a0").unwrap(), [2, 0, 0, 0, 0, 5]);
        for feature in [link::Feature::Gro, link::Feature::TxChecksum, link::Feature::RxVlan] {
            for on in [true, false, true, false] {
                link::set_feature("a0", feature, on).unwrap();
                assert_eq!(link::feature("a0", feature).unwrap(), on, "{feature:?}");
            }
        }
        assert!(!link::feature("a0", link::Feature::Lro).unwrap());
        link::set_feature("a0", link::Feature::Lro, false).unwrap();
        assert!(link::set_feature("a0", link::Feature::Lro, true).is_err());
        let missing = link::mtu("nic9").unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
        assert!(link::rx_queues("nic9").is_err());
        assert!(link::mtu("a_name_that_is_too_long").is_err());
    });
}

#[test]
fn what_is_written_to_a_tap_arrives() {
    in_namespace(|| {
        let tap = Tap::open("punt%d").unwrap();
        assert_eq!(tap.name(), "punt0");
        assert!(tap.index() > 0);
        tap.set_mac([2, 0, 0, 0, 0, 9]).unwrap();
        tap.set_up().unwrap();
        assert_eq!(link::mac("punt0").unwrap(), [2, 0, 0, 0, 0, 9]);
        let wire = Wire::new("punt0");
        tap.drain().unwrap();
        let frame = request("punt0", 77);
        tap.write(&frame).unwrap();
        assert_eq!(wire.receive().unwrap(), frame);
        wire.send(&frame);
        let mut buffer = [0; 2048];
        let length = tap.read(&mut buffer).unwrap().unwrap();
        assert_eq!(buffer[..length], frame);
        wire.send(&frame);
        assert_eq!(tap.drain().unwrap(), 1);
        assert!(tap.write(&frame[..5]).is_err());
        drop(tap);
        assert!(link::mtu("punt0").is_err(), "it goes with its owner");
    });
}

#[test]
fn two_queues_two_workers_one_memory() {
    in_namespace(|| {
        veth("a0", "a1", 2);
        let tap = Tap::open("anchor%d").unwrap();
        let (umem, pools) = umem(&[512, 512]);
        umem.anchor(tap.name()).unwrap();
        let maps = maps();
        let program = Program::load(&maps, link::mac("a0").unwrap(), WhenDown::Pass).unwrap();
        let mut workers: Vec<(Port, Pool)> = pools
            .into_iter()
            .zip(0..)
            .map(|(mut pool, queue)| {
                let mut port = Port::open(&umem, "a0", queue, &CONFIG).unwrap();
                port.refill(&mut pool);
                program.set_socket(queue, &port).unwrap();
                (port, pool)
            })
            .collect();
        let attached = program.attach("a0", AttachMode::Auto, None).unwrap();
        let client = Wire::new("a1");
        for number in 0..200 {
            let mut frame = request("a0", number);
            frame[35] = number as u8;
            client.send(&frame);
        }
        std::thread::scope(|scope| {
            for (port, pool) in &mut workers {
                scope.spawn(move || {
                    let mut burst = Vec::with_capacity(64);
                    while wait([&*port], &Waker::new().unwrap(), 200).unwrap() {
                        port.receive(pool, &mut burst, 64);
                        burst.drain(..).for_each(|frame| pool.give(frame));
                        port.refill(pool);
                    }
                });
            }
        });
        assert_eq!(program.counters().unwrap().taken, 200);
        drop(attached);
        for (port, mut pool) in workers {
            assert_eq!(port.close(&mut pool), 0);
            assert_eq!(pool.ledger(), all_home(512));
        }
    });
}
