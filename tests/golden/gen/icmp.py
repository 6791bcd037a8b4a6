"""ICMP errors about connections: translated, forwarded, or for the kernel (A.3)."""

from scapy.layers.inet import IPOption
from scapy.layers.inet6 import ICMPv6ND_NS

from .case import Case, out
from .errors import originated, quoted_ttl, to_client
from .flows import CPORT, open_tcp, send, tcp, udp
from .modes import Nat, Tun
from .net import (
    BACK,
    ETH,
    FAMILIES,
    FRONT,
    ROUTER2_MAC,
    ROUTER_MAC,
    V4,
    V6,
    hop,
    icmp4,
    icmp6,
    quote,
)

# (type, code, MTU) that IPVS handles; in IPv4 3, 4 and 11, in IPv6 every error.
HANDLED = {
    4: [(3, 0, 0), (3, 1, 0), (3, 3, 0), (3, 4, 1300), (3, 13, 0), (4, 0, 0), (11, 0, 0), (11, 1, 0)],
    6: [(1, 0, 0), (1, 1, 0), (1, 3, 0), (1, 4, 0), (2, 0, 1300), (3, 0, 0), (3, 1, 0), (4, 1, 40)],
}


def error(fam, src, dst, kind, quoted, ttl=60):
    """An ICMP error packet from `src`; precedence as routers set it (RFC 1812 4.3.2.5)."""
    number, code, info = kind
    body = icmp4(number, code, quoted, info) if fam is V4 else icmp6(number, code, quoted, info)
    return (
        fam.ip(src, dst, ttl=ttl, tos=0xC0 if fam is V4 else 0, **({"flags": 0} if fam is V4 else {})) / body
    )


def icmp_lport(mode, fam, inner, offset):
    """The FullNAT local port inside a quote; only the ICMP checksum follows it."""
    if mode.name != "fullnat":
        return []
    port = {"s": mode.request_holes, "d": mode.reply_holes}[offset](inner)[0]
    return [{**port, "at": port["at"] + fam.header + 8, "checksums": [ETH + fam.header + 2]}]


def pair(proto, fam):
    """A request and its answer, as the client sees them, as a router further on quotes them."""
    if proto == "tcp":
        return tcp(fam, "S", ttl=61), tcp(fam, "SA", 1, 1001, back=True, ttl=61)
    return udp(fam, b"question", ttl=61), udp(fam, b"answer", back=True, ttl=61)


def about_answers(mode, fam, proto):
    """A router between the VIP and the client reports about the server's packets."""
    case = Case(
        f"{mode.name}_icmp_from_client_side_{proto}_{fam.name}",
        "A.3: the error goes to the server; NAT translates the quote (its transport checksum stays), FullNAT "
        "the source too; DR and TUN forward it as it is.",
        mode.config,
    )
    request, back = pair(proto, fam)
    vport = 80 if proto == "tcp" else 53
    send(case, mode, fam, request)
    # 8 octets of transport header in IPv4 (RFC 792); all that fits in IPv6 (RFC 4443).
    size = fam.header + 8 if fam is V4 else None
    for kind in HANDLED[fam.version]:
        arrived = error(fam, fam.far_router, fam.vip, kind, quote(back, octets=size))
        if not mode.two_way:
            case.packet(FRONT, arrived, mode.request(fam, arrived, vport))
            continue
        seen = mode.sent_by_server(fam, back, vport)
        source = fam.local if mode.name == "fullnat" else fam.far_router
        sent = hop(error(fam, source, fam.server[11], kind, quote(seen, back, size)))
        case.packet(FRONT, arrived, [out(BACK, sent, mode.to_server_mac, *icmp_lport(mode, fam, seen, "d"))])
    return case


def about_requests(mode, fam, proto):
    """The server, or a router before it, reports about the client's packets."""
    case = Case(
        f"{mode.name}_icmp_from_server_side_{proto}_{fam.name}",
        "A.3: the error goes to the client from the VIP, whoever sent it; the quote shows the VIP again, its "
        "transport checksum stays.",
        mode.config,
    )
    request, _ = pair(proto, fam)
    vport = 80 if proto == "tcp" else 53
    send(case, mode, fam, request)
    seen = mode.seen_by_server(fam, request, vport)
    size = fam.header + 8 if fam is V4 else None
    for index, kind in enumerate(HANDLED[fam.version]):
        source, mac = ((fam.server[11], None), (fam.router2, ROUTER2_MAC))[index % 2]
        target = fam.local if mode.name == "fullnat" else fam.client
        arrived = error(fam, source, target, kind, quote(seen, octets=size))
        sent = hop(error(fam, fam.vip, fam.client, kind, quote(request, seen, size)))
        case.packet(
            BACK, arrived, [out(FRONT, sent, ROUTER_MAC)], mac=mac, holes=icmp_lport(mode, fam, seen, "s")
        )
    return case


