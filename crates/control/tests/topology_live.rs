//! What the kernel changes is in the topology within a second: links, addresses, routes
//! and neighbours of real namespaces. Needs root.

mod topology_lab;
#[path = "topology_lab/watch.rs"]
mod watch;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use control::topology::{Limits, Request, Statics};
use dataplane::topology::{HopId, Mac, NextHop, Route, RouteKind, Topology};
use topology_lab::in_lab;
use watch::Watch;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn hop(topology: &Topology, address: &str) -> Option<(HopId, Option<Mac>)> {
    let id = *topology.hop_of.get(&(0, ip(address)))?;
    Some((id, topology.hops[usize::from(id)].mac))
}

fn route<'a>(topology: &'a Topology, address: &str) -> Option<&'a Route> {
    topology.route(ip(address))
}

fn via(topology: &Topology, address: &str) -> Vec<NextHop> {
    match route(topology, address).map(|route| &route.kind) {
        Some(RouteKind::Via(hops)) => hops.clone(),
        _ => Vec::new(),
    }
}

fn gateways(topology: &Topology, address: &str) -> Vec<Option<IpAddr>> {
    via(topology, address).iter().map(|hop| hop.gateway).collect()
}

#[test]
fn neighbours_keep_their_hop() {
    in_lab(|lab| {
        lab.near("ip addr add 10.0.1.1/24 dev eth0");
        lab.near("ip -6 addr add fd00:1::1/64 dev eth0 nodad");
        for address in ["10.0.1.9", "fd00:1::9"] {
            let watch = Watch::start(&["eth0"]);
            let set = |verb: &str, rest: &str| {
                lab.near(&format!("ip neigh {verb} {address} dev eth0 {rest}"));
            };
            set("add", "lladdr 02:00:00:00:00:09 nud reachable");
            let first = watch
                .until("neighbour added", |t| hop(t, address).is_some_and(|h| h.1 == Some(mac(9))));
            let id = hop(&first, address).unwrap().0;
            let is = |t: &Topology, m| hop(t, address) == Some((id, m));
            set("replace", "lladdr 02:00:00:00:00:0a nud stale");
            let t = watch.until("neighbour's MAC changed", |t| is(t, Some(mac(10))));
            assert_eq!(t.route_generation, first.route_generation);
            set("del", "");
            watch.until("neighbour deleted", |t| is(t, None));
            set("add", "lladdr 02:00:00:00:00:0b nud permanent");
            watch.until("neighbour back", |t| is(t, Some(mac(11))));
            set("replace", "lladdr 01:00:5e:00:00:01 nud permanent");
            watch.until("neighbour with a multicast MAC", |t| is(t, None));
            watch.stop();
            let left = lab.near(&format!("ip neigh show {address}"));
            assert!(left.contains("PERMANENT"), "left alone: {left}");
        }
    });
}

