//! `scripts/realserver`: what it sets, what it refuses, and that nothing of it stays.
use xtask::failure::Outcome;
use xtask::lab::Lab;
use xtask::shell;

use crate::hops::who_has;
use crate::stage;

/// The script on `server1`, with a state of its own.
fn script(lab: &Lab, words: &[&str]) -> Outcome<String> {
    let mut sh = lab.host("server1").command("sh");
    sh.env("XLVS_REALSERVER_STATE", lab.file("server1.realserver"));
    shell::output(sh.arg(shell::repository().join("scripts/realserver")).args(words))
}

/// Everything that the script may touch.
fn settings(lab: &Lab) -> Vec<String> {
    let commands = [
        "ip -o address",
        "ip -4 route show",
        "ip -6 route show",
        "nft list ruleset",
        "ip -br link show up",
        "sysctl -a --pattern net.ipv4.conf.*(arp_ignore|arp_announce|rp_filter)",
    ];
    commands.iter().map(|command| lab.host("server1").run(command).unwrap()).collect()
}

#[test]
fn nobody_answers_for_the_vip_and_stop_restores_everything() {
    let lab = stage("dr", 1);
    let [v4, v6] = lab.topology().vips;
    let status = script(&lab, &["status"]).unwrap();
    assert!(status.contains(&format!("{v4} on lo")) && status.contains(&format!("{v6} on lo")));
    script(&lab, &["stop"]).unwrap();
    let before = settings(&lab);
    let server = lab.topology().servers[0];
    let director = lab.director().mac("eth0").unwrap();
    let mac = lab.host("server1").mac("eth0").unwrap();
    for method in ["sysctl", "nft"] {
        let slashed = [format!("{v4}/32"), format!("{v6}/128")];
        let words = ["start", "--method", method, &slashed[0], &slashed[1]];
        script(&lab, &words).unwrap();
        assert!(script(&lab, &words).unwrap_err().to_string().contains("started already"));
        for vip in [v4, v6] {
            assert_eq!(who_has(&lab, vip), [director.as_str()], "{vip} by {method}");
        }
        // As the server's own address is answered for, the answer would have been seen.
        for own in server {
            assert_eq!(who_has(&lab, own), [mac.as_str()], "{own} by {method}");
        }
        script(&lab, &["stop"]).unwrap();
        assert_eq!(settings(&lab), before, "after {method}");
        assert!(script(&lab, &["status"]).is_err());
    }
}

/// A server without a default route, as in a closed network.
#[test]
fn without_a_default_route_the_one_to_the_vip_tells() {
    let lab = stage("dr", 1);
    let vip = lab.topology().vips[0];
    let host = lab.host("server1");
    script(&lab, &["stop"]).unwrap();
    host.run("ip -4 route flush default").unwrap();
    host.run("ip -6 route flush default").unwrap();
    script(&lab, &["start", vip]).unwrap();
    let status = script(&lab, &["status"]).unwrap();
    assert!(status.contains("net.ipv4.conf.eth0.arp_ignore = 1"), "{status}");
    script(&lab, &["stop"]).unwrap();
    let refusal = script(&lab, &["start", "198.51.100.10"]).unwrap_err().to_string();
    assert!(refusal.contains("no route to tell the interface by: give --interface"), "{refusal}");
}

#[test]
fn what_it_refuses_it_explains_and_leaves_no_trace() {
    let lab = stage("nat", 1);
    let before = settings(&lab);
    let host = lab.host("server1");
    let has = |probe: &str| host.run(probe).is_ok();
    for (words, reason) in [
        ("--mode dr 203.0.113.10/24", "every address of that network"),
        ("--mode dr 2001:db8:f::10/64", "every address of that network"),
        ("--mode dr web.example", "not an IP address"),
        ("--mode dr 203.0.113.999", "cannot add"),
        ("--interface eth7 203.0.113.10", "no interface eth7"),
        ("--method arptables 203.0.113.10", "apt-get install arptables"),
        ("--rp-filter 1 203.0.113.10", "drops what comes out of the tunnel"),
        ("--tunnel gre 203.0.113.10", "--tunnel is for --mode tun"),
        ("--mode tun --tunnel vxlan 203.0.113.10", "see the head of this script"),
        ("--mode tun --tunnel gue:six 203.0.113.10", "a port is a number"),
        ("--mode tun 203.0.113.10", "module ipip is neither built in nor loadable"),
        ("--mode tun --tunnel gre 203.0.113.10", "module ip_gre is neither built in nor loadable"),
        ("--mode tun --tunnel gue 203.0.113.10", "module fou is neither built in nor loadable"),
    ] {
        // Where it would work, there is nothing to refuse.
        let works = match reason.split_whitespace().nth(1) {
            Some("install") => has("arptables --version"),
            Some("ipip") => has("ip link show tunl0"),
            Some("ip_gre") => {
                has("ip link add probe type gre dev eth0") && has("ip link del probe")
            }
            Some("fou") => has("ip fou show"),
            _ => false,
        };
        if works {
            continue;
        }
        let words: Vec<&str> = ["start"].into_iter().chain(words.split(' ')).collect();
        let refusal = script(&lab, &words).expect_err(reason).to_string();
        assert!(refusal.contains(reason), "{words:?}: {refusal}");
        assert_eq!(settings(&lab), before, "{words:?}");
        assert!(!lab.file("server1.realserver").exists(), "{words:?}");
    }
}

/// A bridge by the name of the tunnel device stands in for it: what the script sets around
/// the device is the same.
#[test]
fn tun_sets_the_device_the_filter_and_the_segment_size_and_restores_them() {
    let lab = stage("nat", 1);
    let host = lab.host("server1");
    if host.run("ip link show tunl0").is_err() {
        host.run("ip link add tunl0 type bridge").unwrap();
    }
    host.run("sysctl -q -w net.ipv4.conf.all.rp_filter=1").unwrap();
    let before = settings(&lab);
    let value = |key: &str| host.run(&format!("sysctl -n net.ipv4.conf.{key}")).unwrap();

    script(&lab, &["start", "--mode", "tun", "203.0.113.10"]).unwrap();
    assert!(host.run("ip -o address show dev tunl0 up").unwrap().contains("203.0.113.10/32"));
    assert_eq!([value("all.rp_filter"), value("tunl0.rp_filter")], ["1\n", "2\n"]);
    assert!(host.run("ip -4 route show default").unwrap().contains("advmss 1440"));
    script(&lab, &["stop"]).unwrap();
    assert_eq!(settings(&lab), before);

    let words = ["start", "--mode", "tun", "--rp-filter", "0", "--advmss", "1300", "203.0.113.10"];
    script(&lab, &words).unwrap();
    assert_eq!([value("all.rp_filter"), value("tunl0.rp_filter")], ["0\n", "0\n"]);
    assert_eq!(value("eth0.rp_filter"), "1\n", "strict before by `all`, strict now by its own");
    assert!(host.run("ip -4 route show default").unwrap().contains("advmss 1300"));
    script(&lab, &["stop"]).unwrap();
    assert_eq!(settings(&lab), before);
}
