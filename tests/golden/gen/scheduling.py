"""Which server a connection gets, and connections that share a server."""

from .case import Case, hole, local_port, out, source_port
from .configs import HEAD, service
from .flows import CPORT, tcp, udp
from .icmp import error
from .modes import FullNat
from .net import (
    BACK,
    ETH,
    FAMILIES,
    FRONT,
    ROUTER_MAC,
    SERVER_MAC,
    V4,
    V6,
    hop,
    quote,
    readdress,
)


def listen(fam, address, port, proto):
    return f"{address}:{port}/{proto}" if fam is V4 else f"[{address}]:{port}/{proto}"


def end(fam, number, port, weight=None):
    address = fam.server[number] if fam is V4 else f"[{fam.server[number]}]"
    return f'"{address}:{port}"' + (f", weight: {weight}" if weight is not None else "")


def three(fam, scheduler, weights, compat):
    """A DR service on three servers."""
    servers = [end(fam, n, 80, weight) for n, weight in zip((11, 12, 13), weights)]
    text = service("web", listen(fam, fam.vip, 80, "tcp"), "dr", servers)
    return HEAD + f"compat: {compat}\nservices:\n" + text.replace("scheduler: rr", f"scheduler: {scheduler}")


# scheduler, weights, compat -> picks; `lvs` rows are A.14's, observed on a kernel.
PICKS = [
    ("rr", (1, 1, 1), "none", [11, 12, 13, 11, 12, 13, 11]),
    ("rr", (1, 0, 1), "none", [11, 13, 11, 13]),
    ("rr", (1, 1, 1), "lvs", [13, 12, 11, 13, 12, 11, 13]),
    ("rr", (1, 0, 1), "lvs", [13, 11, 13, 11]),
    ("wrr", (1, 2, 4), "lvs", [13, 12, 11, 13, 13, 13, 12, 13, 12, 11, 13, 13, 13, 12, 13, 12, 11]),
    ("wrr", (4, 3, 2), "lvs", [13, 12, 11, 11, 12, 11, 13, 12, 11, 13, 12, 11]),
    ("wrr", (5, 1, 1), "lvs", [13, 12, 11, 11, 11, 11, 11, 13, 12, 11]),
    ("wrr", (10, 20, 30), "lvs", [13, 12, 11, 13, 13, 12, 13, 12, 11, 13, 13, 12, 13, 12]),
    ("wrr", (0, 2, 1), "lvs", [13, 12, 12, 13, 12, 12]),
]


def picks(fam, scheduler, weights, compat, expected):
    """One SYN from a new port for each expected pick."""
    label = "_".join(map(str, weights))
    why = (
        "A.14 golden picks [K]: the newest server first, wrr with its warm-up."
        if compat == "lvs"
        else "design: servers stand in file order."
    )
    case = Case(f"{scheduler}_{label}_{compat}_{fam.name}", why, three(fam, scheduler, weights, compat))
    for index, server in enumerate(expected):
        packet = tcp(fam, "S", cport=CPORT + index)
        case.packet(FRONT, packet, [out(BACK, hop(packet), SERVER_MAC[server])])
    return case


def stays(fam):
    """Later packets of a connection do not move the scheduler."""
    case = Case(
        f"rr_connection_stays_{fam.name}",
        "A.6: an existing connection keeps its server, also for a repeated SYN; only "
        "new ones are scheduled.",
        three(fam, "rr", (1, 1, 1), "none"),
    )
    for cport, server in ((1, 11), (2, 12)):
        for flags in ("S", "S", "A", "PA"):
            packet = tcp(fam, flags, cport=CPORT + cport)
            case.packet(FRONT, packet, [out(BACK, hop(packet), SERVER_MAC[server])])
    packet = tcp(fam, "FA", cport=CPORT + 1)
    return case.packet(FRONT, packet, [out(BACK, hop(packet), SERVER_MAC[11])])


def odd_openers():
    """Flag combinations that open a connection in LVS."""
    case = Case(
        "rr_syn_ack_and_syn_fin_schedule",
        "A.1 [K]: SYN+ACK and SYN+FIN are scheduled; no flags, FIN or URG alone are not.",
        three(V4, "rr", (1, 1, 1), "none"),
    )
    for index, (flags, server) in enumerate((("SA", 11), ("SF", 12), ("SPUFA", 13))):
        packet = tcp(V4, flags, cport=CPORT + index)
        case.packet(FRONT, packet, [out(BACK, hop(packet), SERVER_MAC[server])])
    for flags in ("", "F", "U", "FPU"):
        case.packet(FRONT, tcp(V4, flags, cport=CPORT + 9), punt="no_connection")
    return case


