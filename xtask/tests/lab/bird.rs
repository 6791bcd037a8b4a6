//! A routing daemon, BIRD as Debian ships it, that announces the box's connected addresses: a VIP
//! that is withdrawn takes its route along.
use std::fs;
use std::time::{Duration, Instant};

use xtask::lab::{Director, Lab, Process};

use crate::load::{Standing, add_sources, now};
use crate::{server, stage};

const DIRECTOR: &str = "198.51.100.1";
const ROUTER: &str = "198.51.100.254";

/// Both speak BGP over the cable between them.
fn bird(lab: &Lab, host: &str, own: (&str, u32), other: (&str, u32), more: &str) -> Process {
    let ((address, number), (neighbour, its_number)) = (own, other);
    let text = format!(
        "router id {address};
protocol device {{ scan time 1; }}
protocol bgp peer {{
  local {address} as {number};
  neighbor {neighbour} as {its_number};
  connect delay time 1;
  error wait time 1, 2;
  {more}
"
    );
    let file = |end: &str| lab.file(&format!("bird-{host}.{end}"));
    fs::write(file("conf"), text).unwrap();
    let namespace = lab.host(host);
    let mut command = namespace.command("bird");
    command.arg("-f").arg("-c").arg(file("conf")).arg("-s").arg(file("ctl"));
    namespace.start(command.arg("-P").arg(file("pid")), &file("log")).unwrap()
}

fn start_birds(lab: &Lab, vip: &str) -> [Process; 2] {
    let announce = format!(
        "ipv4 {{ import none; export where net = {vip}/32; }};\n}}\nprotocol direct {{ ipv4; }}"
    );
    let learn = "ipv4 { import all; export none; };\n}\nprotocol kernel { ipv4 { import none; export all; }; }";
    [
        bird(lab, "director", (DIRECTOR, 65001), (ROUTER, 65002), &announce),
        bird(lab, "router", (ROUTER, 65002), (DIRECTOR, 65001), learn),
    ]
}

/// Waits until the router has the route, or has it not; gives when.
fn until_route(lab: &Lab, vip: &str, there: bool) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(20);
    let router = lab.host("router");
    loop {
        let routes = router.run(&format!("ip route show {vip}")).unwrap();
        if routes.contains(&format!("via {DIRECTOR}")) == there {
            return now();
        }
        assert!(Instant::now() < deadline, "the route is there: {}\n{routes}", !there);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_route_goes_with_the_vip_and_comes_back() {
    let lab = stage("nat", 1);
    add_sources(&lab);
    let vip = lab.topology().vips[0];
    lab.withdraw_vips().unwrap();
    lab.host("router").run(&format!("ip route del 203.0.113.0/24 via {DIRECTOR}")).unwrap();
    let health = |well| {
        for server in ["server1", "server2"] {
            lab.set_well(server, well).unwrap();
        }
        now()
    };
    health(true);
    let interfaces = lab.topology().interfaces.join(", ");
    let text = format!(
        "version: 1
interfaces: [{interfaces}]
vips: [{{address: {vip}/32, interface: eth0, managed: true}}]
checks: {{health: {{type: http, path: /health, port: 80, interval: 100ms, timeout: 100ms, rise: 1, fall: 1}}}}
services:
  - {{name: web, listen: \"{vip}:80/tcp\", forward: nat, scheduler: rr, checks: health, withdraw: true, existing: keep, servers: [{{address: {}}}, {{address: {}}}]}}
",
        server(&lab, 1, 0),
        server(&lab, 2, 0)
    );
    let director = Director::start_with_text(&lab, &text).unwrap();
    let birds = start_birds(&lab, vip);
    until_route(&lab, vip, true);
    director.until("web", &["up"; 2]).unwrap();
    assert_eq!(lab.client().fetch(vip, 10).unwrap().len(), 2);
    let standing = Standing::start(&lab, "tcp", vip, 80, 4);

    let unwell = health(false);
    let gone = until_route(&lab, vip, false);
    assert!(lab.client().fetch(vip, 1).is_err());
    let well = health(true);
    let back = until_route(&lab, vip, true);
    println!("the route goes after {:.2} s, and is back after {:.2}", gone - unwell, back - well);
    // The first server that is well is enough for it.
    director.until("web", &["up"; 2]).unwrap();
    assert_eq!(lab.client().fetch(vip, 10).unwrap().len(), 2);
    standing.answered_since(&[0, 1, 2, 3], back);
    for said in standing.finish().values() {
        assert!(said.iter().all(|(_, server)| *server == said[0].1), "{said:?}");
    }
    for bird in birds {
        bird.stop().unwrap();
    }
    director.stop().unwrap();
}
