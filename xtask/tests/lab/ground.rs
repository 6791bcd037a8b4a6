//! The networks and the tools, without xlvs: the kernel stands in for the director.
use std::process::Command;

use xtask::lab::{ALL, Lab, Page, Topology};
use xtask::shell;

use crate::hops::who_has;
use crate::{CLIENT, VISITOR, server, stage};

#[test]
fn every_server_is_reachable_in_every_topology() {
    for topology in ALL {
        let lab = stage(topology.name, 1);
        for family in [0, 1] {
            for number in [1, 2, 3] {
                let own = server(&lab, number, family);
                for client in [lab.client(), lab.visitor()] {
                    let pages = client.fetch(own, 2).unwrap();
                    assert_eq!(pages, Page::from([(format!("server{number}"), 2)]));
                }
            }
        }
    }
}

#[test]
fn a_lab_leaves_nothing_behind_even_after_a_panic() {
    let run = std::panic::catch_unwind(|| {
        let lab = Lab::build(Topology::named("dr").unwrap(), 1).unwrap();
        std::panic::panic_any(lab.run().to_owned());
    });
    let run = *run.unwrap_err().downcast::<String>().unwrap();
    let namespaces = shell::output(Command::new("ip").args(["netns", "list"])).unwrap();
    assert!(!namespaces.contains(&run), "{namespaces}");
    assert!(!std::path::Path::new("/run/xlvs-lab").join(run).exists());
}

#[test]
fn flows_spread_over_both_queues_and_move_between_them() {
    for mode in ["nat", "dr"] {
        let lab = stage(mode, 2);
        // veth counts packets by queue once NAPI runs, which GRO switches on.
        lab.director().run("ethtool -K eth0 gro on").unwrap();
        stand_in(&lab);
        let vip = lab.topology().vips[0];
        lab.client().fetch(vip, 200).unwrap();
        let shares = received_by_queue(&lab);
        let all: u64 = shares.iter().sum();
        assert!(all > 600 && shares.iter().all(|share| share * 4 >= all), "{mode}: {shares:?}");
        if mode == "nat" {
            for answers in [
                lab.client().fetch_across_queues(vip, 8).unwrap(),
                lab.client().ask_across_queues(vip, 8).unwrap(),
            ] {
                assert_eq!(answers.len(), 1, "{answers:?}");
            }
            let moved: Vec<u64> =
                received_by_queue(&lab).iter().zip(&shares).map(|(now, then)| now - then).collect();
            assert!(moved.iter().all(|packets| *packets >= 6), "{moved:?}");
        }
    }
}

