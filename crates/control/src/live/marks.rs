//! Mark rules: whether they lead anywhere, and what of this box they take.

use dataplane::{forward::ServiceKey, mark::MarkRule, topology::Topology};

use super::{Finding, Sockets};
use crate::model::Model;

pub(super) fn judge(model: &Model, topology: &Topology, sockets: &Sockets) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in &model.marks {
        let subject = format!("mark rule to {}", rule.destination);
        if !used(model, rule) {
            findings.push(Finding::warning(
                &subject,
                format!("no service has the mark {:#x}: the rule does nothing", rule.mark),
                format!("add a service with mark: {0}, or ipvsadm -A -f {0}", rule.mark),
            ));
        }
        let ports = taken(model, rule, topology, sockets);
        if !ports.is_empty() {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            findings.push(Finding::warning(
                &subject,
                format!("takes what this box's own sockets get on port {}", ports.join(", ")),
                "name the ports of the service one by one in the rule",
            ));
        }
    }
    findings
}

/// A service has the bits that the rule sets. One that clears bits is used if any is there.
fn used(model: &Model, rule: &MarkRule) -> bool {
    let ipv6 = rule.destination.address().is_ipv6();
    let marks = model.services.iter().filter(|service| service.key.is_ipv6() == ipv6);
    let mut marks = marks.filter_map(|service| match service.key {
        ServiceKey::Mark { mark, .. } => Some(mark),
        ServiceKey::Endpoint(_) => None,
    });
    let set = rule.mark & rule.mask;
    marks.any(|mark| set == 0 || mark & rule.mask == set)
}

/// The ports of sockets whose packets the rule takes without naming them. A rule for a network
/// takes nothing from an address of the box.
fn taken(model: &Model, rule: &MarkRule, topology: &Topology, sockets: &Sockets) -> Vec<u16> {
    let address = rule.destination.address();
    let managed = model.vips.iter().any(|vip| vip.managed && vip.address == address);
    if !rule.destination.is_host() || !(managed || topology.local.contains(&address)) {
        return Vec::new();
    }
    let unnamed = |port: u16| {
        let mut ranges = rule.ports.iter();
        rule.ports.is_empty() || ranges.any(|r| r.contains(&port) && r.start() != r.end())
    };
    sockets.losing(address, |socket| {
        rule.protocol.is_none_or(|protocol| protocol == socket.protocol) && unnamed(socket.port)
    })
}

#[cfg(test)]
mod tests {
    use dataplane::forward::Protocol;

    use super::*;
    use crate::load::read;

    /// (rules, the service's mark, sentences)
    const CASES: [(&str, &str, &[&str]); 8] = [
        ("{mark: 10, destination: 192.0.2.1, protocol: tcp, ports: [80, 22]}", "10", &[]),
        ("{mark: 10, destination: 192.0.2.0/24}", "10", &[]),
        ("{mark: 10, destination: 192.0.2.2}", "10", &[]),
        (
            "{mark: 10, destination: 192.0.2.1, protocol: tcp}",
            "10",
            &["takes what this box's own sockets get on port 22"],
        ),
        (
            "{mark: 10, destination: 192.0.2.1, ports: 1-1023}",
            "10",
            &["takes what this box's own sockets get on port 22, 53"],
        ),
        (
            "{mark: 10, destination: 192.0.2.2}, {mark: 0x20, destination: 192.0.2.2}",
            "10",
            &["no service has the mark 0x20: the rule does nothing"],
        ),
        (
            "{mark: 0xa, destination: 192.0.2.2}, {mark: 0, mask: 0xff, destination: 192.0.2.3}",
            "10",
            &[],
        ),
        (
            "{mark: 10, destination: 192.0.2.2}, {mark: 10, destination: \"2001:db8::1\"}",
            "10",
            &["no service has the mark 0xa: the rule does nothing"],
        ),
    ];

    #[test]
    fn rules_are_judged() {
        let socket = |protocol, text: &str| {
            let socket: std::net::SocketAddr = text.parse().unwrap();
            dataplane::forward::Endpoint { protocol, address: socket.ip(), port: socket.port() }
        };
        let sockets = Sockets {
            bound: vec![
                socket(Protocol::Tcp, "0.0.0.0:22"),
                socket(Protocol::Udp, "192.0.2.1:53"),
                socket(Protocol::Tcp, "127.0.0.1:25"),
                socket(Protocol::Udp, "0.0.0.0:40000"),
            ],
            ephemeral: 32768..=60999,
        };
        let local = [std::net::IpAddr::from([192, 0, 2, 1])].into_iter().collect();
        let topology = Topology { local, ..Topology::default() };
        for (rules, mark, expected) in CASES {
            let text = format!(
                "version: 1\ninterfaces: [eth0]\nmarks: [{rules}]\nservices:\n  - {{name: a, \
                 mark: {mark}, forward: dr}}\n"
            );
            let model = read("x.yaml".as_ref(), &text, None).unwrap_or_else(|f| panic!("{f}"));
            let findings = judge(&model, &topology, &sockets);
            let found: Vec<&str> = findings.iter().map(|f| f.sentence.as_str()).collect();
            assert_eq!(found, expected, "{rules}");
        }
    }
}
