//! VIPs that come and go with health: `withdraw`, and checks that pause while the VIP is
//! elsewhere.
use std::time::{Duration, Instant};

use xtask::lab::{Director, Lab, Outage, Process};

use crate::load::{Standing, add_sources};
use crate::{server, stage};

/// Managed, withdrawn when all of its services are below quorum; managed, when any is; the box's
/// own.
const VIPS: [&str; 3] = ["203.0.113.10", "203.0.113.11", "203.0.113.12"];

/// Only for seeing that the monitor listens.
const MARK: &str = "192.0.2.254";

/// What the kernel tells of addresses of the director's eth0, from now on.
struct Monitor(Process);

impl Monitor {
    fn start(lab: &Lab) -> Self {
        let director = lab.director();
        let mut ip = director.command("ip");
        ip.args(["-o", "monitor", "address", "dev", "eth0"]);
        let monitor = Self(director.start(&mut ip, &lab.file("monitor.log")).unwrap());
        while !monitor.0.words().contains(MARK) {
            director.run(&format!("ip address add {MARK}/32 dev eth0")).unwrap();
            director.run(&format!("ip address del {MARK}/32 dev eth0")).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        monitor
    }

    /// `+11` and `-11`: what came and went, by the last octet.
    fn events(&self) -> Vec<String> {
        let words = self.0.words();
        let event = |line: &str| {
            let sign = if line.starts_with("Deleted") { '-' } else { '+' };
            let address = line.split_whitespace().skip_while(|word| *word != "inet").nth(1)?;
            let address = address.split('/').next().filter(|address| *address != MARK)?;
            Some(format!("{sign}{}", address.rsplit('.').next()?))
        };
        words.lines().filter_map(event).collect()
    }

    /// Waits until so many events came, and a little longer; gives them.
    fn after(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.events().len() < count && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(300));
        self.events()
    }
}

/// Services of every VIP: on port 81 by server 1 and on 82 by server 2, both of which say
/// `withdraw`; on port 80 by server 3, which does not.
fn yaml(lab: &Lab) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let [all, any, own] = VIPS;
    let mut text = format!(
        "version: 1
interfaces: [{interfaces}]
stop_grace: 1500ms
vips:
  - {{address: {all}/32, interface: eth0, managed: true}}
  - {{address: {any}/32, interface: eth0, managed: true, withdraw: any}}
  - {{address: {own}/32, interface: eth0}}
checks:
  health: {{type: http, port: 80, path: /health, interval: 100ms, timeout: 100ms, rise: 1, fall: 1}}
services:
"
    );
    for (vip, port, number) in
        VIPS.iter().flat_map(|vip| [(vip, 80, 3), (vip, 81, 1), (vip, 82, 2)])
    {
        let withdraw = if port == 80 { "" } else { "withdraw: true, " };
        let server = server(lab, number, 0);
        text.push_str(&format!(
            "  - {{name: \"{vip}:{port}\", listen: \"{vip}:{port}/tcp\", forward: nat, checks: health, {withdraw}servers: [{{address: \"{server}:80\"}}]}}\n"
        ));
    }
    text
}

/// The last octets of the VIPs that are addresses of the director.
fn there(lab: &Lab) -> String {
    let addresses = lab.director().run("ip -4 -o address show dev eth0").unwrap();
    let there = VIPS.iter().filter(|vip| addresses.contains(&format!("{vip}/32")));
    there.map(|vip| &vip[vip.len() - 2..]).collect::<Vec<_>>().join(" ")
}

