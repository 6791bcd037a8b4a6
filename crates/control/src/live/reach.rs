//! Whether servers can be reached as their forwarding method wants, and whether the box has
//! the addresses that it needs.

use std::{collections::BTreeSet, net::IpAddr};

use dataplane::{
    forward::Forward,
    route::source_towards,
    topology::{NextHop, RouteKind, Topology},
};

use health::check::Via;

use super::Finding;
use crate::model::{Model, Server};

pub(super) fn judge(model: &Model, topology: &Topology) -> Vec<Finding> {
    let mut findings = vips(model, topology);
    findings.extend(own_addresses(model, topology));
    findings.extend(checks(model, topology));
    let mut seen = BTreeSet::new();
    for service in &model.services {
        for server in &service.servers {
            if seen.insert((server.address, server.forward as u8, server.mac.is_some())) {
                let subject = format!("{}: server {}", service.name, server.address);
                findings.extend(self::server(&subject, server, topology));
            }
        }
    }
    findings
}

/// VIPs that nobody brings to this box, for all that xlvs can know.
fn vips(model: &Model, topology: &Topology) -> Vec<Finding> {
    let listened = model.services.iter().filter_map(|s| Some(s.key.endpoint()?.address));
    // A rule for a network is for what is routed through the box.
    let marked = model.marks.iter().filter(|rule| rule.destination.is_host());
    let marked = marked.map(|rule| rule.destination.address());
    let vips: BTreeSet<IpAddr> = listened.chain(marked).collect();
    let managed = |vip| model.vips.iter().any(|listed| listed.managed && listed.address == vip);
    let missing = vips.into_iter().filter(|vip| !topology.local.contains(vip) && !managed(*vip));
    missing
        .map(|vip| {
            Finding::note(
                &format!("vip {vip}"),
                "is no address of this box now: right for a backup, or where it is routed here",
                "else add it with ip address, keepalived, or managed: true under vips",
            )
        })
        .collect()
}

/// FullNAT's and the probes' addresses: servers answer to them, so the box must have them.
fn own_addresses(model: &Model, topology: &Topology) -> Vec<Finding> {
    let locals = model.services.iter().flat_map(|service| &service.policy.local_addresses);
    let locals = locals.map(|local| ("local address", local.address));
    let probes = model.probe_sources.iter().map(|source| ("probe source", *source));
    let needed: BTreeSet<(&str, IpAddr)> = locals.chain(probes).collect();
    let missing = needed.into_iter().filter(|(_, address)| !topology.local.contains(address));
    missing
        .map(|(what, address)| {
            Finding::warning(
                &format!("{what} {address}"),
                "is no address of this box: nobody tells the servers where it is",
                format!(
                    "ip address add {address}/{} dev INTERFACE",
                    if address.is_ipv4() { 32 } else { 128 }
                ),
            )
        })
        .collect()
}

/// Checks that the kernel would send from a VIP to a server that has it too.
fn checks(model: &Model, topology: &Topology) -> Vec<Finding> {
    let mut found = BTreeSet::new();
    for service in &model.services {
        let Some(vip) = service.key.endpoint().map(|endpoint| endpoint.address) else { continue };
        let has_vip = |server: &&Server| matches!(server.forward, Forward::Dr | Forward::Tun);
        for server in service.servers.iter().filter(has_vip) {
            for check in &server.checks {
                let target = &check.question.target;
                let by_kernel = target.via == Via::Direct && target.source.is_none();
                let asks = check.question.probe.asks_the_network();
                let source = source_towards(topology, target.address);
                if by_kernel && asks && source == Some(vip) {
                    found.insert((service.name.as_str(), check.name.as_str(), vip));
                }
            }
        }
    }
    found
        .into_iter()
        .map(|(service, check, vip)| {
            Finding::warning(
                &format!("{service}: check {check}"),
                format!(
                    "would ask from {vip}, this box's address there: servers that have this VIP \
                     too answer themselves, and would all be down"
                ),
                "give the box another address there and name it by source: in the check, or \
                 write via: service and probe_sources:",
            )
        })
        .collect()
}

fn server(subject: &str, server: &Server, topology: &Topology) -> Option<Finding> {
    let address = server.address;
    let Some(route) = topology.route(address) else {
        let remedy = format!("ip route add {address} via GATEWAY, or an address on its network");
        return Some(Finding::warning(subject, "there is no route to it", remedy));
    };
    match &route.kind {
        RouteKind::Via(hops) => via(subject, server, hops),
        RouteKind::Local => Some(Finding::note(
            subject,
            "is an address of this box: the kernel gets its packets",
            "name another server, unless that is meant",
        )),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => {
            Some(Finding::warning(
                subject,
                "its route refuses what is sent there",
                format!("see ip route get {address}"),
            ))
        }
    }
}

fn via(subject: &str, server: &Server, hops: &[NextHop]) -> Option<Finding> {
    if hops.iter().any(|hop| hop.port.is_none()) {
        return Some(Finding::warning(
            subject,
            "its route leaves by an interface that xlvs does not serve",
            format!("add that of ip route get {} to interfaces", server.address),
        ));
    }
    let gateway = hops.iter().find_map(|hop| hop.gateway)?;
    if server.forward != Forward::Dr || server.mac.is_some() {
        return None;
    }
    Some(Finding::warning(
        subject,
        format!(
            "forward: dr, but the route goes through {gateway}, which would route the VIP back"
        ),
        "put the server on a network of this box, or write forward: tun",
    ))
}

#[cfg(test)]
mod tests {
    use dataplane::topology::{Interface, Mac, Route, Routes};

    use super::{super::Severity, *};
    use crate::load::read;

