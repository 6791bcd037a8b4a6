//! dh in front of two transparent caches that take whatever clients ask for: a mark for all
//! destinations, of what comes in by one interface.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xtask::lab::{Director, Lab, Namespace};
use xtask::shell;

use crate::front::place;
use crate::{FAMILIES, server, stage};

/// How many destinations are asked for.
const COUNT: u16 = 64;
/// Their networks, which are routed through the director.
const NETWORKS: [&str; 2] = ["198.19.0.0/24", "2001:db8:99::/64"];

fn destination(family: usize, number: u16) -> IpAddr {
    match family {
        0 => Ipv4Addr::new(198, 19, 0, number as u8).into(),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, number).into(),
    }
}

/// The cache of a destination by the kernel's rule (`linux/hash.h`, `ip_vs_dh.c`): the slot is the
/// top octet of its 32 bits times 0x61C88647, of IPv6 its four words xored; slots belong to the
/// servers in turns, here in the file's order.
fn cache(destination: IpAddr) -> String {
    let bits = match destination {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (0..4).fold(0, |folded, word| folded ^ (bits >> (32 * word)) as u32)
        }
    };
    let slot = bits.wrapping_mul(0x61c8_8647) >> 24;
    format!("server{}", slot % 2 + 1)
}

fn yaml(lab: &Lab) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let service = |name: &str, family: usize| {
        let own = [1, 2].map(|number| format!("{{address: \"{}\"}}", server(lab, number, family)));
        format!(
            "  - {{name: {name}, mark: 10, family: {name}, forward: dr, scheduler: dh, servers: [{}]}}\n",
            own.join(", ")
        )
    };
    format!(
        "version: 1\ninterfaces: [{interfaces}]\nmarks:\n\
         \x20 - {{mark: 10, destination: 0.0.0.0/0, protocol: tcp, ports: 80, interface: eth0}}\n\
         \x20 - {{mark: 10, destination: \"::/0\", protocol: tcp, ports: 80, interface: eth0}}\n\
         services:\n{}{}",
        service("ipv4", 0),
        service("ipv6", 1)
    )
}

/// Clients' ways lead through the director, and a cache takes what it gets for its own.
fn routes(lab: &Lab) {
    let [v4, v6] = NETWORKS;
    let by_director =
        [format!("route add {v4} via 198.51.100.1"), format!("route add {v6} via 2001:db8:2::1")];
    lab.host("router").batch(&by_director).unwrap();
    for name in ["server1", "server2"] {
        let local =
            [format!("route add local {v4} dev lo"), format!("route add local {v6} dev lo")];
        lab.host(name).batch(&local).unwrap();
    }
}

/// Who answered at each destination, in their order.
fn answers(host: &Namespace, family: usize) -> Vec<String> {
    let mut curl = host.command("curl");
    curl.args(["-sS", "-g", "--fail", "--max-time", "5", "-H", "Connection: close"]);
    for number in 1..=COUNT {
        let to = destination(family, number).to_string();
        curl.arg(format!("http://{}/who", place(&to, 80)));
    }
    shell::output(&mut curl).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn dh_divides_all_destinations_between_two_caches() {
    let lab = stage("dr-routed", 2);
    routes(&lab);
    let director = Director::start_with_text(&lab, &yaml(&lab)).unwrap();
    for family in [0, 1] {
        let expected: Vec<String> =
            (1..=COUNT).map(|number| cache(destination(family, number))).collect();
        for host in ["client", "visitor", "client"] {
            let name = FAMILIES[family];
            assert_eq!(answers(&lab.host(host), family), expected, "{name} from the {host}");
        }
        let first = expected.iter().filter(|name| *name == "server1").count();
        assert!((COUNT / 4..=COUNT * 3 / 4).contains(&(first as u16)), "{first} of {COUNT}");
    }
    not_taken(&lab);
    let json = director.json().unwrap();
    let connections: Vec<u64> =
        (0..2).map(|at| json["services"][at]["connections"].as_u64().unwrap()).collect();
    assert_eq!(connections, [3 * u64::from(COUNT); 2]);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// The box's own addresses stay the kernel's, and so do other ports, and what comes in by eth1.
fn not_taken(lab: &Lab) {
    let own = "198.51.100.1";
    let mut curl = lab.host("client").command("curl");
    let refused = shell::output(curl.args(["-sS", "--max-time", "5", &format!("http://{own}/")]));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("Connection refused") || refused.contains("connect to"), "{refused}");
    let way = format!("route add {} via {}", NETWORKS[0], lab.topology().local[0]);
    lab.host("server3").batch(&[way]).unwrap();
    let mut curl = lab.host("server3").command("curl");
    let to = destination(0, 1);
    let lost = shell::output(curl.args(["-sS", "--max-time", "1", &format!("http://{to}/who")]));
    assert!(lost.is_err(), "{lost:?}");
}
