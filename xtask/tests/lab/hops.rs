//! Neighbours and MTUs around the director.
use xtask::lab::{Config, Director, Lab};

use crate::{FAMILIES, VISITOR, stage};

const WHO_HAS: &str = include_str!("who_has.py");

/// The link-layer addresses that answer for an IP address on the client's link.
pub(crate) fn who_has(lab: &Lab, address: &str) -> Vec<String> {
    let script = lab.file("who_has.py");
    std::fs::write(&script, WHO_HAS).unwrap();
    let line = format!("/usr/bin/python3 {} eth0 {address}", script.display());
    let answers = lab.host("client").run(&line).unwrap();
    answers.lines().map(str::to_owned).collect()
}

#[test]
fn only_the_director_answers_for_the_vip_on_the_shared_subnet() {
    let lab = stage("dr", 1);
    let director = Director::start(&lab, Config::default()).unwrap();
    let mac = lab.director().mac("eth0").unwrap();
    for vip in lab.topology().vips {
        lab.client().fetch(vip, 30).unwrap();
        assert_eq!(who_has(&lab, vip), [mac.as_str()], "{vip}");
        let entry = lab.host("client").run(&format!("ip neighbour show {vip}")).unwrap();
        assert!(entry.contains(&format!("lladdr {mac}")), "{entry}");
    }
    director.stop().unwrap();
}

#[test]
fn managed_vips_come_and_go_with_the_director() {
    let lab = stage("dr", 1);
    lab.withdraw_vips().unwrap();
    let addresses = || lab.director().run("ip -o address show dev eth0").unwrap();
    let before = addresses();
    let config = Config { managed: true, ..Config::default() };
    let director = Director::start(&lab, config).unwrap();
    for vip in lab.topology().vips {
        assert!(addresses().contains(vip), "{}", addresses());
        lab.client().fetch(vip, 30).unwrap();
    }
    director.stop().unwrap();
    assert_eq!(addresses(), before);
}

/// The servers believe in 1500 until the hop in front of the visitor tells the VIP; the
/// director must tell the server.
fn narrow_hop_in_front_of_the_client(mode: &str) {
    let lab = stage(mode, 2);
    let director = Director::start(&lab, Config::default()).unwrap();
    for (family, vip) in lab.topology().vips.into_iter().enumerate() {
        // Three in a row: round robin takes each server once.
        for _ in 0..3 {
            lab.visitor().download(vip).unwrap();
        }
        for _ in 0..3 {
            lab.visitor().upload(vip).unwrap();
        }
        for (name, _) in lab.topology().servers() {
            let mtu = learned_mtu(&lab, &name, VISITOR[family]);
            assert_eq!(mtu, Some(1400), "{name} over {}", FAMILIES[family]);
        }
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn nat_survives_a_narrow_hop_in_front_of_the_client() {
    narrow_hop_in_front_of_the_client("nat");
}

#[test]
fn dr_survives_a_narrow_hop_in_front_of_the_client() {
    narrow_hop_in_front_of_the_client("dr");
}

/// The link to the servers takes 1400, so the tunnel takes 1380 (IPv4 outside) or 1360
/// (IPv6); only the director hears of it, and must tell the client.
#[test]
fn tun_survives_a_narrow_hop_behind_the_director() {
    let lab = stage("tun", 2);
    let director = Director::start(&lab, Config::default()).unwrap();
    for (vip, fits) in lab.topology().vips.into_iter().zip([1380, 1360]) {
        for _ in 0..3 {
            lab.client().upload(vip).unwrap();
        }
        assert_eq!(learned_mtu(&lab, "client", vip), Some(fits), "{vip}");
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// The path MTU to an address that a host has learned by ICMP.
pub(crate) fn learned_mtu(lab: &Lab, host: &str, to: &str) -> Option<u32> {
    let route = lab.host(host).run(&format!("ip -o route get {to}")).unwrap();
    let (_, after) = route.split_once(" mtu ")?;
    after.split_whitespace().next()?.parse().ok()
}
