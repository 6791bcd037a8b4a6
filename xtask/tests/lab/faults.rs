//! What goes wrong around the director: it says so, recovers, and harms nothing else.
use std::fs;
use std::time::Duration;

use xtask::lab::{Config, Director, Lab, Process};

use crate::live::{finish, live};
use crate::{server, stage};

/// What an xlvs could leave behind on its host.
fn host_state(lab: &Lab) -> [String; 6] {
    let lines = [
        "ip -o link show",
        "ip -o address show",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip -6 rule",
    ];
    lines.map(|line| {
        let text = lab.director().run(line).unwrap();
        // The kernel shows a tentative state and ages for a while; neither is left behind.
        text.lines()
            .map(|one| one.split(" expires ").next().unwrap_or(one).trim_end())
            .fold(String::new(), |all, one| all + one + "\n")
    })
}

#[test]
fn killed_under_traffic_it_leaves_nothing_and_starts_again() {
    let lab = stage("nat", 2);
    let before = host_state(&lab);
    let vip = lab.topology().vips[0];
    let director = Director::start(&lab, Config::default()).unwrap();
    let mut load = live(&lab, vip, 60, "killed");
    lab.client().download(vip).unwrap();
    director.kill().unwrap();
    load.signal("TERM").unwrap();
    load.wait(Duration::from_secs(5)).unwrap();
    assert_eq!(host_state(&lab), before);
    let director = Director::start(&lab, Config::default()).unwrap();
    lab.client().fetch(vip, 30).unwrap();
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
    assert_eq!(host_state(&lab), before);
}

#[test]
fn a_second_one_on_the_same_interfaces_is_refused_and_the_first_goes_on() {
    let lab = stage("nat", 1);
    let vip = lab.topology().vips[0];
    let first = Director::start(&lab, Config::default()).unwrap();
    let mut load = live(&lab, vip, 3, "first");
    let Err(refusal) = first.start_another() else { panic!("a second one started") };
    let refusal = refusal.to_string();
    assert!(refusal.contains("xlvs ended") && refusal.contains("eth0"), "{refusal}");
    let (_, longest) = finish(&mut load);
    assert!(longest < 1000, "the first one stopped for {longest} ms");
    lab.client().fetch(vip, 30).unwrap();
    first.stop().unwrap();
}

#[test]
fn a_changed_server_mac_reaches_live_connections_within_a_second() {
    for (mode, interface) in [("nat", "eth1"), ("dr", "eth0")] {
        let lab = stage(mode, 1);
        let director = Director::start(&lab, Config::default()).unwrap();
        for (family, vip) in lab.topology().vips.into_iter().enumerate() {
            let mut load = live(&lab, vip, 3, mode);
            std::thread::sleep(Duration::from_secs(1));
            for number in 1..=3 {
                let mac = format!("02:00:00:00:0{family}:0{number}");
                let host = lab.host(&format!("server{number}"));
                host.run(&format!("ip link set eth0 address {mac}")).unwrap();
                let own = server(&lab, number, family);
                let learned = format!("ip neighbour replace {own} lladdr {mac} dev {interface}");
                lab.director().run(&learned).unwrap();
            }
            let (_, longest) = finish(&mut load);
            // TCP asks again after 200 ms, then 400: within a second plus one of those.
            assert!(longest < 1500, "{mode} {vip}: {longest} ms");
        }
        director.stop().unwrap();
    }
}

#[test]
fn an_unplugged_server_harms_no_connection_of_the_others() {
    let lab = stage("nat", 2);
    let director = Director::start(&lab, Config::default()).unwrap();
    let vip = lab.topology().vips[0];
    let mut loads: Vec<Process> =
        (0..3).map(|number| live(&lab, vip, 4, &format!("load{number}"))).collect();
    std::thread::sleep(Duration::from_secs(1));
    lab.host("switch").run("ip link set p-server3 down").unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    lab.host("switch").run("ip link set p-server3 up").unwrap();
    let results: Vec<(String, u64)> = loads.iter_mut().map(finish).collect();
    for (name, longest) in &results {
        assert!(name == "server3" || *longest < 500, "{results:?}");
    }
    assert!(results.iter().any(|(name, longest)| name == "server3" && *longest > 500));
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn an_interface_that_goes_down_and_up_is_served_again() {
    let lab = stage("nat", 1);
    let director = Director::start(&lab, Config::default()).unwrap();
    let vip = lab.topology().vips[0];
    lab.client().fetch(vip, 30).unwrap();
    for interface in ["eth1", "eth0"] {
        lab.director().run(&format!("ip link set {interface} down")).unwrap();
        lab.director().run(&format!("ip link set {interface} up")).unwrap();
        if interface == "eth0" {
            // The kernel forgets the routes of an interface that goes down.
            lab.director().run("ip route add default via 198.51.100.254").unwrap();
        }
        std::thread::sleep(Duration::from_secs(1));
        lab.client().fetch(vip, 30).unwrap();
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

#[test]
fn an_idle_director_takes_under_two_percent_of_a_core() {
    let lab = stage("nat", 2);
    let director = Director::start(&lab, Config::default()).unwrap();
    lab.client().fetch(lab.topology().vips[0], 30).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let (before, seconds) = (cpu_ticks(director.process().pid()), 5);
    std::thread::sleep(Duration::from_secs(seconds));
    let ticks = cpu_ticks(director.process().pid()) - before;
    // USER_HZ is 100 on every Linux: ticks per second are percent.
    assert!(ticks < 2 * seconds, "{ticks} ticks of 10 ms in {seconds} s");
    director.stop().unwrap();
}

/// Fields 14 and 15 of /proc/PID/stat (proc(5)): time in user space and in the kernel, all
/// threads, in ticks of 10 ms.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
