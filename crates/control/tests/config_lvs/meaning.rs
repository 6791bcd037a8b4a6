//! What the words of LVS become in the model.

use dataplane::{
    forward::Tunnel,
    policy::{Gone, Lifecycle, OnJoin},
};
use sched::{Kind, Plan};

use crate::{marked, model, nat, service, top};

#[test]
fn defaults_of_a_service() {
    let policy = model(&nat("servers: []")).services[0].policy.clone();
    assert_eq!(policy, dataplane::policy::Policy::default());
    assert_eq!(policy.scheduler, Plan::new(Kind::Wlc));
}

#[test]
fn a_service_says_more_than_the_box_and_the_box_more_than_compat() {
    let text = "version: 1\ninterfaces: [eth0]\ncompat: lvs\nlvs: {sloppy_tcp: 1, lblc_expiration: 60}\non_idle: reset\ntimeouts: {udp: 10s, sctp_closed: 7s, tcp_established: 24h}\nservices:\n  - {name: a, listen: 203.0.113.10:80/tcp, forward: nat, scheduler: lblc}\n  - {name: b, listen: 203.0.113.11:80/tcp, forward: nat, scheduler: {name: lblc, expiration: 2m}, lvs: {sloppy_tcp: 0, expire_nodest_conn: 1}, timeouts: {udp: 20s}}\n  - {name: c, listen: 203.0.113.12:80/tcp, forward: nat, on_gone: reset, scheduler: lblcr}\n";
    let model = model(text);
    let [a, b, c] = [0, 1, 2].map(|at: usize| &model.services[at].policy);
    let box_wide = Lifecycle { sloppy_tcp: true, reset_idle: true, ..Lifecycle::lvs() };
    assert_eq!(model.lifecycle, box_wide);
    assert_eq!(a.lifecycle, box_wide);
    assert_eq!(b.lifecycle, Lifecycle { sloppy_tcp: false, gone: Gone::Expire, ..box_wide });
    assert_eq!(c.lifecycle, Lifecycle { gone: Gone::Reset, ..box_wide });
    let expirations = [a, b, c].map(|policy| policy.scheduler.expiration);
    assert_eq!(expirations, [60, 120, 86_400]);
    assert_eq!([a, b].map(|policy| policy.timeouts.udp), [10, 20]);
    assert_eq!([a, b].map(|policy| policy.timeouts.sctp[13]), [7, 7]);
    assert_eq!([a, b].map(|policy| policy.timeouts.tcp[1]), [86_400; 2]);
}

#[test]
fn gone_by_the_kernels_name() {
    for (keys, expected) in [
        ("compat: none", Gone::Reset),
        ("compat: lvs", Gone::Hold),
        ("lvs: {expire_nodest_conn: 0}", Gone::Hold),
        ("lvs: {expire_nodest_conn: true}", Gone::Expire),
        ("compat: lvs | on_gone: reset", Gone::Reset),
    ] {
        assert_eq!(model(&top(keys)).lifecycle.gone, expected, "{keys}");
    }
}

#[test]
fn persistence_by_family() {
    let keys = "listen: [\"[2001:db8::10]:443/tcp\", 203.0.113.10:0/tcp] | forward: nat | persistence: {timeout: 90s, mask: 24} | except_ports: [22, 8000-8099]";
    let model = model(&service(keys));
    let [six, four] = [0, 1].map(|at: usize| &model.services[at].policy);
    let shown = [six, four].map(|p| p.persistence.map(|p| (p.timeout, p.prefix)));
    assert_eq!(shown, [Some((90, 24)), Some((90, 24))]);
    assert_eq!(six.except_ports, []);
    assert_eq!(four.except_ports, [22..=22, 8000..=8099]);
    for (mask, bits) in [("", 32), (", mask: 255.255.0.0", 16), (", mask: 1", 1)] {
        let text = nat(&format!("persistence: {{timeout: 6m{mask}}}"));
        let persistence = crate::model(&text).services[0].policy.persistence.expect("given");
        assert_eq!((persistence.timeout, persistence.prefix), (360, bits));
    }
}

#[test]
fn rules_and_their_service() {
    let rules = "{mark: 0x1f, mask: 0xff, destination: 198.51.100.0/24, source: 10.0.0.0/8, protocol: tcp, ports: [80, 8000-8099], interface: eth0}";
    let model = model(&marked(
        rules,
        "mark: 31 | forward: nat | one_packet: true | servers: [{address: 10.0.2.11}, {address: \"10.0.2.11:81\", max_connections: 8, resume_connections: 3}]",
    ));
    let rule = &model.marks[0];
    assert_eq!((rule.mark, rule.mask, rule.interface), (31, 255, Some(0)));
    assert_eq!(rule.destination.to_string(), "198.51.100.0/24");
    assert_eq!(rule.source.map(|source| source.to_string()).as_deref(), Some("10.0.0.0/8"));
    assert_eq!(rule.ports, [80..=80, 8000..=8099]);
    let service = &model.services[0];
    assert_eq!(service.key.to_string(), "mark 31");
    assert!(service.policy.one_packet);
    let servers: Vec<_> = service.servers.iter().map(|s| (s.port, s.upper, s.lower)).collect();
    assert_eq!(servers, [(0, 0, 0), (81, 8, 3)]);
}

#[test]
fn tunnels_and_joining() {
    let model = model(&service(
        "listen: 203.0.113.10:80/sctp | forward: tun | tunnel: {type: gre, checksum: true} | on_join: {slow_start: 90s} | servers: [{address: 10.0.2.11}, {address: 10.0.2.12, tunnel: ipip}, {address: 10.0.2.13, tunnel: {type: gue, port: 6080}}]",
    ));
    let service = &model.services[0];
    let tunnels: Vec<_> = service.servers.iter().map(|server| server.tunnel).collect();
    assert_eq!(
        tunnels,
        [Tunnel::Gre { checksum: true }, Tunnel::Ipip, Tunnel::Gue { port: 6080, checksum: false }]
    );
    assert_eq!(service.policy.on_join, OnJoin::SlowStart(90));
}

/// The box's `on_join` holds where a service says nothing and its scheduler is helped by it.
#[test]
fn joining_by_the_box() {
    let model = model(
        "version: 1\ninterfaces: [eth0]\non_join: {slow_start: 40s}\nservices:\n  \
         - {name: a, listen: 203.0.113.10:80/tcp, forward: nat}\n  \
         - {name: b, listen: 203.0.113.11:80/tcp, forward: nat, on_join: nothing}\n  \
         - {name: c, listen: 203.0.113.12:80/tcp, forward: nat, on_join: reset_counts}\n  \
         - {name: d, listen: 203.0.113.13:80/tcp, forward: nat, scheduler: sh}\n",
    );
    let found: Vec<_> = model.services.iter().map(|service| service.policy.on_join).collect();
    let expected = [OnJoin::SlowStart(40), OnJoin::Nothing, OnJoin::ResetCounts, OnJoin::Nothing];
    assert_eq!(found, expected);
}
