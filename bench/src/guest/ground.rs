//! The guest as the box of the rig: clients behind `in`, ten real servers behind `out`.

use std::ops::RangeInclusive;

use xtask::guest::{Cable, Nic};

use crate::{
    flows,
    rig::ground::{LOCAL_ADDRESSES, VIP},
};

/// The last octets of the real servers' addresses, as in the rig's configuration.
const SERVERS: RangeInclusive<u8> = 11..=20;
/// Of all clients.
const ROUTER: &str = "203.0.113.254";

/// All real servers have this MAC.
pub(super) const SINK: &str = "02:00:00:00:00:10";
const SINK_OCTETS: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
/// The cards, with cables for floods.
pub(super) fn nics() -> Vec<Nic> {
    let text = |mac: [u8; 6]| mac.map(|octet| format!("{octet:02x}")).join(":");
    let ends = [(flows::HERE, Cable::Trunk), ([2, 0, 0, 0, 0, 3], Cable::Drain)];
    ends.map(|(mac, cable)| Nic { cable, ..Nic::new(text(mac)) }).to_vec()
}

/// What the guest runs once. The VIP is the box's unless the kernel is to route it.
pub(super) fn commands(routed: bool) -> String {
    let vip = VIP.map(|octet| octet.to_string()).join(".");
    let mut lines = vec![
        "sysctl -q -w net.ipv4.ip_forward=1".to_owned(),
        "sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0".to_owned(),
        "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1".to_owned(),
        // The cheapest one; for what the kernel forwards.
        "sysctl -q -w net.core.default_qdisc=pfifo_fast".to_owned(),
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
    lines.extend(LOCAL_ADDRESSES.map(|last| format!("ip addr add 10.0.2.{last}/24 dev out")));
    let neighbour =
        |address: String| format!("ip neigh replace {address} lladdr {SINK} dev out nud permanent");
    lines.extend(SERVERS.map(|server| neighbour(format!("10.0.2.{server}"))));
    lines.push(if routed {
        format!("ip route add {vip}/32 via 10.0.2.{}", SERVERS.start())
    } else {
        format!("ip addr add {vip}/32 dev in")
    });
    lines.join("\n")
}

/// Whether a frame that goes to a real server is as it should be; `None` for the guest's own.
pub(super) fn is_forwarded(frame: &[u8]) -> Option<bool> {
    let own = frame.get(..6) != Some(&SINK_OCTETS[..]) || frame.get(12..14) != Some(&[8, 0][..]);
    if own { None } else { Some(fits(&frame[14..]).is_some()) }
}

/// To the service's port: at the VIP or at a server, or at the VIP in a packet to a server.
fn fits(packet: &[u8]) -> Option<()> {
    const IP_IN_IP: u8 = 4;
    let address = |packet: &[u8]| packet.get(16..20)?.try_into().ok();
    let to: [u8; 4] = address(packet)?;
    let tunnelled = *packet.get(9)? == IP_IN_IP;
    let inner = if tunnelled { packet.get(20..)? } else { packet };
    let is_server = [to[0], to[1], to[2]] == [10, 0, 2] && SERVERS.contains(&to[3]);
    let right_port = inner.get(22..24)? == flows::PORT.to_be_bytes();
    let right_address =
        if tunnelled { is_server && address(inner)? == VIP } else { is_server || to == VIP };
    (right_port && right_address).then_some(())
}