#[test]
fn routes_are_followed() {
    in_lab(|lab| {
        lab.near("ip addr add 10.0.1.1/24 dev eth0; ip addr add 10.0.1.7/24 dev eth0");
        lab.near("ip -6 addr add fd00:1::1/64 dev eth0 nodad");
        let watch = Watch::start(&["eth0"]);
        let t = watch.until("the link's own route", |t| via(t, "10.0.1.9").len() == 1);
        assert_eq!(route(&t, "10.0.1.9").unwrap().source, Some(ip("10.0.1.1")));
        assert_eq!(route(&t, "10.0.1.1").unwrap().kind, RouteKind::Local);
        assert_eq!(route(&t, "10.0.1.255").unwrap().kind, RouteKind::Local);

        let mut generation = t.route_generation;
        let mut step = |command: &str, expected: &mut dyn FnMut(&Topology) -> bool| {
            lab.near(command);
            let t = watch.until(command, |t| expected(t));
            assert_ne!(t.route_generation, generation, "{command}");
            generation = t.route_generation;
        };
        let to = "10.7.1.1";
        let gw = |t: &Topology, all: &[&str]| {
            gateways(t, to) == all.iter().map(|g| Some(ip(g))).collect::<Vec<_>>()
        };
        step("ip route add 10.7.0.0/16 via 10.0.1.2", &mut |t| gw(t, &["10.0.1.2"]));
        step("ip route replace 10.7.0.0/16 via 10.0.1.3", &mut |t| gw(t, &["10.0.1.3"]));
        step(
            "ip route add 10.7.0.0/16 via 10.0.1.4 metric 5; ip route change 10.7.0.0/16 via 10.0.1.5",
            &mut |t| gw(t, &["10.0.1.5"]),
        );
        step("ip route del 10.7.0.0/16 via 10.0.1.5", &mut |t| gw(t, &["10.0.1.4"]));
        step("ip route prepend 10.7.0.0/16 via 10.0.1.6 metric 5", &mut |t| gw(t, &["10.0.1.6"]));
        step("ip route del 10.7.0.0/16 via 10.0.1.6 metric 5", &mut |t| gw(t, &["10.0.1.4"]));
        step("ip route add 10.7.1.0/24 via 10.0.1.2 mtu 1400 src 10.0.1.7", &mut |t| {
            let known = route(t, to).unwrap();
            (known.mtu, known.source) == (Some(1400), Some(ip("10.0.1.7")))
        });
        step(
            "ip route replace 10.7.1.0/24 nexthop via 10.0.1.2 weight 3 nexthop via 10.0.1.3",
            &mut |t| gw(t, &["10.0.1.2", "10.0.1.3"]) && via(t, to)[0].weight == 3,
        );
        step("ip route replace 10.7.1.0/24 via inet6 fe80::2 dev eth0", &mut |t| {
            gw(t, &["fe80::2"])
        });
        for (kind, seen) in [
            ("blackhole", RouteKind::Blackhole),
            ("unreachable", RouteKind::Unreachable),
            ("prohibit", RouteKind::Prohibit),
            ("throw", RouteKind::Unreachable),
        ] {
            step(&format!("ip route replace {kind} 10.7.1.1/32"), &mut |t| {
                t.routes_v4.lookup(ip(to)).unwrap().kind == seen
            });
            step(&format!("ip route del {kind} 10.7.1.1/32"), &mut |t| gw(t, &["fe80::2"]));
        }
        step(
            "ip nexthop add id 9 via 10.0.1.8 dev eth0; ip route add 10.7.1.1/32 nhid 9",
            &mut |t| gw(t, &["10.0.1.8"]),
        );
        step("ip nexthop replace id 9 via 10.0.1.9 dev eth0", &mut |t| gw(t, &["10.0.1.9"]));
        step(
            "sysctl -qw net.ipv4.nexthop_compat_mode=0; ip route add 10.7.1.2/32 nhid 9",
            &mut |t| via(t, "10.7.1.2").first().is_some_and(|hop| hop.port.is_none()),
        );
        lab.near("sysctl -qw net.ipv4.nexthop_compat_mode=1");
        step("ip nexthop del id 9", &mut |t| gw(t, &["fe80::2"]));

        let to = "fd00:7::1";
        let gw = |t: &Topology, all: &[&str]| {
            gateways(t, to) == all.iter().map(|g| Some(ip(g))).collect::<Vec<_>>()
        };
        step("ip -6 route add fd00:7::/32 via fd00:1::2", &mut |t| gw(t, &["fd00:1::2"]));
        step("ip -6 route append fd00:7::/32 via fd00:1::3", &mut |t| {
            gw(t, &["fd00:1::2", "fd00:1::3"])
        });
        step("ip -6 route del fd00:7::/32 via fd00:1::2", &mut |t| gw(t, &["fd00:1::3"]));
        step("ip -6 route del fd00:7::/32", &mut |t| route(t, to).is_none());
        watch.stop();
    });
}

