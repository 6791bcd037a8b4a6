//! The guest as the box of the rig: clients behind `in`, ten real servers behind `out`.

use std::ops::RangeInclusive;

use xtask::guest::Nic;

use super::beat::Beat;
use crate::{flows, rig::ground::VIP};

/// The last octets of the real servers' addresses, as in the rig's configuration.
const SERVERS: RangeInclusive<u8> = 11..=20;
/// Of all clients.
const ROUTER: &str = "203.0.113.254";

/// All real servers have this MAC.
pub(super) const SINK: &str = "02:00:00:00:00:10";
const SINK_OCTETS: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
/// Where beats go: to no server.
pub(super) const METER: [u8; 4] = [10, 0, 2, 99];
const METER_PORT: u16 = 9;

/// The cards, with trunks.
pub(super) fn nics() -> Vec<Nic> {
    let text = |mac: [u8; 6]| mac.map(|octet| format!("{octet:02x}")).join(":");
    [flows::HERE, [2, 0, 0, 0, 0, 3]].map(|mac| Nic { trunk: true, ..Nic::new(text(mac)) }).to_vec()
}

/// Where beats go to.
pub(super) fn meter() -> String {
    let [a, b, c, d] = METER;
    format!("{a}.{b}.{c}.{d}:{METER_PORT}")
}

/// What the guest runs once. The VIP is the box's unless the kernel is to route it.
pub(super) fn commands(routed: bool) -> String {
    let vip = VIP.map(|octet| octet.to_string()).join(".");
    let mut lines = vec![
        "sysctl -q -w net.ipv4.ip_forward=1".to_owned(),
        "sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0".to_owned(),
        "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1".to_owned(),
    ];
    for (nic, name) in ["in", "out"].iter().enumerate() {
        lines.push(format!("ip link set eth{nic} name {name}"));
        lines.push(format!("ethtool -K {name} gro off >/dev/null"));
        lines.push(format!("ip link set {name} addrgenmode none up"));
        lines.push(format!("until grep -q up /sys/class/net/{name}/operstate; do sleep 0.1; done"));
    }
    lines.push("ip addr add 203.0.113.1/24 dev in".to_owned());
    lines.push(format!("ip neigh replace {ROUTER} lladdr 02:00:00:00:00:01 dev in nud permanent"));
    lines.push(format!("ip route add default via {ROUTER}"));
    lines.push("ip addr add 10.0.2.1/24 dev out".to_owned());
    let neighbour =
        |address: String| format!("ip neigh replace {address} lladdr {SINK} dev out nud permanent");
    let inside = SERVERS.chain([METER[3]]);
    lines.extend(inside.map(|host| neighbour(format!("10.0.2.{host}"))));
    lines.push(if routed {
        format!("ip route add {vip}/32 via 10.0.2.{}", SERVERS.start())
    } else {
        format!("ip addr add {vip}/32 dev in")
    });
    lines.join("\n")
}

/// What a frame is that the guest sends.
pub(super) enum Kind {
    /// For a real server, as it should be.
    Forwarded,
    /// The guest's clock.
    Beat(Beat),
    /// For a real server, but it could not use it.
    Strange,
    /// The guest's own.
    Other,
}

/// Looks at a frame.
pub(super) fn sort(frame: &[u8]) -> Kind {
    if frame.get(..6) != Some(&SINK_OCTETS[..]) || frame.get(12..14) != Some(&[8, 0][..]) {
        return Kind::Other;
    }
    let Some(packet) = frame.get(14..) else { return Kind::Strange };
    let address = |packet: &[u8]| packet.get(16..20).and_then(|four| four.try_into().ok());
    let Some(to): Option<[u8; 4]> = address(packet) else { return Kind::Strange };
    if to == METER {
        return packet.get(28..).and_then(Beat::read).map_or(Kind::Strange, Kind::Beat);
    }
    // IP in IP: what counts is within.
    let (outer, inner) =
        if packet[9] == 4 { (Some(to), packet.get(20..)) } else { (None, Some(packet)) };
    let Some(inner) = inner else { return Kind::Strange };
    let port = inner.get(22..24) == Some(&flows::PORT.to_be_bytes()[..]);
    let is_server = |[a, b, c, d]: [u8; 4]| [a, b, c] == [10, 0, 2] && SERVERS.contains(&d);
    let within = address(inner);
    let fits = match outer {
        Some(outer) => is_server(outer) && within == Some(VIP),
        None => within.is_some_and(|to| to == VIP || is_server(to)),
    };
    if port && fits { Kind::Forwarded } else { Kind::Strange }
}
