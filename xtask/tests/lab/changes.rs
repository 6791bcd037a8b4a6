//! The network changes around a running director: live connections follow within a second.
use std::time::Duration;

use xtask::lab::{Config, Director, Lab};
use xtask::shell;

use crate::hops::learned_mtu;
use crate::live::{answers, finish, live};
use crate::{server, stage};

/// Packets that a host has received for others and sent on.
fn forwarded(lab: &Lab, host: &str, family: usize) -> u64 {
    let [table, name] = [["snmp", "ForwDatagrams"], ["snmp6", "Ip6OutForwDatagrams"]][family];
    let text = lab.host(host).run(&format!("cat /proc/net/{table}")).unwrap();
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    if family == 1 {
        let line = lines.find(|words| words[0] == name).unwrap();
        return line[1].parse().unwrap();
    }
    // A line of names, then a line of numbers.
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.iter().position(|one| *one == name).unwrap();
    numbers[at].parse().unwrap()
}

/// Over the connection of a client that asks ten times a second, `host` must forward nothing
/// before the change, something within a second of it, and from then on its share.
fn follows(lab: &Lab, family: usize, host: impl Fn(&str) -> String, change: impl Fn(&str, &str)) {
    let vip = lab.topology().vips[family];
    let mut load = live(lab, vip, 4, "follows");
    std::thread::sleep(Duration::from_secs(1));
    let (name, _) = answers(&load);
    let host = host(&name);
    let before = forwarded(lab, &host, family);
    change(&name, &host);
    std::thread::sleep(Duration::from_secs(1));
    let after_a_second = forwarded(lab, &host, family);
    std::thread::sleep(Duration::from_secs(1));
    let in_the_next = forwarded(lab, &host, family) - after_a_second;
    let (_, longest) = finish(&mut load);
    assert!(after_a_second > before, "{vip}: not by {host} within a second");
    assert!(in_the_next >= 8, "{vip}: {in_the_next} packets by {host} in a second");
    assert!(longest < 1000, "{vip}: a wait of {longest} ms");
}

