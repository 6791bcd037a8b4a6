//! Every forwarding mode, with one queue and with two, for both families.
use std::collections::BTreeSet;

use xtask::lab::{Config, Director, Inside, Lab, Page, XdpMode};

use crate::{CLIENT, FAMILIES, stage};

const REQUESTS: usize = 200;

macro_rules! modes {
    ($($module:ident $mode:literal;)*) => {$(
        mod $module {
            #[test]
            fn one_queue_ipv4() { super::serve($mode, 1, 0); }
            #[test]
            fn one_queue_ipv6() { super::serve($mode, 1, 1); }
            #[test]
            fn two_queues_ipv4() { super::serve($mode, 2, 0); }
            #[test]
            fn two_queues_ipv6() { super::serve($mode, 2, 1); }
            #[test]
            fn generic() { super::serve_in_generic_mode($mode); }
        }
    )*};
}

modes! {
    nat "nat";
    fullnat "fullnat";
    dr "dr";
    dr_routed "dr-routed";
    tun "tun";
}

#[test]
fn tun_mixed_families() {
    let lab = stage("tun", 1);
    // An outer IPv4 header around IPv6 may be fragmented on the way, as the kernel's may, and
    // the lab's decapsulation takes no outer fragments. So the servers ask for segments that
    // need none: their link's 1400 less the outer header and those of IPv6 and TCP.
    for (name, _) in lab.topology().servers() {
        let route = "ip -6 route replace default via fd00:4::1 advmss 1320";
        lab.host(&name).run(route).unwrap();
    }
    let config = Config { servers: Inside::Other, ..Config::default() };
    let director = Director::start(&lab, config).unwrap();
    for vip in lab.topology().vips {
        balanced(&lab.client().fetch(vip, REQUESTS).unwrap(), REQUESTS);
        transfers(&lab, vip);
        director.settled_ledgers().unwrap();
    }
    director.stop().unwrap();
}

fn serve(mode: &str, queues: u32, family: usize) {
    let lab = stage(mode, queues);
    let vip = lab.topology().vips[family];
    let director = Director::start(&lab, Config::default()).unwrap();
    balanced(&lab.client().fetch(vip, REQUESTS).unwrap(), REQUESTS);
    // Before the transfers: each of those is one flow, and so one queue's alone.
    all_workers_took_part(&director, queues);
    logged_address(&lab, family);
    transfers(&lab, vip);
    datagrams(&lab, vip);
    streams(&lab, vip);
    if queues > 1 {
        one_server_across_queues(&lab, vip);
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

fn serve_in_generic_mode(mode: &str) {
    let lab = stage(mode, 1);
    let config = Config { xdp: XdpMode::Generic, ..Config::default() };
    for interface in lab.topology().interfaces {
        lab.director().run(&format!("ethtool -K {interface} gro on")).unwrap();
    }
    let director = Director::start(&lab, config).unwrap();
    for interface in lab.topology().interfaces {
        let features = lab.director().run(&format!("ethtool -k {interface}")).unwrap();
        for feature in ["generic-receive-offload", "large-receive-offload"] {
            assert!(features.contains(&format!("{feature}: off")), "{interface}: {features}");
        }
    }
    for vip in lab.topology().vips {
        balanced(&lab.client().fetch(vip, REQUESTS).unwrap(), REQUESTS);
        transfers(&lab, vip);
        datagrams(&lab, vip);
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// A hop in front that merges segments and leaves it to its NIC to part them again, which on
/// a veth nobody does: generic XDP gets packets that no frame holds.
#[test]
fn generic_mode_counts_what_is_larger_than_a_frame() {
    let lab = stage("nat", 1);
    let config = Config { xdp: XdpMode::Generic, ..Config::default() };
    let director = Director::start(&lab, config).unwrap();
    let vip = lab.topology().vips[0];
    let oversize = || director.json().unwrap()["interfaces"][0]["oversize"].as_u64().unwrap();
    lab.client().upload(vip).unwrap();
    assert_eq!(oversize(), 0);
    lab.host("router").run("ethtool -K lan gro on").unwrap();
    lab.host("router").run("ethtool -K front tx on tso on gso on").unwrap();
    let url = format!("http://{vip}/up/large");
    let file = lab.file("10M").display().to_string();
    // Segments that come alone get through: it may end or not.
    let line = format!("timeout 3 curl -s -o /dev/null --upload-file {file} {url}");
    let _ = lab.host("client").run(&line);
    assert!(oversize() > 0);
    lab.host("router").run("ethtool -K front tx off").unwrap();
    lab.client().upload(vip).unwrap();
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// Round robin over three servers: none may be left out or preferred. A SYN that was sent
/// twice before the first next hop was known may shift the turn by one or two.
fn balanced(answers: &Page, requests: usize) {
    assert_eq!(answers.len(), 3, "{answers:?}");
    let fair = requests / 3;
    for (server, count) in answers {
        assert!(count.abs_diff(fair) <= 3, "{server} answered {count} of {requests}: {answers:?}");
    }
}

fn all_workers_took_part(director: &Director<'_>, queues: u32) {
    let received = director.received_by_worker().unwrap();
    assert_eq!(received.len(), queues as usize, "one worker for each queue: {received:?}");
    let all: u64 = received.iter().sum();
    assert!(all > REQUESTS as u64, "{received:?}");
    if queues > 1 {
        assert!(received.iter().all(|share| share * 4 >= all), "an idle worker: {received:?}");
    }
}

/// What the servers' access logs say of the client: its own address in NAT, DR and TUN, the
/// director's local one in FullNAT.
fn logged_address(lab: &Lab, family: usize) {
    let expected = match lab.topology().forward {
        "fullnat" => lab.topology().local[family],
        _ => CLIENT[family],
    };
    for (name, _) in lab.topology().servers() {
        let log = std::fs::read_to_string(lab.file(&name).join("access.log")).unwrap();
        let seen: BTreeSet<&str> =
            log.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(seen, BTreeSet::from([expected]), "{name} over {}", FAMILIES[family]);
    }
}

fn transfers(lab: &Lab, vip: &str) {
    lab.client().upload(vip).unwrap();
    lab.client().download(vip).unwrap();
}

fn datagrams(lab: &Lab, vip: &str) {
    let client = lab.client();
    balanced(&client.ask(vip, 30, 32, 64).unwrap(), 30);
    assert_eq!(client.ask(vip, 20, 32, 4000).unwrap().values().sum::<usize>(), 20);
    // Large requests are fragments that the director handles. Not in TUN: with its header
    // they exceed the servers' MTU of 1400, and the lab's decapsulation takes no fragments.
    if lab.topology().forward != "tun" {
        assert_eq!(client.ask(vip, 20, 4000, 4000).unwrap().values().sum::<usize>(), 20);
    }
}

fn streams(lab: &Lab, vip: &str) {
    lab.client().iperf(vip, 5, false).unwrap();
    lab.client().iperf(vip, 2, true).unwrap();
}

/// A connection keeps its server when its packets come in on another queue.
fn one_server_across_queues(lab: &Lab, vip: &str) {
    let client = lab.client();
    let rounds = 8;
    for answers in [
        client.fetch_across_queues(vip, rounds).unwrap(),
        client.ask_across_queues(vip, rounds).unwrap(),
    ] {
        assert_eq!(answers.len(), 1, "the connection changed its server: {answers:?}");
        assert_eq!(answers.values().sum::<usize>(), rounds);
    }
}