#[test]
fn links_come_and_go() {
    in_lab(|lab| {
        let addresses =
            "ip addr add 10.0.1.1/24 dev eth0; ip -6 addr add fd00:1::1/64 dev eth0 nodad;
             ip route add 10.7.0.0/16 via 10.0.1.2; ip -6 route add fd00:7::/32 via fd00:1::2";
        lab.near(addresses);
        let watch = Watch::start(&["eth1", "eth0"]);
        let gone = |t: &Topology| route(t, "10.7.1.1").is_none() && route(t, "fd00:7::1").is_none();
        let there = |t: &Topology| {
            t.interfaces[1].up && via(t, "10.7.1.1").len() == 1 && via(t, "fd00:7::1").len() == 1
        };
        let t = watch.until("start", there);
        assert_eq!((t.interfaces[0].index, via(&t, "10.7.1.1")[0].port), (0, Some(1)));
        let index = t.interfaces[1].index;

        lab.near("ip link set eth0 mtu 1400");
        watch.until("MTU", |t| t.interfaces[1].mtu == 1400 && t.hops.iter().all(|h| h.mtu == 1400));
        lab.near("ip link set eth0 address 02:00:00:00:00:77");
        watch.until("our MAC", |t| t.interfaces[1].mac == mac(0x77));
        lab.far("ip link set far0 down");
        // The kernel itself gathers such events for up to a second (linkwatch).
        let t = watch.within(Duration::from_secs(3), "carrier lost", |t| !t.interfaces[1].up);
        assert_eq!(via(&t, "10.7.1.1").len(), 1, "no other way is taken without carrier");
        lab.far("ip link set far0 up");
        watch.until("carrier back", there);
        lab.near("ip link set eth0 down");
        watch.until("down", |t| !t.interfaces[1].up && gone(t));
        assert!(lab.near("ip -6 addr show dev eth0").is_empty());
        lab.near("ip addr flush dev eth0; ip link set eth0 up");
        lab.near(addresses);
        watch.until("up", there);
        lab.near("ip link del eth0");
        watch.until("deleted", |t| t.interfaces[1].index == 0 && gone(t) && t.local.len() == 2);
        lab.pair("eth0", "far0");
        lab.near(addresses);
        let t = watch.until("created again", there);
        assert_ne!(t.interfaces[1].index, index);
        lab.pair("eth9", "far9");
        lab.near("ip addr add 10.0.9.1/24 dev eth9");
        watch.until("an interface not served", |t| {
            via(t, "10.0.9.2").first().is_some_and(|h| h.port.is_none())
        });
        lab.near("ip link set eth9 down; ip link set eth9 name eth1; ip link set eth1 up");
        watch.until("named as one that is", |t| {
            t.interfaces[0].up && via(t, "10.0.9.2").first().is_some_and(|h| h.port == Some(0))
        });
        watch.stop();
    });
}

#[test]
fn addresses_are_local() {
    in_lab(|lab| {
        let watch = Watch::start(&["eth0"]);
        for (address, length) in [("10.0.0.1", 24), ("203.0.113.10", 32), ("fd00:1::1", 128)] {
            lab.near(&format!("ip addr add {address}/{length} dev lo"));
            watch.until("address added", |t| {
                t.local.contains(&ip(address))
                    && route(t, address).is_some_and(|r| r.kind == RouteKind::Local)
            });
            lab.near(&format!("ip addr del {address}/{length} dev lo"));
            watch.until("address deleted", |t| {
                !t.local.contains(&ip(address)) && route(t, address).is_none()
            });
        }
        watch.stop();
    });
}

#[test]
fn servers_and_gateways_stay_resolved() {
    in_lab(|lab| {
        lab.near("ip addr add 10.0.1.1/24 dev eth0; ip -6 addr add fd00:1::1/64 dev eth0 nodad");
        lab.far(
            "ip link set far0 address 02:00:00:00:00:02; ip addr add 10.0.1.2/24 dev far0;
             ip addr add 10.0.1.3/24 dev far0; ip -6 addr add fd00:1::2/64 dev far0 nodad;
             ip addr add 10.0.1.4/24 dev far0",
        );
        lab.near("ip neigh add 10.0.1.5 lladdr 02:00:00:00:00:05 dev eth0 nud permanent");
        lab.near("ip route add 10.7.0.0/16 via 10.0.1.3");
        let watch = Watch::start(&["eth0"]);
        let servers = ["10.0.1.2", "fd00:1::2", "10.0.1.5"].map(ip).to_vec();
        watch.ask(Request::Servers { statics: Statics::new(), servers, vips: vec![] });
        let all = ["10.0.1.2", "10.0.1.3", "fd00:1::2"];
        let at = |t: &Topology, last| {
            all.iter().all(|a| hop(t, a).is_some_and(|h| h.1 == Some(mac(last))))
        };
        watch.within(Duration::from_secs(3), "resolved unasked", |t| at(t, 2));
        watch.ask(Request::Resolve(0, ip("10.0.1.4")));
        watch.until("asked for", |t| hop(t, "10.0.1.4").is_some_and(|h| h.1 == Some(mac(2))));
        let shown = lab.near("ip neigh show proto 88");
        assert_eq!(shown.matches("managed").count(), 3, "{shown}");

        lab.near("ip neigh flush dev eth0; ip neigh del 10.0.1.2 dev eth0 2>/dev/null || true");
        watch.within(Duration::from_secs(3), "after a flush", |t| at(t, 2));
        lab.far("ip link set far0 address 02:00:00:00:00:22");
        // An ARP entry takes no new MAC within a second of the last one (locktime).
        std::thread::sleep(Duration::from_millis(1100));
        for from in all {
            let to = if from.contains(':') { "fd00:1::1" } else { "10.0.1.1" };
            lab.far(&format!("ip neigh flush dev far0; ping -c1 -W1 -I {from} {to} || true"));
        }
        watch.within(Duration::from_secs(12), "the server has another MAC", |t| at(t, 0x22));

        watch.ask(Request::Servers {
            statics: Statics::new(),
            servers: vec![ip("10.0.1.2")],
            vips: vec![],
        });
        std::thread::sleep(Duration::from_millis(200));
        assert!(lab.near("ip neigh show fd00:1::2 proto 88").is_empty());
        watch.stop();
        assert_eq!(lab.near("ip neigh show proto 88"), "");
        assert!(lab.near("ip neigh show 10.0.1.5").contains("PERMANENT"));
    });
}