/// A neighbour of the live connection's server becomes the gateway to it.
#[test]
fn a_new_gateway_to_the_servers_is_taken_by_live_connections() {
    let lab = stage("nat", 1);
    for (name, _) in lab.topology().servers() {
        lab.host(&name).run(FORWARD_QUIETLY).unwrap();
    }
    let director = Director::start(&lab, Config::default()).unwrap();
    for family in [0, 1] {
        let own = |name: &str| server(&lab, name["server".len()..].parse().unwrap(), family);
        let other = |name: &str| if name == "server1" { "server2" } else { "server1" }.to_owned();
        follows(&lab, family, other, |name, host| {
            let line = format!("ip route replace {} via {} dev eth1", own(name), own(host));
            lab.director().run(&line).unwrap();
        });
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

const FORWARD_QUIETLY: &str = "sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
     net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0";

/// The answers leave by another interface, over a router of the servers' network.
#[test]
fn a_new_route_to_the_clients_is_taken_by_live_connections() {
    let lab = stage("nat", 1);
    let back = lab.host("switch");
    lab.host("router").batch(&second_way(back.name())).unwrap();
    back.batch(&["link set p-back master br0".to_owned(), "link set p-back up".to_owned()])
        .unwrap();
    back.run("ethtool -K p-back tx off").unwrap();
    lab.host("router").run("ethtool -K back tx off").unwrap();
    let director = Director::start(&lab, Config::default()).unwrap();
    for family in [0, 1] {
        let [to, via] = [["192.0.2.0/24", "10.0.2.253"], ["2001:db8:1::/64", "fd00:2::fd"]][family];
        // Both ways lead through the router: what counts is what it received on the new leg.
        let router = lab.host("router");
        let received = || -> u64 {
            let line = "cat /sys/class/net/back/statistics/rx_packets";
            router.run(line).unwrap().trim().parse().unwrap()
        };
        let mut load = live(&lab, lab.topology().vips[family], 4, "route");
        std::thread::sleep(Duration::from_secs(1));
        lab.director().run(&format!("ip route replace {to} via {via} dev eth1")).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        let after_a_second = received();
        std::thread::sleep(Duration::from_secs(1));
        let in_the_next = received() - after_a_second;
        let (_, longest) = finish(&mut load);
        assert!(in_the_next >= 8, "{to}: {in_the_next} packets by {via} in a second");
        assert!(longest < 1000, "{to}: a wait of {longest} ms");
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// A leg of the router in the servers' network.
fn second_way(switch: &str) -> Vec<String> {
    [
        format!("link add back type veth peer name p-back netns {switch}"),
        "address add 10.0.2.253/24 dev back".to_owned(),
        "address add fd00:2::fd/64 dev back nodad".to_owned(),
        "link set back up".to_owned(),
    ]
    .into()
}

/// The servers do not say who they are: only what the operator wrote reaches them.
#[test]
fn a_mac_in_the_file_and_a_permanent_neighbour_reach_servers_that_never_answer_for_themselves() {
    let lab = stage("nat", 1);
    let deaf = "table arp deaf {
            chain in { type filter hook input priority 0; arp operation request drop; }
        }
        table ip6 deaf {
            chain in { type filter hook input priority 0; icmpv6 type nd-neighbor-solicit drop; }
        }\n";
    let mut text = Config::default().yaml(lab.topology());
    let mut neighbours = Vec::new();
    for (name, own) in lab.topology().servers() {
        let host = lab.host(&name);
        shell::feed(host.command("nft").args(["-f", "-"]), deaf).unwrap();
        // Nor do they ask, which would tell their own address too.
        for gateway in lab.topology().local {
            let known =
                format!("{gateway} lladdr {} dev eth0", lab.director().mac("eth1").unwrap());
            host.run(&format!("ip neighbour replace {known} nud permanent")).unwrap();
        }
        let mac = host.mac("eth0").unwrap();
        for address in own {
            let bare = format!("{{address: \"{address}\"}}");
            text = text.replace(&bare, &format!("{{address: \"{address}\", mac: \"{mac}\"}}"));
            neighbours.push(format!("neighbour replace {address} lladdr {mac} dev eth1"));
        }
    }
    lab.director().run("ip neighbour flush dev eth1").unwrap();
    let by_file = Director::start_with_text(&lab, &text).unwrap();
    for (family, vip) in lab.topology().vips.into_iter().enumerate() {
        assert_eq!(lab.client().fetch(vip, 9).unwrap().len(), 3);
        for number in 1..=3 {
            let own = server(&lab, number, family);
            let known = lab.director().run(&format!("ip neighbour show {own}")).unwrap();
            assert!(!known.contains("lladdr"), "the kernel resolved it: {known}");
        }
    }
    by_file.stop().unwrap();

    let permanent: Vec<String> =
        neighbours.iter().map(|line| format!("{line} nud permanent")).collect();
    let by_kernel = Director::start(&lab, Config::default()).unwrap();
    assert!(lab.client().ask(lab.topology().vips[0], 1, 32, 64).is_err(), "they are deaf");
    lab.director().batch(&permanent).unwrap();
    for vip in lab.topology().vips {
        assert_eq!(lab.client().fetch(vip, 9).unwrap().len(), 3);
    }
    by_kernel.stop().unwrap();
    for own in lab.topology().servers.as_flattened() {
        let known = lab.director().run(&format!("ip neighbour show {own}")).unwrap();
        assert!(known.contains("PERMANENT"), "{own} is the operator's: {known}");
    }
}

#[test]
fn an_interface_that_is_removed_and_made_again_is_served_again() {
    let lab = stage("nat", 2);
    let director = Director::start(&lab, Config::default()).unwrap();
    for vip in lab.topology().vips {
        let mut load = live(&lab, vip, 4, "removed");
        std::thread::sleep(Duration::from_millis(500));
        lab.unplug_for("director", "eth1", Duration::from_millis(700)).unwrap();
        let (_, longest) = finish(&mut load);
        // TCP doubles its patience each time: 0.2, 0.4, 0.8, 1.6 s.
        assert!((700..3500).contains(&longest), "{vip}: a wait of {longest} ms");
        assert_eq!(lab.client().fetch(vip, 9).unwrap().len(), 3);
    }
    for ledger in director.settled_ledgers().unwrap() {
        assert_eq!(ledger.places[3], 0, "held: {ledger:?}");
    }
    director.stop().unwrap();
}

/// A smaller MTU of the way out is told to the client, as it is; a larger one again is used.
#[test]
fn a_changed_mtu_is_told_and_used() {
    let lab = stage("nat", 1);
    let director = Director::start(&lab, Config::default()).unwrap();
    for (family, vip) in lab.topology().vips.into_iter().enumerate() {
        lab.client().upload(vip).unwrap();
        assert_eq!(learned_mtu(&lab, "client", vip), None);
        lab.director().run("ip link set eth1 mtu 1320").unwrap();
        lab.client().upload(vip).unwrap();
        assert_eq!(learned_mtu(&lab, "client", vip), Some(1320), "{vip}");
        lab.director().run("ip link set eth1 mtu 1500").unwrap();
        let route = ["ip route flush cache", "ip -6 route flush cache"][family];
        lab.host("client").run(route).unwrap();
        let told = director.json().unwrap()["totals"]["answers"]["packet_too_big"].clone();
        lab.client().upload(vip).unwrap();
        assert_eq!(learned_mtu(&lab, "client", vip), None, "{vip}");
        let now = director.json().unwrap()["totals"]["answers"]["packet_too_big"].clone();
        assert_eq!(told, now, "{vip}: told again after it grew");
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}