def not_handled(fam):
    """Kinds of ICMP that are the kernel's, although they quote a connection."""
    case = Case(
        f"nat_icmp_other_kinds_{fam.name}",
        "A.3: redirects, parameter problems (IPv4) and queries are the local stack's.",
        "nat",
    )
    mode = Nat()
    request, back = pair("tcp", fam)
    send(case, mode, fam, request)
    kinds = [(5, 1, 0), (12, 0, 0), (15, 0, 0)] if fam is V4 else []
    for kind in kinds:
        case.packet(FRONT, error(fam, fam.far_router, fam.vip, kind, quote(back)), punt="icmp")
    if fam is V6:
        case.packet(FRONT, fam.ip(fam.router, fam.vip, ttl=255) / ICMPv6ND_NS(tgt=fam.vip), punt="icmp")
    return case


def without_connection(fam):
    case = Case(
        f"nat_icmp_without_connection_{fam.name}",
        "A.3, schedule_icmp=0: an error about no connection is passed to the stack.",
        "nat",
    )
    _, back = pair("tcp", fam)
    kind = HANDLED[fam.version][1]
    return case.packet(FRONT, error(fam, fam.far_router, fam.vip, kind, quote(back)), punt="icmp")


def broken_quotes(fam):
    """Errors whose quote cannot be matched."""
    case = Case(
        f"nat_icmp_broken_quote_{fam.name}",
        "ip_vs_in_icmp: 'the packet looks wrong, ignore': a quote without a whole IP header, with "
        "another version, without ports, or of a later fragment goes to the stack; an ICMP header cut "
        "short is malformed (NF_DROP).",
        "nat",
    )
    mode = Nat()
    request, back = pair("udp", fam)
    send(case, mode, fam, request)
    kind, whole = HANDLED[fam.version][1], quote(back)
    later = bytearray(whole)
    if fam is V4:
        later[6:8] = b"\0\x05"
    else:
        later = bytearray(whole[:6] + b"\x2c" + whole[7:40] + b"\x11\0\0\x28\0\0\0\1" + whole[40:])
    other = bytearray(whole)
    other[0] = other[0] & 15 | (0x60 if fam is V4 else 0x40)
    for quoted in (b"", whole[: fam.header - 1], whole[: fam.header + 2], bytes(other), bytes(later)):
        case.packet(FRONT, error(fam, fam.far_router, fam.vip, kind, quoted), punt="icmp")
    cut = fam.ip(fam.far_router, fam.vip, **({"proto": 1} if fam is V4 else {"nh": 58})) / b"\x03\x01\xfc\xfe"
    return case.packet(FRONT, cut, drop_malformed=1)


def bad_checksum(mode, fam):
    """NAT drops an error with a wrong checksum; DR and TUN do not look."""
    case = Case(
        f"{mode.name}_icmp_bad_checksum_{fam.name}",
        "A.3: bad ICMP checksum: dropped in NAT, not checked in DR and TUN.",
        mode.config,
    )
    request, back = pair("tcp", fam)
    send(case, mode, fam, request)
    packet = error(fam, fam.far_router, fam.vip, HANDLED[fam.version][1], quote(back))
    raw = bytearray(bytes(packet))
    raw[fam.header + 3] ^= 0x55
    wrong = type(packet)(bytes(raw))
    if mode.two_way:
        return case.packet(FRONT, wrong, drop_bad_icmp_checksum=1)
    if fam is V4:
        del wrong.chksum
    return case.packet(FRONT, wrong, mode.request(fam, wrong, 80))


def quote_with_options():
    """The quoted header has options: ports stand further back."""
    mode = Nat()
    case = Case(
        "nat_icmp_quoted_options", "RFC 791 3.1: the quoted header's IHL tells where its ports are.", "nat"
    )
    request, back = pair("tcp", V4)
    send(case, mode, V4, request)
    back.options = [IPOption(b"\x94\x04\0\0")]
    seen = mode.sent_by_server(V4, back, 80)
    kind = (11, 0, 0)
    arrived = error(V4, V4.far_router, V4.vip, kind, quote(back)[:32])
    sent = hop(error(V4, V4.far_router, V4.server[11], kind, quote(seen)[:32]))
    return case.packet(FRONT, arrived, [out(BACK, sent, mode.to_server_mac)])


