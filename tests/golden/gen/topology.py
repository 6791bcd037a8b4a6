"""The box of every case, as topology.json tells it to the runner."""

from .net import OUR_MAC, ROUTER2_MAC, ROUTER_MAC, SERVER_MAC, V4, V6


def neighbours():
    yield 0, V4.router, ROUTER_MAC
    yield 0, V6.router, ROUTER_MAC
    for fam in (V4, V6):
        for number, mac in SERVER_MAC.items():
            yield 1, fam.server[number], mac
        yield 1, fam.router2, ROUTER2_MAC


def routes():
    """(destination, port, gateway or None, the kernel's source address)."""
    yield "198.51.100.0/24", 0, None, V4.front
    yield "2001:db8:2::/64", 0, None, V6.front
    yield "10.0.2.0/24", 1, None, V4.local
    yield "fd00:2::/64", 1, None, V6.local
    for net in ("10.0.4.0/24", "10.0.5.0/24"):
        yield net, 1, V4.router2, V4.local
    for net in ("fd00:4::/64", "fd00:5::/64"):
        yield net, 1, V6.router2, V6.local
    yield "0.0.0.0/0", 0, V4.router, V4.front
    yield "::/0", 0, V6.router, V6.front


TOPOLOGY = {
    "interfaces": [
        {"name": "eth0", "mac": OUR_MAC[0], "mtu": 1500, "addresses": [f"{V4.front}/24", f"{V6.front}/64"]},
        {"name": "eth1", "mac": OUR_MAC[1], "mtu": 1500, "addresses": [f"{V4.local}/24", f"{V6.local}/64"]},
    ],
    "local": [V4.front, V4.local, V6.front, V6.local, V4.vip, V4.vip2, V6.vip, V6.vip2],
    "neighbours": [{"port": p, "address": a, "mac": m} for p, a, m in neighbours()],
    "routes": [{"to": t, "port": p, "via": v, "source": s} for t, p, v, s in routes()],
}
