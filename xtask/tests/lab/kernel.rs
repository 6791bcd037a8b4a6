//! What stays with the kernel while NAT is under load, and nothing of it through the VIP.
use std::process::Command;
use std::time::{Duration, Instant};

use xtask::failure::Outcome;
use xtask::lab::{Config, Director, Lab, Page, Process, ask_from, fetch_from};
use xtask::shell;

use crate::{VISITOR, server, stage};

const DIRECTOR: [&str; 2] = ["198.51.100.1", "2001:db8:2::1"];

/// Does something in a NAT lab while a client keeps fetching through both VIPs, none of
/// whose requests may fail meanwhile.
fn under_load(check: impl FnOnce(&Lab)) {
    let lab = stage("nat", 2);
    let director = Director::start(&lab, Config::default()).unwrap();
    let mut load: Vec<Process> = lab.topology().vips.map(|vip| fetch_for_ever(&lab, vip)).into();
    for process in &mut load {
        more_pages(process);
    }
    check(&lab);
    for process in &mut load {
        more_pages(process);
        process.signal("TERM").unwrap();
        process.wait(Duration::from_secs(5)).unwrap();
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// Waits until 50 more pages have come than are there now: the load goes on.
fn more_pages(load: &mut Process) {
    let pages =
        |load: &Process| load.words().lines().filter(|line| line.starts_with("server")).count();
    let (before, deadline) = (pages(load), Instant::now() + Duration::from_secs(10));
    while pages(load) < before + 50 {
        assert!(load.ended().unwrap().is_none(), "the load failed: {}", load.words());
        assert!(Instant::now() < deadline, "{} pages, and no more", pages(load));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// From an address of its own: with NAT, as in LVS, a server cannot tell a client's port that
/// came through the VIP from the same port that came past it, and its answers take the way of the
/// connection that is known.
fn fetch_for_ever(lab: &Lab, vip: &str) -> Process {
    let host = lab.host("client");
    let (source, bits, url) = match vip.contains(':') {
        true => ("2001:db8:1::99", "64 nodad", format!("http://[{vip}]")),
        false => ("192.0.2.99", "24", format!("http://{vip}")),
    };
    host.run(&format!("ip addr add {source}/{bits} dev eth0")).unwrap();
    let mut curl = host.command("curl");
    // --no-buffer: the pages are counted while it runs.
    curl.args(["-sS", "--fail", "--fail-early", "--no-buffer", "--max-time", "5"]);
    curl.args(["--interface", source]);
    curl.args(["-H", "Connection: close", &format!("{url}/who?[1-1000000]")]);
    host.start(&mut curl, &lab.file(&format!("load-{}.log", vip.replace(':', "-")))).unwrap()
}

fn only(name: &str, times: usize) -> Page {
    Page::from([(name.to_owned(), times)])
}

#[test]
fn the_director_fetches_from_a_servers_own_address() {
    under_load(|lab| {
        for family in [0, 1] {
            let pages = fetch_from(&lab.director(), server(lab, 1, family), 20).unwrap();
            assert_eq!(pages, only("server1", 20));
        }
    });
}

#[test]
fn a_client_in_another_network_reaches_a_servers_own_address() {
    under_load(|lab| {
        for family in [0, 1] {
            for client in [lab.client(), lab.visitor()] {
                let pages = client.fetch(server(lab, 2, family), 20).unwrap();
                assert_eq!(pages, only("server2", 20));
            }
        }
    });
}

#[test]
fn a_server_queries_dns_and_ntp_from_its_service_ports() {
    under_load(|lab| {
        for visitor in VISITOR {
            for port in [53, 123] {
                let answers = from_service_port(lab, visitor, port).unwrap();
                assert_eq!(answers, only("visitor", 5), "{visitor} port {port}");
            }
        }
    });
}

#[test]
fn a_server_reaches_outside_by_the_boxs_own_masquerading() {
    under_load(|lab| {
        let rules = "table inet outside {
            chain after {
                type nat hook postrouting priority srcnat
                oifname \"eth0\" ip saddr 10.0.2.0/24 masquerade
                oifname \"eth0\" ip6 saddr fd00:2::/64 masquerade
            }
        }\n";
        shell::feed(lab.director().command("nft").args(["-f", "-"]), rules).unwrap();
        for family in [0, 1] {
            let pages = fetch_from(&lab.host("server3"), VISITOR[family], 20).unwrap();
            assert_eq!(pages, only("visitor", 20));
            let answers = from_service_port(lab, VISITOR[family], 53).unwrap();
            assert_eq!(answers, only("visitor", 5));
        }
        let log = std::fs::read_to_string(lab.file("visitor").join("access.log")).unwrap();
        for line in log.lines() {
            let source = line.split_whitespace().next().unwrap_or_default();
            assert!(DIRECTOR.contains(&source), "not masqueraded: {line}");
        }
    });
}

fn from_service_port(lab: &Lab, to: &str, port: u16) -> Outcome<Page> {
    ask_from(&lab.host("server1"), lab, &[to, &port.to_string()], [5, 32, 64], Some(port))
}

#[test]
fn a_large_ping_to_the_vip_is_answered() {
    under_load(|lab| {
        for vip in lab.topology().vips {
            lab.host("client").run(&format!("ping -c 5 -i 0.2 -W 2 -s 3000 {vip}")).unwrap();
        }
    });
}

#[test]
fn tcp_to_the_directors_own_address_stays_with_the_kernel() {
    under_load(|lab| {
        let host = lab.director();
        let mut listen = host.command("socat");
        listen.args(["TCP6-LISTEN:22,fork,reuseaddr,ipv6only=0", "EXEC:echo lab director"]);
        host.start(&mut listen, &lab.file("listen.log")).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        for address in ["TCP4:198.51.100.1:22", "TCP6:[2001:db8:2::1]:22"] {
            let mut connect: Command = lab.host("client").command("socat");
            let banner = shell::output(connect.args(["-u", address, "-"])).unwrap();
            assert_eq!(banner, "lab director\n", "{address}");
        }
    });
}

#[test]
fn a_udp_probe_gets_its_port_unreachable() {
    under_load(|lab| {
        for address in lab.topology().vips.iter().chain(&DIRECTOR) {
            let target = [*address, "9999"];
            let answers = ask_from(&lab.host("client"), lab, &target, [3, 32, 64], None).unwrap();
            assert_eq!(answers, only("refused", 3), "{address}");
        }
    });
}