def tunnel_too_big(mode, fam):
    """A router in the tunnel says that the outer packet is too big."""
    outer = mode.outer_family(fam)
    mtu = 1400 - mode.overhead(fam)
    case = Case(
        f"{mode.name}_tunnel_mtu_{fam.name}",
        f"A.3: the outer header is stripped and the client told {mtu} (1400 - {mode.overhead(fam)}), from the VIP; "
        "the next packet over it is refused at once. (The kernel's first still says the old MTU; RFC 2473 "
        "7.1 and RFC 2003 5.1 want the new one.)",
        mode.config,
    )
    open_tcp(case, mode, fam)

    def data(size):
        return tcp(fam, "PA", 1001, 1, b"d" * (size - fam.header - 20))

    big = data(min(1460, 1500 - mode.overhead(fam)))
    case.packet(FRONT, big, mode.request(fam, big, 80))
    carried, _ = mode.encapsulate(hop(big), fam)
    kind = (3, 4, 1400) if outer is V4 else (2, 0, 1400)
    quoted = quote(carried)[: 548 if outer is V4 else 1232]
    report = error(outer, outer.router2, outer.local, kind, quoted)
    inside = quoted[mode.overhead(fam) :]
    answered = told_client(fam, "packet_too_big", inside, type(big)(inside), mtu)
    case.packet(BACK, report, [answered], mac=ROUTER2_MAC, drop_tunnel_error=1, answer_packet_too_big=1)
    over = data(mtu + 1)
    case.packet(
        FRONT,
        over,
        [to_client(fam, "packet_too_big", over, mtu, [quoted_ttl(fam)])],
        drop_too_big=1,
        answer_packet_too_big=1,
    )
    return send(case, mode, fam, data(mtu))


def tunnel_forged(mode, fam):
    """A report about a tunnel packet that never was does not shrink the tunnel."""
    outer = mode.outer_family(fam)
    case = Case(
        f"{mode.name}_tunnel_forged_{fam.name}",
        "ip_vs_in_icmp: the quoted inner packet must be one of a connection, else the report is the local "
        "stack's; the tunnel keeps its MTU.",
        mode.config,
    )
    open_tcp(case, mode, fam)
    kind = (3, 4, 600) if outer is V4 else (2, 0, 1280)
    for cport in (CPORT + 1, CPORT):
        carried, _ = mode.encapsulate(hop(tcp(fam, "A", 1001, 1, cport=cport)), fam)
        whole = quote(carried)
        # Of the connection itself only the outer header is there.
        quoted = whole if cport != CPORT else whole[: outer.header + 8]
        report = error(outer, outer.router2, outer.local, kind, quoted)
        case.packet(BACK, report, mac=ROUTER2_MAC, punt="icmp")
    full = 1500 - mode.overhead(fam)
    return send(case, mode, fam, tcp(fam, "PA", 1001, 1, b"d" * (full - fam.header - 20)))


def told_client(fam, kind, octets, header, mtu=0):
    """The error to the client about a packet of which only `octets` are known."""
    about = Octets(octets, getattr(header, "tos", 0))
    packet, holes = originated(fam, kind, about, fam.vip, fam.client, mtu)
    return out(FRONT, packet, ROUTER_MAC, *holes)


class Octets(bytes):
    """The octets of a cut packet, with the TOS that icmp_send looks at."""

    def __new__(cls, octets, tos):
        made = super().__new__(cls, octets)
        made.tos = tos
        return made


def tunnel_relayed(mode, fam):
    """Other errors about the outer packet reach the client with the same type and code."""
    outer = mode.outer_family(fam)
    case = Case(
        f"{mode.name}_tunnel_errors_{fam.name}",
        "A.3: other codes are relayed with the same meaning, from the VIP (mixed families: RFC 2473 8).",
        mode.config,
    )
    open_tcp(case, mode, fam)
    carried, _ = mode.encapsulate(hop(tcp(fam, "A", 1001, 1)), fam)
    send(case, mode, fam, tcp(fam, "A", 1001, 1))
    quoted = quote(carried)
    for kind, name in (
        ((3, 1, 0) if outer is V4 else (1, 3, 0), "host_unreachable"),
        ((11, 0, 0) if outer is V4 else (3, 0, 0), "time_exceeded"),
    ):
        inner = quoted[mode.overhead(fam) :]
        case.packet(
            BACK,
            error(outer, outer.router2, outer.local, kind, quoted),
            [told_client(fam, name, inner, None)],
            mac=ROUTER2_MAC,
            drop_tunnel_error=1,
            **{f"answer_{name}": 1},
        )
    return case


def about_tunnel(mode, fam):
    yield tunnel_too_big(mode, fam)
    yield tunnel_forged(mode, fam)
    if not mode.outer:
        yield tunnel_relayed(mode, fam)


def tunnelled(mode):
    """What differs between tunnels."""
    for fam in FAMILIES:
        yield about_answers(mode, fam, "udp")
        yield from about_tunnel(mode, fam)


def common(mode):
    for fam in FAMILIES:
        for proto in ("tcp", "udp"):
            yield about_answers(mode, fam, proto)
            if mode.two_way:
                yield about_requests(mode, fam, proto)
        yield bad_checksum(mode, fam)
        if isinstance(mode, Tun):
            yield from about_tunnel(mode, fam)


def single():
    for fam in FAMILIES:
        yield not_handled(fam)
        yield without_connection(fam)
        yield broken_quotes(fam)
    yield quote_with_options()