#[test]
fn a_server_that_has_the_vip_is_probed_without_a_sender() {
    in_lab(|lab| {
        lab.near("ip addr add 203.0.113.10/32 dev eth0; ip route add 10.0.1.0/24 dev eth0");
        lab.far(
            "ip link set far0 address 02:00:00:00:00:02; ip addr add 10.0.1.2/24 dev far0;
             ip addr add 203.0.113.10/32 dev lo;
             for c in all far0; do
               echo 1 >/proc/sys/net/ipv4/conf/$c/arp_ignore;
               echo 2 >/proc/sys/net/ipv4/conf/$c/arp_announce; done",
        );
        let watch = Watch::start(&["eth0"]);
        let seen = |t: &Topology| hop(t, "10.0.1.2").is_some_and(|h| h.1 == Some(mac(2)));
        let ask = |vips| {
            watch.ask(Request::Servers {
                statics: Statics::new(),
                servers: vec![ip("10.0.1.2")],
                vips,
            })
        };
        ask(vec![]);
        std::thread::sleep(Duration::from_millis(1500));
        watch.until("the kernel alone fails", |t| !seen(t));
        ask(vec![ip("203.0.113.10")]);
        watch.within(Duration::from_secs(3), "probed from 0.0.0.0", seen);
        watch.stop();
    });
}

#[test]
fn nothing_is_lost_when_the_kernel_is_faster() {
    in_lab(|lab| {
        lab.near("ip addr add 10.0.0.1/16 dev eth0");
        let held = Arc::new(AtomicBool::new(false));
        let hold = held.clone();
        let slow = move |_: &Topology| {
            while hold.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        // Few neighbours: the kernel's table of them is one for all namespaces.
        let limits = Limits { routes: 6000, neighbours: 4 };
        let watch = Watch::with(&["eth0"], limits, slow);
        held.store(true, Ordering::Relaxed);
        lab.near("ip route add 10.9.0.0/16 via 10.0.0.2; sleep 0.1");
        lab.near(
            "for i in $(seq 0 29999); do a=0.$((i%10+2));
               echo \"route add 10.$((100+i/10000)).$((i%10000/200)).$((i%200))/32 via 10.0.$a\"; done | ip -batch -",
        );
        held.store(false, Ordering::Relaxed);
        let refused = || watch.counters.routes_refused.load(Ordering::Relaxed);
        watch.within(Duration::from_secs(6), "all routes within the limit", |t| {
            t.routes_v4.len() >= 6000 && (24_000..24_010).contains(&refused())
        });
        assert!(watch.counters.neighbours_refused.load(Ordering::Relaxed) > 0);
        assert!(watch.counters.overruns.load(Ordering::Relaxed) > 0);
        lab.near("ip route flush root 10.100.0.0/14");
        watch.within(Duration::from_secs(2), "back within the limits", |t| t.routes_v4.len() < 20);
        assert_eq!(refused(), 0);
        watch.stop();
        assert_eq!(lab.near("ip neigh show proto 88"), "");
    });
}
