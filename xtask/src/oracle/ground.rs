//! The guest's network: `oracle::ground` in shell commands.
use oracle::ground::{self, CLIENTS, LOCAL, Port, VIPS6, mac_text};
use oracle::scenario::Mark;

/// What the guest runs once. IPVS works at LOCAL_IN; what it leaves to the stack comes to the
/// chain `stack` behind it, and is copied to the witness instead of being answered.
pub(super) fn commands() -> String {
    let mut lines = vec![
        "sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1".to_owned(),
        // No ICMP error of ours may be held back for having been sent too often.
        "sysctl -q -w net.ipv4.icmp_ratemask=0 net.ipv6.icmp.ratelimit=0".to_owned(),
        "sysctl -q -w net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_msgs_burst=1000000"
            .to_owned(),
        "sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0".to_owned(),
    ];
    for port in Port::ALL {
        let name = port.interface();
        lines.push(format!("ethtool -K {name} gro off tx off tso off gso off >/dev/null"));
        lines.push(format!("ip link set {name} addrgenmode none up"));
        lines.push(format!("until grep -q up /sys/class/net/{name}/operstate; do sleep 0.1; done"));
        lines.push(format!("sysctl -q -w net.ipv4.conf.{name}.rp_filter=0"));
    }
    lines.push(format!("ip -batch - <<END\n{}END", addresses()));
    lines.push(format!("nft -f - <<END\n{}END", chains()));
    lines.join("\n")
}

fn addresses() -> String {
    let mut lines = Vec::new();
    for port in Port::ALL {
        let name = port.interface();
        lines.push(format!("address add {}/24 dev {name}", port.address4()));
        lines.push(format!("address add {}/64 dev {name} nodad", port.address6()));
    }
    for (prefix, length) in LOCAL {
        lines.push(format!("route add local {prefix}/{length} dev lo"));
    }
    for number in 1..=VIPS6 {
        lines.push(format!("address add fd09::{number}/128 dev lo nodad"));
    }
    for neighbour in ground::neighbours() {
        let (name, mac) = (neighbour.port.interface(), mac_text(neighbour.mac));
        for address in [neighbour.address4.to_string(), neighbour.address6.to_string()] {
            lines.push(format!("neigh replace {address} lladdr {mac} dev {name} nud permanent"));
        }
        if neighbour.name == "gw" {
            let [ipv4, ipv6] = CLIENTS;
            lines.push(format!("route add {ipv4} via {}", neighbour.address4));
            lines.push(format!("route add {ipv6} via {}", neighbour.address6));
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn chains() -> String {
    let mut text = String::new();
    let witness = ground::neighbours().into_iter().find(|neighbour| neighbour.name == "stack");
    let Some(witness) = witness else { return text };
    let discovery = "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, \
         nd-neighbor-advert, mld-listener-query, mld-listener-report } accept";
    let fences = "ip saddr { 192.0.2.1, 10.2.0.254 } icmp type echo-request accept";
    for (family, accept, address) in [
        ("ip", fences, witness.address4.to_string()),
        ("ip6", discovery, witness.address6.to_string()),
    ] {
        text += &format!(
            "table {family} oracle {{
  chain marks {{ type filter hook prerouting priority mangle; }}
  chain stack {{
    type filter hook input priority 300;
    iif lo accept
    {accept}
    dup to {address} device eth0
    drop
  }}
}}
"
        );
    }
    text
}

/// What gives packets the scenario's marks, and takes those of the one before away.
pub(super) fn marks(marks: &[Mark]) -> String {
    let mut lines =
        vec!["flush chain ip oracle marks".to_owned(), "flush chain ip6 oracle marks".to_owned()];
    for mark in marks {
        let family = if mark.destination.contains(':') { "ip6" } else { "ip" };
        let ports: Vec<String> = mark.ports.iter().map(u16::to_string).collect();
        let matched = match (&mark.protocol, ports.is_empty()) {
            (Some(protocol), false) => format!("{protocol} dport {{ {} }}", ports.join(", ")),
            (Some(protocol), true) => format!("meta l4proto {}", number_of(protocol)),
            (None, _) => String::new(),
        };
        let (destination, mark) = (&mark.destination, mark.mark);
        lines.push(format!(
            "add rule {family} oracle marks {family} daddr {destination} {matched} meta mark set {mark}"
        ));
    }
    format!("nft -f - <<END\n{}\nEND\n", lines.join("\n"))
}

/// What has the scenario's prefixes delivered, and those of the one before no more: a rule for what
/// comes in, as transparent proxies have it. The addresses remain others' for the director itself.
pub(super) fn delivered(prefixes: &[String]) -> String {
    let mut lines = String::new();
    for family in ["-4", "-6"] {
        // Of the first scenario there is nothing to take away.
        lines += &format!("ip {family} rule del iif eth0 lookup 9 2>/dev/null || :\n");
        lines += &format!("ip {family} route flush table 9 2>/dev/null || :\n");
        for prefix in prefixes.iter().filter(|prefix| prefix.contains(':') == (family == "-6")) {
            lines += &format!("ip {family} route add local {prefix} dev lo table 9\n");
        }
    }
    for family in ["-4", "-6"] {
        lines += &format!("ip {family} rule add iif eth0 lookup 9\n");
    }
    lines
}

/// The guest has no /etc/protocols.
fn number_of(protocol: &str) -> &str {
    match protocol {
        "tcp" => "6",
        "udp" => "17",
        "sctp" => "132",
        other => other,
    }
}
