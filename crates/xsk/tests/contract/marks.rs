//! Mark rules. A test run's frames arrive by lo, whose index is 1 (`bpf_prog_test_run_xdp`).

use crate::{
    packets::{Family, MAC, Piece, icmp_error, quote, tcp, udp},
    world::{SCTP, TCP, UDP, World, expect, maps},
};
use std::net::IpAddr;
use xsk::{
    Action::{Pass, Take},
    AddressFlags, EndpointFlags, MARK_SLOTS, MarkSlot, MatchMaps, Program,
};

/// By which interface the frames come, and another one.
const HERE: u32 = 1;
const THERE: u32 = 2;

fn bits(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

fn anywhere(family: Family) -> (IpAddr, u8) {
    match family {
        Family::V4 => (IpAddr::from([0; 4]), 0),
        Family::V6 => (IpAddr::from([0; 16]), 0),
    }
}

/// `-d DESTINATION -j MARK --set-mark MARK`.
fn rule(destination: (IpAddr, u8), mark: u32) -> MarkSlot {
    MarkSlot {
        mark,
        mask: u32::MAX,
        destination,
        source: None,
        protocol: None,
        ports: None,
        interface: None,
    }
}

fn host(address: IpAddr) -> (IpAddr, u8) {
    (address, if address.is_ipv4() { 32 } else { 128 })
}

/// The VIP and the box's own address; each of these marks has a service.
fn base(w: &World, services: &[u32]) -> MatchMaps {
    let maps = maps();
    for mark in services {
        maps.set_mark_service(*mark, w.family == Family::V6).unwrap();
    }
    maps.set_address(w.vip, AddressFlags::BOX).unwrap();
    maps.set_address(w.own, AddressFlags::BOX).unwrap();
    maps
}

fn load(maps: &MatchMaps, rules: &[MarkSlot]) -> Program {
    maps.set_marks(rules).unwrap();
    Program::load_dry(maps, MAC).unwrap()
}

#[test]
fn each_condition_counts() {
    for w in World::both() {
        let (c, v) = (w.client, w.vip);
        let plain = rule(host(v), 10);
        let length = bits(w.family);
        let tcp_80 = w.packet(c, v).frame(TCP, tcp(4000, 80));
        let udp_80 = w.packet(c, v).frame(UDP, udp(4000, 80));
        let sctp_80 = w.packet(c, v).frame(SCTP, tcp(4000, 80));
        let away_80 = w.packet(c, w.away).frame(TCP, tcp(4000, 80));
        let near = Some((c, length - 8));
        let only = |protocol| MarkSlot { protocol: Some(protocol), ..plain.clone() };
        let ports = |ports| MarkSlot { ports: Some(ports), ..plain.clone() };
        let by = |interface| MarkSlot { interface: Some(interface), ..plain.clone() };
        let from = |source| MarkSlot { source, ..plain.clone() };
        let rows = [
            ("address", plain.clone(), &tcp_80, Take),
            ("address, UDP", plain.clone(), &udp_80, Take),
            ("address, SCTP", plain.clone(), &sctp_80, Take),
            ("another address", plain.clone(), &away_80, Pass),
            ("TCP", only(TCP), &tcp_80, Take),
            ("TCP, not UDP", only(TCP), &udp_80, Pass),
            ("SCTP", only(SCTP), &sctp_80, Take),
            ("port", ports(80..=80), &tcp_80, Take),
            ("a range's end", ports(8..=80), &tcp_80, Take),
            ("a range's start", ports(80..=90), &udp_80, Take),
            ("above a range", ports(1..=79), &tcp_80, Pass),
            ("below a range", ports(81..=65_535), &tcp_80, Pass),
            ("all ports", ports(0..=65_535), &tcp_80, Take),
            ("interface", by(HERE), &tcp_80, Take),
            ("another interface", by(THERE), &tcp_80, Pass),
            ("source", from(Some((c, length))), &tcp_80, Take),
            ("source network", from(near), &tcp_80, Take),
            ("another source", from(Some((w.stranger, length))), &tcp_80, Pass),
            ("network", rule((v, length - 8), 10), &away_80, Take),
            ("shorter network", rule((v, length - 25), 10), &away_80, Take),
            ("any", rule(anywhere(w.family), 10), &away_80, Take),
            ("a mark without a service", rule(host(v), 11), &tcp_80, Pass),
            ("mark 0", rule(host(v), 0), &tcp_80, Pass),
        ];
        let maps = base(&w, &[10]);
        let program = load(&maps, &[]);
        for (name, rule, frame, action) in rows {
            maps.set_marks(&[rule]).unwrap();
            expect(&program, &[(name, frame.clone(), action)]);
        }
    }
}

#[test]
fn families_have_marks_of_their_own() {
    let [four, six] = World::both();
    let frame = |w: &World| w.packet(w.client, w.away).frame(TCP, tcp(4000, 80));
    let rules = [rule(anywhere(Family::V4), 10), rule(anywhere(Family::V6), 10)];
    let (maps_four, maps_six) = (base(&four, &[10]), base(&six, &[10]));
    let rows = [("IPv4", frame(&four), Take), ("IPv6", frame(&six), Pass)];
    expect(&load(&maps_four, &rules), &rows);
    let rows = [("IPv4", frame(&four), Pass), ("IPv6", frame(&six), Take)];
    expect(&load(&maps_six, &rules), &rows);
    // Without rules of the other family its packets are not even asked about.
    maps_six.set_mark_service(10, false).unwrap();
    expect(&load(&maps_six, &rules[1..]), &rows);
}

/// `--set-xmark`, `--or-mark`, `--and-mark`: bits come and go, rule after rule.
#[test]
fn mask_arithmetic() {
    for w in World::both() {
        let frame = w.packet(w.client, w.vip).frame(TCP, tcp(4000, 80));
        let set = |mark, mask| MarkSlot { mask, ..rule(host(w.vip), mark) };
        let elsewhere = |mark| rule(host(w.away), mark);
        let rows: [(&str, Vec<MarkSlot>, u32); 10] = [
            ("one", vec![set(7, u32::MAX)], 7),
            ("the last wins", vec![set(7, u32::MAX), set(8, u32::MAX)], 8),
            ("only if it matches", vec![set(7, u32::MAX), elsewhere(8)], 7),
            ("masked", vec![set(0x1234, 0xff)], 0x34),
            ("two parts", vec![set(0x0a, 0xff), set(0x0b00, 0xff00)], 0x0b0a),
            ("or", vec![set(5, u32::MAX), set(2, 2)], 7),
            ("and", vec![set(7, u32::MAX), set(0, !6)], 6),
            ("the high bit", vec![set(1 << 31, 1 << 31)], 1 << 31),
            ("all bits", vec![set(u32::MAX, u32::MAX)], u32::MAX),
            ("a rule with two ranges", vec![set(3, 3), set(3, 3)], 3),
        ];
        let maps = base(&w, &[]);
        let program = load(&maps, &[]);
        let ipv6 = w.family == Family::V6;
        for (name, rules, mark) in rows {
            maps.set_marks(&rules).unwrap();
            let others: Vec<u32> = (0..32).map(|bit| mark ^ (1 << bit)).collect();
            others.iter().for_each(|other| maps.set_mark_service(*other, ipv6).unwrap());
            expect(&program, &[(name, frame.clone(), Pass)]);
            maps.set_mark_service(mark, ipv6).unwrap();
            expect(&program, &[(name, frame.clone(), Take)]);
            for known in others.iter().chain([&mark]) {
                assert!(maps.remove_mark_service(*known, ipv6).unwrap());
            }
        }
        let cleared = vec![set(7, u32::MAX), set(0, u32::MAX)];
        expect(&load(&base(&w, &[7, 0]), &cleared), &[("cleared", frame, Pass)]);
    }
}

/// `-i eth0 -j MARK`: transit is taken, what is for the box itself is not.
#[test]
fn transit_but_not_the_box() {
    for w in World::both() {
        let all = MarkSlot { interface: Some(HERE), ..rule(anywhere(w.family), 10) };
        let bits = |destination, mark, mask| MarkSlot { mask, ..rule(destination, mark) };
        let transit = w.packet(w.client, w.stranger).frame(TCP, tcp(4000, 80));
        let ssh = w.packet(w.client, w.own).frame(TCP, tcp(4000, 22));
        let vip = w.packet(w.client, w.vip).frame(TCP, tcp(4000, 80));
        let maps = base(&w, &[10, 0x10a]);
        let program = load(&maps, std::slice::from_ref(&all));
        let rows = [("transit", transit.clone(), Take), ("ssh", ssh.clone(), Pass)];
        expect(&program, &rows);
        expect(&program, &[("a VIP of the box, not named", vip.clone(), Pass)]);

        maps.set_marks(&[all.clone(), rule(host(w.vip), 10)]).unwrap();
        let rows = [("named", vip.clone(), Take), ("ssh", ssh.clone(), Pass)];
        expect(&program, &rows);

        maps.set_marks(&[rule(host(w.vip), 11), all.clone()]).unwrap();
        expect(&program, &[("named, but nothing of it is left", vip.clone(), Pass)]);

        maps.set_marks(&[all, bits(host(w.vip), 0x100, 0x100)]).unwrap();
        expect(&program, &[("named and not, joined", vip, Take), ("ssh", ssh, Pass)]);
    }
}

#[test]
fn beside_the_other_rules() {
    for w in World::both() {
        let maps = base(&w, &[10]);
        maps.set_endpoint(TCP, w.vip, 443, EndpointFlags::SERVICE).unwrap();
        let server = AddressFlags::SERVER | AddressFlags::from_every_port(TCP);
        maps.set_address(w.server, server).unwrap();
        let web = MarkSlot { ports: Some(80..=80), ..rule(host(w.vip), 10) };
        let program = load(&maps, &[web]);
        let (c, v, s) = (w.client, w.vip, w.server);
        let frame = |from, to, ports| w.packet(from, to).frame(TCP, ports);
        expect(
            &program,
            &[
                ("the rule's port", frame(c, v, tcp(4000, 80)), Take),
                ("a service's port", frame(c, v, tcp(4000, 443)), Take),
                ("neither", frame(c, v, tcp(4000, 22)), Pass),
                ("an answer", frame(s, c, tcp(80, 4000)), Take),
                ("a server to the box", frame(s, w.own, tcp(80, 4000)), Pass),
            ],
        );
        maps.set_marks(&[]).unwrap();
        expect(&program, &[("no rules", frame(c, v, tcp(4000, 80)), Pass)]);
    }
}

#[test]
fn fragments_by_address() {
    for w in World::both() {
        let (c, v, x) = (w.client, w.vip, w.stranger);
        let first =
            |to, id, port| w.packet(c, to).piece(Piece::First, id).frame(UDP, udp(4000, port));
        let later = |to, id| w.packet(c, to).piece(Piece::Later, id).frame(UDP, vec![0; 64]);
        let dns = MarkSlot { ports: Some(53..=53), ..rule(host(v), 10) };
        let rows = [
            ("first", first(v, 1, 53), Take),
            ("later", later(v, 1), Take),
            ("first to another port", first(v, 2, 54), Pass),
            ("its later one", later(v, 2), Pass),
            ("an early later one", later(v, 3), Take),
            ("later to the box", later(w.own, 4), Pass),
            ("later to elsewhere", later(x, 4), Pass),
        ];
        expect(&load(&base(&w, &[10]), &[dns]), &rows);

        let rows = [
            ("transit, first", first(x, 1, 53), Take),
            ("transit, later", later(x, 1), Take),
            ("later to the box", later(w.own, 4), Pass),
        ];
        expect(&load(&base(&w, &[10]), &[rule(anywhere(w.family), 10)]), &rows);

        let tcp_only = MarkSlot { protocol: Some(TCP), ..rule(host(v), 10) };
        let rows = [("the other protocol", later(v, 1), Pass)];
        expect(&load(&base(&w, &[10]), &[tcp_only]), &rows);
    }
}

#[test]
fn icmp_errors_reversed() {
    for w in World::both() {
        let (c, v, x) = (w.client, w.vip, w.stranger);
        let about = |packet: Vec<u8>| {
            let error = icmp_error(w.family.errors()[0], &quote(packet, 8 + w.family.header()));
            w.packet(x, w.own).frame(w.family.icmp(), error)
        };
        let quoted = |from, to, ports| about(w.packet(from, to).ip(TCP, ports));
        let later = |from, to| about(w.packet(from, to).piece(Piece::Later, 1).ip(TCP, vec![0; 8]));
        let rule = MarkSlot {
            ports: Some(80..=80),
            source: Some(host(c)),
            interface: Some(THERE),
            ..rule(host(v), 10)
        };
        let rows = [
            ("an answer, by another way", quoted(v, c, tcp(80, 4000)), Take),
            ("another port", quoted(v, c, tcp(81, 4000)), Pass),
            ("an answer to another client", quoted(v, x, tcp(80, 4000)), Pass),
            ("the client's own packet", quoted(c, v, tcp(4000, 80)), Pass),
            ("a later fragment of an answer", later(v, c), Take),
            ("a later fragment to another client", later(v, x), Pass),
        ];
        expect(&load(&base(&w, &[10]), &[rule]), &rows);
    }
}

#[test]
fn as_many_rules_as_there_is_room() {
    for w in World::both() {
        let port = |port: u16| MarkSlot {
            ports: Some(port..=port),
            ..rule(host(w.vip), u32::from(port) + 1)
        };
        let last = MARK_SLOTS as u16 - 1;
        let rules: Vec<MarkSlot> = (0..=last).map(port).collect();
        let maps = base(&w, &[u32::from(last) + 1]);
        let to = |port| w.packet(w.client, w.vip).frame(TCP, tcp(4000, port));
        let program = load(&maps, &rules);
        let rows = [("the last rule", to(last), Take), ("another's mark", to(0), Pass)];
        expect(&program, &rows);
        let error = maps.set_marks(&[rules, vec![port(999)]].concat()).unwrap_err();
        assert!(error.to_string().contains("more than 256 mark rules"), "{error}");
        expect(&program, &[("the rules before", to(last), Take)]);
    }
}

#[test]
fn new_rules_replace_the_old_ones() {
    let w = World::new(Family::V4);
    let maps = base(&w, &[10]);
    let program = load(&maps, &[]);
    let to = |address| w.packet(w.client, address).frame(TCP, tcp(4000, 80));
    for round in 0..5 {
        let (named, other) = if round % 2 == 0 { (w.vip, w.own) } else { (w.own, w.vip) };
        maps.set_marks(&[rule(host(named), 10)]).unwrap();
        expect(&program, &[("named", to(named), Take), ("not", to(other), Pass)]);
    }
    assert!(maps.remove_mark_service(10, false).unwrap());
    assert!(!maps.remove_mark_service(10, false).unwrap());
    expect(&program, &[("no service", to(w.vip), Pass)]);
}