    fn model(forward: &str, server: &str, more: &str) -> Model {
        let local = if forward == "fullnat" { "local_addresses: near, " } else { "" };
        let text = format!(
            "version: 1\ninterfaces: [eth0]\n\
             local_addresses: {{near: {{addresses: [10.0.0.9], ports: 10000-20000}}}}\n{more}\
             services:\n  - {{name: web, listen: \"192.0.2.1:80/tcp\", forward: {forward}, {local}\
             scheduler: rr, servers: [{{{server}}}]}}\n"
        );
        read("x.yaml".as_ref(), &text, None).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn topology(local: &[&str]) -> Topology {
        let via = |port, gateway: Option<&str>| {
            let gateway = gateway.map(|text| text.parse().unwrap());
            RouteKind::Via(vec![NextHop { port, gateway, weight: 1 }])
        };
        let routes = [
            ("10.0.0.0", 24, via(Some(0), None)),
            ("10.0.1.0", 24, via(Some(0), Some("10.0.0.254"))),
            ("10.0.2.0", 24, via(None, None)),
            ("10.0.3.0", 24, RouteKind::Unreachable),
            ("10.0.4.1", 32, RouteKind::Local),
            ("10.0.5.0", 24, via(Some(0), None)),
        ];
        let route = |(network, length, kind): (&str, u8, RouteKind)| {
            // There the VIP is all that the box has.
            let source = (network == "10.0.5.0").then(|| "192.0.2.1".parse().unwrap());
            (network.parse().unwrap(), length, Route { kind, source, mtu: None })
        };
        let interface = Interface {
            name: "eth0".to_owned(),
            index: 2,
            mac: Mac::default(),
            mtu: 1500,
            up: true,
        };
        Topology {
            interfaces: vec![interface],
            routes_v4: Routes::new(routes.map(route)),
            local: local.iter().map(|text| text.parse().unwrap()).collect(),
            ..Topology::default()
        }
    }

    const HERE: &[&str] = &["192.0.2.1", "10.0.0.9"];
    const MARKS: &str =
        "marks: [{mark: 1, destination: 192.0.2.7}, {mark: 1, destination: 198.51.100.0/24}]\n";
    const MANAGED: &str = "vips: [{address: 192.0.2.1/32, interface: eth0, managed: true}]\n";

    #[test]
    fn servers_and_addresses_are_judged() {
        let mac = "address: 10.0.1.1, mac: \"02:00:00:00:00:01\"";
        // (method, server, more of the file, the box's addresses, what is found)
        type Row<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], Option<(Severity, &'a str)>);
        let direct = "address: 10.0.5.1, checks: own";
        let checks = "checks: {own: {type: tcp}, source: {type: tcp, source: 10.0.5.9}, \
                      ping: {type: ping}, file: {type: file, path: /x}}\n";
        let sources = "probe_sources: [10.0.0.8]\n";
        let cases: [Row<'_>; 22] = [
            ("dr", direct, checks, HERE, Some((Severity::Warning, "would ask from 192.0.2.1"))),
            ("tun", direct, checks, HERE, Some((Severity::Warning, "would ask from 192.0.2.1"))),
            ("nat", direct, checks, HERE, None),
            ("dr", "address: 10.0.5.1, checks: source", checks, HERE, None),
            ("dr", "address: 10.0.5.1, checks: file", checks, HERE, None),
            (
                "dr",
                "address: 10.0.5.1, checks: ping",
                checks,
                HERE,
                Some((Severity::Warning, "would ask from")),
            ),
            ("nat", "address: 10.0.0.1", sources, HERE, Some((Severity::Warning, "nobody tells"))),
            ("nat", "address: 10.0.0.1", sources, &["192.0.2.1", "10.0.0.9", "10.0.0.8"], None),
            ("dr", "address: 10.0.0.1", "", HERE, None),
            ("dr", "address: 10.0.1.1", "", HERE, Some((Severity::Warning, "through 10.0.0.254"))),
            ("dr", mac, "", HERE, None),
            ("tun", "address: 10.0.1.1", "", HERE, None),
            ("nat", "address: 10.0.1.1", "", HERE, None),
            ("nat", "address: 10.0.2.1", "", HERE, Some((Severity::Warning, "does not serve"))),
            ("nat", "address: 10.0.3.1", "", HERE, Some((Severity::Warning, "refuses"))),
            ("nat", "address: 10.0.4.1", "", HERE, Some((Severity::Note, "of this box"))),
            ("nat", "address: 10.9.9.9", "", HERE, Some((Severity::Warning, "no route"))),
            ("nat", "address: 10.0.0.1", "", &[], Some((Severity::Note, "backup"))),
            ("nat", "address: 10.0.0.1", MANAGED, &[], None),
            ("nat", "address: 10.0.0.1", MARKS, HERE, Some((Severity::Note, "backup"))),
            ("fullnat", "address: 10.0.0.1", "", HERE, None),
            (
                "fullnat",
                "address: 10.0.0.1",
                "",
                &["192.0.2.1"],
                Some((Severity::Warning, "nobody tells")),
            ),
        ];
        for (forward, server, more, local, expected) in cases {
            let findings = judge(&model(forward, server, more), &topology(local));
            let found: Vec<_> =
                findings.iter().map(|f| (f.severity, f.sentence.as_str())).collect();
            assert_eq!(
                found.len(),
                usize::from(expected.is_some()),
                "{forward} {server}: {found:?}"
            );
            for ((severity, part), (is, sentence)) in expected.iter().zip(found) {
                assert!(
                    *severity == is && sentence.contains(part),
                    "{forward} {server}: {sentence}"
                );
            }
        }
    }
}
