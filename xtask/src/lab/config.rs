//! The YAML that a test gives to xlvs: the services of a topology, in some variation.
use std::fmt::Write;

use super::topology::Topology;

/// How the XDP program is to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum XdpMode {
    /// In the driver.
    #[default]
    Native,
    /// In the network stack.
    Generic,
}

/// The family of the servers' addresses, seen from the VIP's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Inside {
    /// The VIP's own.
    #[default]
    Same,
    /// The other one: 6-in-4 and 4-in-6.
    Other,
}

/// A variation of a topology's configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// How the XDP program is to be attached.
    pub xdp: XdpMode,
    /// Which of a server's addresses is used.
    pub servers: Inside,
    /// Whether xlvs adds and removes the VIPs itself.
    pub managed: bool,
}

/// Port and protocol of each service, and how many of the servers are behind it: iperf3
/// wants all connections of a run on one server.
const SERVICES: [(&str, &str, usize); 5] = [
    ("web", "80/tcp", 3),
    ("dns", "53/udp", 3),
    ("ntp", "123/udp", 3),
    ("iperf", "5201/tcp", 1),
    ("iperf-udp", "5201/udp", 1),
];

impl Config {
    /// The file's text.
    pub fn yaml(&self, topology: &Topology) -> String {
        let mut text = String::from("version: 1\n");
        let mode = match self.xdp {
            XdpMode::Native => "native",
            XdpMode::Generic => "generic",
        };
        let interfaces = topology.interfaces.iter();
        let interfaces: Vec<String> =
            interfaces.map(|name| format!("{{name: {name}, mode: {mode}}}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "interfaces: [{}]", interfaces.join(", "));
        if self.managed {
            let [v4, v6] = topology.vips;
            let _ = writeln!(text, "vips:");
            for vip in [format!("{v4}/32"), format!("{v6}/128")] {
                let _ =
                    writeln!(text, "  - {{address: \"{vip}\", interface: eth0, managed: true}}");
            }
        }
        if topology.forward == "fullnat" {
            let [v4, v6] = topology.local;
            let _ = writeln!(
                text,
                "local_addresses: {{back: {{addresses: [\"{v4}\", \"{v6}\"], ports: 10000-32767}}}}"
            );
        }
        let _ = writeln!(text, "services:");
        for (name, port, servers) in SERVICES {
            for family in [0, 1] {
                text.push_str(&self.service(topology, (name, port, servers), family));
            }
        }
        text
    }

    fn service(&self, topology: &Topology, what: (&str, &str, usize), family: usize) -> String {
        let (name, port, servers) = what;
        let vip = topology.vips[family];
        let listen = if family == 1 { format!("[{vip}]:{port}") } else { format!("{vip}:{port}") };
        let side = match self.servers {
            Inside::Same => family,
            Inside::Other => 1 - family,
        };
        let addresses = topology.servers.iter().take(servers);
        let addresses: Vec<String> =
            addresses.map(|own| format!("{{address: \"{}\"}}", own[side])).collect();
        let local = if topology.forward == "fullnat" { ", local_addresses: back" } else { "" };
        format!(
            "  - {{name: {name}{}, listen: \"{listen}\", forward: {}{local}, scheduler: rr, servers: [{}]}}\n",
            [4, 6][family],
            topology.forward,
            addresses.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Inside, XdpMode};
    use crate::lab::Topology;

    #[test]
    fn variations_change_the_mode_and_the_servers_family() {
        let tun = Topology::named("tun").unwrap();
        let text =
            Config { xdp: XdpMode::Generic, servers: Inside::Other, managed: true }.yaml(tun);
        for line in [
            "interfaces: [{name: eth0, mode: generic}, {name: eth1, mode: generic}]",
            "  - {address: \"2001:db8:f::10/128\", interface: eth0, managed: true}",
            "  - {name: iperf4, listen: \"203.0.113.10:5201/tcp\", forward: tun, scheduler: rr, servers: [{address: \"fd00:4::11\"}]}",
            "  - {name: iperf6, listen: \"[2001:db8:f::10]:5201/tcp\", forward: tun, scheduler: rr, servers: [{address: \"10.0.4.11\"}]}",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
    }
}