/// What each RX queue of the director's eth0 has received.
fn received_by_queue(lab: &Lab) -> Vec<u64> {
    let counters = lab.director().run("ethtool -S eth0").unwrap();
    let lines = counters.lines().map(str::trim);
    let of_queues =
        lines.filter(|line| line.starts_with("rx_queue_") && line.contains("_xdp_packets:"));
    of_queues.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

/// The whole exercise, so that a tool that is wrong shows here first.
#[test]
fn the_tools_work_through_the_kernels_nat() {
    for mode in ["nat", "fullnat"] {
        let lab = stage(mode, 2);
        stand_in(&lab);
        for vip in lab.topology().vips {
            let pages = lab.client().fetch(vip, 30).unwrap();
            assert_eq!(pages.into_values().collect::<Vec<_>>(), [10, 10, 10]);
            lab.client().upload(vip).unwrap();
            lab.client().download(vip).unwrap();
            lab.visitor().upload(vip).unwrap();
            lab.visitor().download(vip).unwrap();
            assert_eq!(lab.client().ask(vip, 9, 32, 64).unwrap().len(), 3);
            assert_eq!(lab.client().ask(vip, 9, 4000, 4000).unwrap().len(), 3);
        }
        let log = std::fs::read_to_string(lab.file("server1").join("access.log")).unwrap();
        let seen = |address: &str| log.lines().any(|line| line.starts_with(address));
        for family in [0, 1] {
            assert_eq!(seen(CLIENT[family]), mode == "nat");
            assert_eq!(seen(VISITOR[family]), mode == "nat");
            assert_eq!(seen(lab.topology().local[family]), mode == "fullnat");
        }
        // Past the director: one control and one data connection need one server.
        lab.client().iperf(server(&lab, 1, 0), 1, false).unwrap();
        lab.client().iperf(server(&lab, 1, 1), 1, true).unwrap();
    }
}

/// DR by an ingress rule that does what the director would: other link-layer addresses.
#[test]
fn servers_answer_directly_for_the_vip_on_lo() {
    for mode in ["dr", "dr-routed"] {
        let lab = stage(mode, 1);
        if mode == "dr" {
            let mac = lab.director().mac("eth0").unwrap();
            for vip in lab.topology().vips {
                assert_eq!(who_has(&lab, vip), [mac.as_str()], "{vip}");
            }
        }
        stand_in(&lab);
        for vip in lab.topology().vips {
            let pages = lab.client().fetch(vip, 5).unwrap();
            assert_eq!(pages, Page::from([("server1".to_owned(), 5)]), "{mode}");
            lab.client().upload(vip).unwrap();
            lab.client().download(vip).unwrap();
            lab.visitor().fetch(vip, 5).unwrap();
            assert_eq!(lab.client().ask(vip, 5, 4000, 4000).unwrap().len(), 1);
            lab.client().iperf(vip, 1, true).unwrap();
        }
    }
}

/// All four pairs of families, each with packets that scapy made.
#[test]
fn servers_take_off_the_outer_header() {
    let lab = stage("tun", 1);
    let script = lab.file("encapsulated.py");
    std::fs::write(&script, include_str!("encapsulated.py")).unwrap();
    for (inside, vip) in lab.topology().vips.into_iter().enumerate() {
        for outside in [0, 1] {
            let mut python = lab.director().command("/usr/bin/python3");
            python.arg(&script).args([CLIENT[inside], vip]);
            python.args([lab.topology().local[outside], server(&lab, 2, outside)]);
            python.arg(lab.host("client").name());
            let answer = shell::output(&mut python).unwrap();
            assert!(answer.starts_with("server2 hello"), "{inside} in {outside}: {answer}");
        }
    }
}

/// Lets the director's kernel do a mode's work: DNAT in turn, or one server by its MAC.
fn stand_in(lab: &Lab) {
    let rules = match lab.topology().forward {
        "dr" => by_link_layer_address(lab),
        forward => by_destination_nat(lab, forward == "fullnat"),
    };
    shell::feed(lab.director().command("nft").args(["-f", "-"]), &rules).unwrap();
}

fn by_destination_nat(lab: &Lab, source_too: bool) -> String {
    let [v4, v6] = lab.topology().vips;
    let [local4, local6] = lab.topology().local;
    let [servers4, servers6] = [0, 1].map(|family| {
        let all = lab.topology().servers.iter().enumerate();
        all.map(|(at, own)| format!("{at} : {}", own[family])).collect::<Vec<_>>().join(", ")
    });
    let mut rules = format!(
        "table inet stand_in {{
            chain before {{
                type nat hook prerouting priority dstnat
                ip daddr {v4} dnat ip to numgen inc mod 3 map {{ {servers4} }}
                ip6 daddr {v6} dnat ip6 to numgen inc mod 3 map {{ {servers6} }}
            }}
        }}\n"
    );
    if source_too {
        rules.push_str(&format!(
            "table inet stand_in {{
                chain after {{
                    type nat hook postrouting priority srcnat
                    ct status dnat meta nfproto ipv4 snat ip to {local4}
                    ct status dnat meta nfproto ipv6 snat ip6 to {local6}
                }}
            }}\n"
        ));
    }
    rules
}

fn by_link_layer_address(lab: &Lab) -> String {
    let [v4, v6] = lab.topology().vips;
    let way_out = lab.topology().interfaces[lab.topology().interfaces.len() - 1];
    let to = lab.host("server1").mac("eth0").unwrap();
    let from = lab.director().mac(way_out).unwrap();
    let forward = format!("ether daddr set {to} ether saddr set {from} fwd to \"{way_out}\"");
    format!(
        "table netdev stand_in {{
            chain eth0 {{
                type filter hook ingress device \"eth0\" priority 0
                ip daddr {v4} {forward}
                ip6 daddr {v6} meta l4proto {{ tcp, udp }} {forward}
                ip6 daddr {v6} ip6 nexthdr 44 {forward}
            }}
        }}\n"
    )
}