def shared(fam, proto):
    """Two VIPs, one server port, one client port."""
    port, server_port = (80, 8080) if proto == "tcp" else (53, 5353)
    config = (
        HEAD
        + "services:\n"
        + "".join(
            service(f"s{n}", listen(fam, vip, port, proto), "nat", [end(fam, 11, server_port)])
            for n, vip in enumerate((fam.vip, fam.vip2))
        )
    )
    case = Case(
        f"nat_two_vips_one_server_{proto}_{fam.name}",
        "design: the second connection keeps its pick and its source port moves to a free one; "
        "answers go out from the right VIP (the kernel crosses them, A.6).",
        config,
    )

    def request(vip, flags, data):
        return tcp(fam, flags, 1000, 0, vip=vip) if proto == "tcp" else udp(fam, data, vip=vip)

    def to_server(packet, moved):
        sent = hop(readdress(packet, dst=fam.server[11], dport=server_port))
        return out(
            BACK, sent, SERVER_MAC[11], *([source_port(sent, "moved", other_than=CPORT)] if moved else [])
        )

    def answered(vip, moved):
        view = (
            tcp(fam, "SA", 1, 1001, back=True, vip=vip)
            if proto == "tcp"
            else udp(fam, b"from " + vip.encode(), back=True, vip=vip)
        )
        sent = readdress(view, src=fam.server[11], sport=server_port)
        holes = [{**source_port(sent, "moved"), "at": source_port(sent, "moved")["at"] + 2}] if moved else []
        case.packet(BACK, sent, [out(FRONT, hop(view), ROUTER_MAC)], holes=holes)

    for flags in ("S", "A"):
        for vip, moved in ((fam.vip, False), (fam.vip2, True)):
            packet = request(vip, flags, b"question to " + vip.encode())
            case.packet(FRONT, packet, [to_server(packet, moved)])
        for vip, moved in ((fam.vip2, True), (fam.vip, False)):
            answered(vip, moved)
    if fam is V4 and proto == "tcp":
        error_about_moved(case, server_port)
    return case


def error_about_moved(case, server_port):
    """The server reports about the moved connection: the quote shows the client's own port again."""
    request = tcp(V4, "A", 1000, 0, vip=V4.vip2)
    seen = readdress(request, dst=V4.server[11], dport=server_port)
    kind = (3, 1, 0)
    arrived = error(V4, V4.server[11], V4.client, kind, quote(seen)[:28])
    view = hop(error(V4, V4.vip2, V4.client, kind, quote(request)[:28]))
    case.packet(
        BACK, arrived, [out(FRONT, view, ROUTER_MAC)], holes=[hole(ETH + 28 + 20, 2, [ETH + 22], "moved")]
    )


def next_hop_by_server():
    """A server behind another router, and one with `mac:`."""
    text = service("web", "203.0.113.10:80/tcp", "dr", ['10.0.2.12, mac: "02:00:00:00:09:09"'])
    case = Case("dr_fixed_mac", "design: `mac:` overrides neighbour resolution.", HEAD + "services:\n" + text)
    packet = tcp(V4, "S")
    return case.packet(FRONT, packet, [out(BACK, hop(packet), "02:00:00:00:09:09")])


def one_armed(forward):
    """A server behind the clients' router: in and out by one port."""
    server = "172.16.0.9"
    port = 8080 if forward == "nat" else 80
    text = service("web", "203.0.113.10:80/tcp", forward, [f'"{server}:{port}"'])
    case = Case(
        f"{forward}_one_armed",
        "The route decides: the server is behind the default route, so the packet leaves where it came from.",
        HEAD + "services:\n" + text,
    )
    packet = tcp(V4, "S")
    seen = readdress(packet, dst=server, dport=port) if forward == "nat" else packet
    case.packet(FRONT, packet, [out(FRONT, hop(seen), ROUTER_MAC)])
    if forward == "nat":
        view = tcp(V4, "SA", 1, 1001, back=True)
        case.packet(FRONT, readdress(view, src=server, sport=port), [out(FRONT, hop(view), ROUTER_MAC)])
    return case