fn until_there(lab: &Lab, wanted: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while there(lab) != wanted {
        assert!(Instant::now() < deadline, "{} instead of {wanted}", there(lab));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn make(lab: &Lab, health: &str) {
    for (server, now) in ["server1", "server2", "server3"].into_iter().zip(health.chars()) {
        // It is so already.
        let _ = lab.set_well(server, now == '+');
    }
}

/// Health, the VIPs that are there then, and what came and went by then.
type Row = (&'static str, &'static str, &'static str);

fn walk(lab: &Lab, monitor: &Monitor, rows: &[Row]) {
    for (health, vips, events) in rows {
        make(lab, health);
        let seen = monitor.after(events.split(' ').count()).join(" ");
        assert_eq!((seen.as_str(), there(lab).as_str()), (*events, *vips), "{health}");
    }
}

#[test]
fn managed_vips_are_withdrawn_below_quorum_and_come_back() {
    let lab = stage("nat", 2);
    add_sources(&lab);
    lab.withdraw_vips().unwrap();
    lab.director().run(&format!("ip address add {}/32 dev eth0", VIPS[2])).unwrap();
    make(&lab, "+++");
    let monitor = Monitor::start(&lab);
    let director = Director::start_with_text(&lab, &yaml(&lab)).unwrap();
    director.until("203.0.113.10:80", &["up"]).unwrap();
    let standing = Standing::start(&lab, "tcp", VIPS[0], 80, 3);
    let rows = [
        ("+++", "10 11 12", "+10 +11"),
        ("-++", "10 12", "+10 +11 -11"),
        ("--+", "12", "+10 +11 -11 -10"),
        ("+-+", "10 12", "+10 +11 -11 -10 +10"),
        ("+++", "10 11 12", "+10 +11 -11 -10 +10 +11"),
    ];
    walk(&lab, &monitor, &rows);
    // Routes still led here: who was there goes on, with the VIP and without.
    for said in standing.finish().values() {
        assert!(said.iter().all(|(_, server)| server == "server3"), "{said:?}");
    }
    // Nothing follows from services that do not say `withdraw`.
    walk(&lab, &monitor, &[("++-", "10 11 12", "+10 +11 -11 -10 +10 +11")]);
    director.stop().unwrap();
    assert_eq!(there(&lab), "12");
}

/// What is known of servers outlives a restart: a VIP that is withdrawn does not come for a
/// moment. Nor does it on the way out.
#[test]
fn a_withdrawn_vip_stays_away_over_a_restart_and_at_the_end() {
    let lab = stage("nat", 1);
    lab.withdraw_vips().unwrap();
    make(&lab, "-++");
    let director = Director::start_with_text(&lab, &yaml(&lab)).unwrap();
    director.until("203.0.113.11:81", &["down"]).unwrap();
    director.until("203.0.113.11:82", &["up"]).unwrap();
    until_there(&lab, "10");
    director.stop().unwrap();

    let monitor = Monitor::start(&lab);
    let director = Director::start_with_text(&lab, &yaml(&lab)).unwrap();
    assert_eq!(monitor.after(1), ["+10"]);
    walk(&lab, &monitor, &[("+++", "10 11", "+10 +11"), ("-++", "10", "+10 +11 -11")]);
    director.process().signal("TERM").unwrap();
    assert_eq!(monitor.after(4), ["+10", "+11", "-11", "-10"]);
    make(&lab, "+++");
    director.wait().unwrap();
    assert_eq!(monitor.after(4), ["+10", "+11", "-11", "-10"]);
}

/// The quorum is back while the interface is not: the VIP comes with the interface.
#[test]
fn a_withdrawn_vip_comes_back_with_its_interface() {
    let lab = stage("nat", 1);
    lab.withdraw_vips().unwrap();
    make(&lab, "-++");
    let director = Director::start_with_text(&lab, &yaml(&lab)).unwrap();
    director.until("203.0.113.11:81", &["down"]).unwrap();
    until_there(&lab, "10");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            make(&lab, "+++");
        });
        lab.unplug_for("director", "eth0", Duration::from_millis(2000)).unwrap();
    });
    until_there(&lab, "10 11");
    director.stop().unwrap();
}

/// While the VIP is not here, nobody is asked; when it comes, everybody is.
#[test]
fn checks_pause_while_the_vip_is_elsewhere() {
    let lab = stage("nat", 1);
    let vip = lab.topology().vips[0];
    let interfaces = lab.topology().interfaces.join(", ");
    let text = format!(
        "version: 1
interfaces: [{interfaces}]
checks: {{web: {{type: http, port: 80, path: /who, interval: 200ms, timeout: 200ms, rise: 1, fall: 3}}}}
services:
  - {{name: web, listen: \"{vip}:80/tcp\", forward: nat, checks: web, pause_without_vip: true, servers: [{{address: {}}}, {{address: {}}}]}}
",
        server(&lab, 1, 0),
        server(&lab, 2, 0)
    );
    let director = Director::start_with_text(&lab, &text).unwrap();
    director.until("web", &["up", "up"]).unwrap();
    let address = |action| format!("ip address {action} {vip}/32 dev eth0");
    let probes = || director.json().unwrap()["probes"]["done"].as_u64().unwrap();
    let paused = || {
        let servers = director.service("web").unwrap()["servers"].take();
        servers.as_array().unwrap().iter().all(|server| server["health"]["paused"] == true)
    };

    lab.director().run(&address("del")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !paused() {
        assert!(Instant::now() < deadline, "not paused");
        std::thread::sleep(Duration::from_millis(20));
    }
    // What was under way ends.
    std::thread::sleep(Duration::from_millis(300));
    let before = probes();
    Outage::Refusing.begin(&lab, "server1").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(probes(), before, "asked without the VIP");
    // Health is what it was.
    assert_eq!(director.states("web").unwrap(), ["up", "up"]);

    lab.director().run(&address("add")).unwrap();
    let took = director.until("web", &["down", "up"]).unwrap();
    assert!(!paused() && took < Duration::from_millis(800 + 1500), "{took:?}");
    assert_eq!(lab.client().fetch(vip, 10).unwrap().len(), 1);
    director.stop().unwrap();
}
