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


def four(forward, server4, server6, ports=(80, 53), web_only=None, **more):
    """web and dns on both VIPs, with one server each; `web_only` are keys of TCP services."""
    for_web = {**more, **(web_only or {})}
    web, dns = ports
    six = server6 if "." in server6 else f"[{server6}]"
    four_ = f"[{server4}]" if ":" in server4 else server4

    def end(address, port):
        return f'"{address}:{port}"'

    return (
        HEAD
        + (LOCAL if forward == "fullnat" else "")
        + "services:\n"
        + "".join(
            [
                service("web4", "203.0.113.10:80/tcp", forward, [end(four_, web)], **for_web),
                service("dns4", "203.0.113.10:53/udp", forward, [end(four_, dns)], **more),
                service("web6", "[2001:db8:f::10]:80/tcp", forward, [end(six, web)], **for_web),
                service("dns6", "[2001:db8:f::10]:53/udp", forward, [end(six, dns)], **more),
            ]
        )
    )


CONFIGS = {
    "nat": four("nat", "10.0.2.11", "fd00:2::11", (8080, 5353)),
    "fullnat": four("fullnat", "10.0.2.11", "fd00:2::11", (8080, 5353), local_addresses="dmz"),
    "dr": four("dr", "10.0.2.11", "fd00:2::11"),
    "tun": four("tun", "10.0.4.11", "fd00:4::11"),
    "tun_mixed": four("tun", "fd00:4::11", "10.0.4.11"),
    "nat_mss": four("nat", "10.0.2.11", "fd00:2::11", (8080, 5353), web_only={"mss_clamp": "path"}),
    "fullnat_mss": four(
        "fullnat",
        "10.0.2.11",
        "fd00:2::11",
        (8080, 5353),
        local_addresses="dmz",
        web_only={"mss_clamp": "path"},
    ),
}