def few_local_ports(fam):
    """A FullNAT range of two ports."""
    listed = "".join(
        service(
            f"s{port}",
            listen(fam, fam.vip, port, "tcp"),
            "fullnat",
            [end(fam, server, 8080)],
            local_addresses="few",
        )
        for port, server in ((80, 11), (81, 12))
    )
    local = f'local_addresses: {{few: {{addresses: ["{fam.local}"], ports: 10000-10001}}}}\n'
    case = Case(
        f"fullnat_local_ports_{fam.name}",
        "design: a local port is unique for its address and server: two for each, then a named drop.",
        HEAD + local + "services:\n" + listed,
    )
    mode = FullNat()
    for port, server in ((80, 11), (81, 12)):
        for index, name in enumerate(("one", "two", None)):
            packet = tcp(fam, "S", cport=CPORT + index)
            packet["TCP"].dport = port
            if name is None:
                case.packet(FRONT, packet, drop_local_ports_exhausted=1)
                continue
            sent = hop(mode.seen_by_server(fam, packet, 80))
            sent.dst = fam.server[server]
            hole_ = local_port(sent, name=f"{name}{port}")
            case.packet(
                FRONT, packet, [out(BACK, sent, SERVER_MAC[server], {**hole_, "within": [10000, 10001]})]
            )
    return case


def udp_expires():
    """A UDP connection is forgotten after its time."""
    config = (
        HEAD + "services:\n" + service("dns", "203.0.113.10:53/udp", "dr", [end(V4, n, 53) for n in (11, 12)])
    )
    case = Case(
        "udp_timeout_300",
        "A.9: UDP 300 s, refreshed by every packet; design: expiry at most 2 s late.",
        config,
    )
    packet = udp(V4)
    for at, server in ((0.0, 11), (299.0, 11), (598.0, 11), (901.0, 12), (902.0, 12)):
        case.packet(FRONT, packet, [out(BACK, hop(packet), SERVER_MAC[server])], at=at)
    return case


def tcp_lives():
    """States of A.8 by what expires when."""
    config = three(V4, "rr", (1, 1, 1), "none")

    def step(case, flags, at, server):
        packet = tcp(V4, flags)
        return case.packet(
            FRONT,
            packet,
            [out(BACK, hop(packet), SERVER_MAC[server])] if server else [],
            at=at,
            **({} if server else {"punt": "no_connection"}),
        )

    half = Case(
        "dr_syn_recv_expires", "A.8 INPUT-ONLY: SYN -> SYN_RECV 60 s; then an ACK belongs to nothing.", config
    )
    step(half, "S", 0.0, 11)
    step(half, "S", 59.0, 11)
    step(half, "A", 122.0, None)
    done = Case(
        "dr_fin_wait_lives_120",
        "A.8 INPUT-ONLY: the client's FIN -> FIN_WAIT 120 s, where ACKs keep it.",
        config,
    )
    for flags, at in (("S", 0.0), ("A", 1.0), ("FA", 800.0), ("A", 918.0), ("A", 1036.0)):
        step(done, flags, at, 11)
    step(done, "A", 1160.0, None)
    reset = Case(
        "dr_rst_closes_in_10",
        "A.8: RST -> CLOSE 10 s, refreshed by packets; then an ACK belongs to nothing and a SYN opens anew.",
        config,
    )
    for flags, at, server in (
        ("S", 0.0, 11),
        ("A", 0.5, 11),
        ("R", 1.0, 11),
        ("A", 9.0, 11),
        ("A", 22.0, None),
        ("S", 23.0, 12),
    ):
        step(reset, flags, at, server)
    early = Case(
        "dr_rst_in_syn_recv", "A.8 [K]: a client's RST in SYN_RECV does not close the connection.", config
    )
    for flags, at in (("S", 0.0), ("R", 1.0), ("A", 55.0)):
        step(early, flags, at, 11)
    reused = Case(
        "dr_syn_in_close_reschedules", "A.6 conn_reuse_mode 1: a SYN in CLOSE is scheduled anew.", config
    )
    for flags, at, server in (("S", 0.0, 11), ("A", 0.5, 11), ("R", 1.0, 11), ("S", 2.0, 12), ("A", 2.1, 12)):
        step(reused, flags, at, server)
    return [half, done, reset, early, reused]


def table():
    for row in PICKS:
        yield picks(V4, *row)
    yield picks(V6, *PICKS[0])
    yield picks(V6, *PICKS[2])
    for fam in FAMILIES:
        yield stays(fam)
        yield shared(fam, "tcp")
        yield shared(fam, "udp")
    yield odd_openers()
    yield next_hop_by_server()
    yield one_armed("nat")
    yield one_armed("dr")
    for fam in FAMILIES:
        yield few_local_ports(fam)
    yield udp_expires()
    yield from tcp_lives()
