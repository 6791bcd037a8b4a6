"""The shared configurations: one for each mode, both families, TCP and UDP."""

HEAD = "version: 1\ninterfaces: [eth0, eth1]\n"
LOCAL = 'local_addresses: {dmz: {addresses: [10.0.2.1, "fd00:2::1"], ports: 10000-32767}}\n'


def service(name, listen, forward, servers, **more):
    """One line of `services:`; servers are `address` or `address, weight: N` texts."""
    keys = "".join(f", {key}: {value}" for key, value in more.items())
    listed = ", ".join("{address: %s}" % server for server in servers)
    return (
        f'  - {{name: {name}, listen: "{listen}", forward: {forward}, scheduler: rr{keys}, '
        f"servers: [{listed}]}}\n"
    )


def ends(address4, address6, port):
    """`address:port` texts for the IPv4 and the IPv6 service; either may be of the other family."""
    return [f'"[{a}]:{port}"' if ":" in a else f'"{a}:{port}"' for a in (address4, address6)]


def four(forward, server4, server6, ports=(80, 53), weight="", web_only=None, **more):
    """web and dns on both VIPs, with one server each; `web_only` are keys of TCP services."""
    if forward == "fullnat":
        more["local_addresses"] = "dmz"
    text = HEAD + (LOCAL if forward == "fullnat" else "") + "services:\n"
    webs, dnses = (ends(server4, server6, port) for port in ports)
    for number, vip, web, dns in zip((4, 6), ("203.0.113.10", "[2001:db8:f::10]"), webs, dnses):
        text += service(f"web{number}", f"{vip}:80/tcp", forward, [web + weight], **more, **(web_only or {}))
        text += service(f"dns{number}", f"{vip}:53/udp", forward, [dns + weight], **more)
    return text


def sctp(forward):
    """Two SCTP services on both VIPs: one whose port NAT changes and one whose port stays."""
    more = {"local_addresses": "dmz"} if forward == "fullnat" else {}
    servers = ("10.0.4.11", "fd00:4::11") if forward == "tun" else ("10.0.2.11", "fd00:2::11")
    changed = 15060 if forward in ("nat", "fullnat") else 5060
    text = HEAD + (LOCAL if more else "") + "services:\n"
    for number, vip, sip, m3ua in zip(
        (4, 6), ("203.0.113.10", "[2001:db8:f::10]"), ends(*servers, changed), ends(*servers, 2905)
    ):
        text += service(f"sip{number}", f"{vip}:5060/sctp", forward, [sip], **more)
        text += service(f"m3ua{number}", f"{vip}:2905/sctp", forward, [m3ua], **more)
    return text


def weightless(forward):
    """A service whose only server takes nothing."""
    return four(forward, "10.0.2.11", "fd00:2::11", weight=", weight: 0")


def tunnel(kind, check):
    """The key `tunnel`, as short as it may be."""
    if not check:
        return "{type: gue, port: 6080}" if kind == "gue" else kind
    port = "port: 6080, " if kind == "gue" else ""
    return f"{{type: {kind}, {port}checksum: true}}"


NAT_PORTS = (8080, 5353)
CLAMP = {"mss_clamp": "path"}
CONFIGS = {
    "nat": four("nat", "10.0.2.11", "fd00:2::11", NAT_PORTS),
    "fullnat": four("fullnat", "10.0.2.11", "fd00:2::11", NAT_PORTS),
    "dr": four("dr", "10.0.2.11", "fd00:2::11"),
    "tun": four("tun", "10.0.4.11", "fd00:4::11"),
    "tun_mixed": four("tun", "fd00:4::11", "10.0.4.11"),
    **{f"sctp_{forward}": sctp(forward) for forward in ("nat", "fullnat", "dr", "tun")},
    **{
        f"tun_{kind}{'_csum' if check else ''}{mixed}": four("tun", *servers, tunnel=tunnel(kind, check))
        for kind in ("gue", "gre")
        for check in (False, True)
        for mixed, servers in (("", ("10.0.4.11", "fd00:4::11")), ("_mixed", ("fd00:4::11", "10.0.4.11")))
    },
    "nat_mss": four("nat", "10.0.2.11", "fd00:2::11", NAT_PORTS, web_only=CLAMP),
    "fullnat_mss": four("fullnat", "10.0.2.11", "fd00:2::11", NAT_PORTS, web_only=CLAMP),
}
