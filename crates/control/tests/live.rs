//! What is read from a real box: a network namespace of the test's own, with a veth pair.
//! Needs root.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use control::{
    live::{Finding, Severity, check, netfilter, surroundings},
    load::read,
    model::Model,
};
use dataplane::forward::{Endpoint, Protocol, ServiceKey};
use nix::sched::{CloneFlags, unshare};
use xsk::{AttachMode, MatchCapacities, MatchMaps, Program, WhenDown};

fn shell(command: &str) {
    let status = Command::new("sh").args(["-ec", command]).status().expect("sh");
    assert!(status.success(), "{command}");
}

/// Runs `body` in a thread that has a namespace with `eth0` and its peer `far0`.
fn in_namespace(body: impl FnOnce() + Send + 'static) {
    let outcome = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace; are you root?");
        shell("ip link set lo up; ip link add eth0 type veth peer name far0; ip link set far0 up");
        shell("ip addr add 10.0.0.1/24 dev eth0; ip addr add 127.0.7.7/8 dev lo");
        body();
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

fn model(interface: &str, server: &str) -> Model {
    let text = format!(
        "version: 1\ninterfaces: [{interface}]\nservices:\n  - {{name: web, listen: \
         \"10.0.0.1:80/tcp\", forward: nat, scheduler: rr, servers: [{{address: {server}}}]}}\n"
    );
    read("x.yaml".as_ref(), &text, None).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The subjects of what is worse than a note.
fn serious(findings: &[Finding]) -> Vec<(Severity, &str)> {
    let serious = findings.iter().filter(|finding| finding.severity != Severity::Note);
    serious.map(|finding| (finding.severity, finding.subject.as_str())).collect()
}

#[test]
fn surroundings_are_those_of_the_namespace() {
    in_namespace(|| {
        let tcp = TcpListener::bind("127.0.7.7:0").unwrap().local_addr().unwrap();
        let held = TcpListener::bind("127.0.7.7:0").unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        shell("ip link set far0 mtu 3000");
        let around = surroundings().unwrap();
        let mut names: Vec<_> =
            around.interfaces.iter().map(|l| (l.name.as_str(), l.mtu, l.queues)).collect();
        names.retain(|(name, ..)| ["eth0", "far0"].contains(name));
        names.sort_unstable();
        assert_eq!(names, [("eth0", 1500, 1), ("far0", 3000, 1)]);
        for address in ["10.0.0.1", "127.0.0.1", "127.0.7.7", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            assert!(around.addresses.contains(&address), "{address}");
        }
        let listening = |protocol, socket: SocketAddr| {
            let (address, port) = (socket.ip(), socket.port());
            around.sockets.bound.contains(&Endpoint { protocol, address, port })
        };
        assert!(listening(Protocol::Tcp, held.local_addr().unwrap()));
        assert!(listening(Protocol::Udp, udp.local_addr().unwrap()));
        assert!(!listening(Protocol::Tcp, tcp), "it is closed");
        assert!(around.sockets.ephemeral.start() < around.sockets.ephemeral.end());
        assert!(!around.cores.is_empty());
    });
}

#[test]
fn a_sound_box_has_nothing_serious() {
    in_namespace(|| {
        shell("ip link set eth0 up; ethtool -K eth0 rxvlan off rx-vlan-stag-hw-parse off");
        let findings = check(&model("eth0", "10.0.0.11"), &[]);
        assert_eq!(serious(&findings), [], "{findings:#?}");
        assert!(findings.iter().any(|finding| finding.sentence.contains("is a veth")));
    });
}

#[test]
fn rules_that_do_not_see_a_new_service_are_named() {
    in_namespace(|| {
        shell(
            "nft 'add table ip t; add chain ip t c { type filter hook input priority 0; }; \
             add rule ip t c ip daddr 203.0.113.10 tcp dport 80 drop'",
        );
        let key = |port| {
            let address = "203.0.113.10".parse().unwrap();
            ServiceKey::from(Endpoint { protocol: Protocol::Tcp, address, port })
        };
        let findings = netfilter(&[key(81), key(80)]);
        assert_eq!(serious(&findings), [(Severity::Warning, "netfilter ip t c")], "{findings:?}");
        assert_eq!(netfilter(&[key(81), ServiceKey::Mark { mark: 1, ipv6: false }]), []);
    });
}

#[test]
fn what_is_wrong_is_found_where_it_is() {
    in_namespace(|| {
        shell("ethtool -K eth0 rxvlan off rx-vlan-stag-hw-parse off");
        let down = check(&model("eth0", "10.0.0.11"), &[]);
        assert!(serious(&down).contains(&(Severity::Warning, "eth0")), "{down:#?}");
        shell("ip link set eth0 up");

        let far = check(&model("eth0", "192.0.2.1"), &[]);
        assert_eq!(serious(&far), [(Severity::Warning, "web: server 192.0.2.1")]);

        shell("ip addr add 10.9.0.1/24 dev far0");
        let unserved = check(&model("eth0", "10.9.0.11"), &[]);
        assert_eq!(serious(&unserved), [(Severity::Warning, "web: server 10.9.0.11")]);
        assert!(unserved[0].sentence.contains("does not serve"), "{}", unserved[0]);

        shell("ethtool -K eth0 rxvlan on");
        let stripping = check(&model("eth0", "10.0.0.11"), &[]);
        assert_eq!(serious(&stripping), [], "run switches it off");
        assert!(stripping.iter().any(|finding| finding.sentence.contains("VLAN")));

        let loopback = check(&model("lo", "10.0.0.11"), &[]);
        assert!(serious(&loopback).contains(&(Severity::Error, "lo")), "{loopback:#?}");
    });
}

#[test]
fn another_xdp_program_is_an_error_while_it_is_there() {
    in_namespace(|| {
        shell("ip link set eth0 up; ethtool -K eth0 rxvlan off rx-vlan-stag-hw-parse off");
        let model = model("eth0", "10.0.0.11");
        let maps = MatchMaps::new(MatchCapacities::default()).unwrap();
        let mac = xsk::link::mac("eth0").unwrap();
        let program = Program::load(&maps, mac, WhenDown::Pass).unwrap();
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let attached = program.attach("eth0", mode, None).unwrap();
            let findings = check(&model, &[]);
            assert_eq!(serious(&findings), [(Severity::Error, "eth0")], "{mode:?}");
            assert!(findings[0].sentence.contains("ip link show dev eth0"), "{}", findings[0]);
            drop(attached);
            // A command that another test starts has our descriptors until it runs.
            let patience = Instant::now() + Duration::from_secs(2);
            while !serious(&check(&model, &[])).is_empty() && Instant::now() < patience {
                thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(serious(&check(&model, &[])), [], "{mode:?}");
        }
    });
}
