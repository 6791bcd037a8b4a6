"""What the director answers itself: time exceeded, too big, no server, and what it may not answer."""

from scapy.layers.inet import ICMP, IPOption
from scapy.layers.inet6 import ICMPv6EchoRequest
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from .case import Case, flow_label, hole, ip_id, out
from .configs import weightless
from .flows import SYN_OPTIONS, answer, open_tcp, send, tcp, udp, with_options
from .modes import Dr, Nat, reply
from .net import (
    BACK,
    ETH,
    FAMILIES,
    FRONT,
    ROUTER_MAC,
    SERVER_MAC,
    V4,
    V6,
    arrives,
    fragments,
    icmp4,
    icmp6,
)

# Kernel names of the kinds -> (IPv4 type and code, IPv6 type and code).
KINDS = {
    "time_exceeded": ((11, 0), (3, 0)),
    "port_unreachable": ((3, 3), (1, 4)),
    "packet_too_big": ((3, 4), (2, 0)),
    "host_unreachable": ((3, 1), (1, 3)),
}


def originated(fam, kind, about, src, dst, mtu=0):
    """The ICMP error that the kernel sends about a packet, and its holes.

    icmp_send: TTL 64, precedence 6 over the packet's TOS, at most 576 octets in all, no DF;
    icmp6_send: hop limit 64, traffic class 0, at most 1280 octets in all.
    """
    if fam is V4:
        quoted = bytes(about)[: 576 - 28]
        tos = about.tos & 0x1E | 0xC0
        return fam.ip(src, dst, tos=tos, id=0, flags=0) / icmp4(*KINDS[kind][0], quoted, mtu), [ip_id()]
    quoted = bytes(about)[: 1280 - 48]
    return fam.ip(src, dst) / icmp6(*KINDS[kind][1], quoted, mtu), [flow_label()]


def to_client(fam, kind, about, mtu=0, holes=()):
    """The error as it leaves towards the client; the packet was for a local address: its source."""
    packet, ours = originated(fam, kind, about, about.dst, about.src, mtu)
    return out(FRONT, packet, ROUTER_MAC, *ours, *holes)


def to_server(fam, kind, about, mtu=0, holes=()):
    """The error as it leaves towards the server, from the address of the route back."""
    packet, ours = originated(fam, kind, about, fam.local, about.src, mtu)
    return out(BACK, packet, SERVER_MAC[11], *ours, *holes)


def quoted_ttl(fam):
    """TTL of a quoted packet: a router may or may not have lowered it already (RFC 1812 4.3.2.3).

    In IPv4 the quoted header checksum follows it, and the ICMP checksum stays.
    """
    if fam is V4:
        return hole(ETH + 28 + 8, 2, [ETH + 28 + 10], mask="ff00")
    return hole(ETH + 48 + 6, 2, [ETH + 42], mask="00ff")


def quoted_lport(mode, fam, about):
    """The FullNAT port in the packet that an error to a server quotes: its checksum follows it."""
    if mode.name != "fullnat":
        return []
    shift = fam.header + 8
    port = mode.reply_holes(about)[0]
    return [{**port, "at": port["at"] + shift, "checksums": [at + shift for at in port["checksums"]]}]


def ttl_from_client(mode, fam):
    case = Case(
        f"{mode.name}_ttl_1_{fam.name}",
        "A.2: TTL <= 1 gets time exceeded from the VIP and is "
        "dropped; the connection exists nevertheless [K].",
        mode.config,
    )
    for ttl in (1, 0):
        packet = tcp(fam, "S", ttl=ttl, options=SYN_OPTIONS)
        case.packet(
            FRONT,
            packet,
            [to_client(fam, "time_exceeded", packet)],
            drop_ttl_exceeded=1,
            answer_time_exceeded=1,
        )
    send(case, mode, fam, tcp(fam, "A", 1001, 1, ttl=2))
    return case


def ttl_from_server(mode, fam):
    case = Case(
        f"{mode.name}_reply_ttl_1_{fam.name}",
        "ip_forward.c: an answer whose TTL runs out gets time "
        "exceeded to the server, unchanged in the quote, from the address of the route back.",
        mode.config,
    )
    open_tcp(case, mode, fam)
    back = tcp(fam, "SA", 1, 1001, back=True, ttl=1)
    sent = mode.sent_by_server(fam, back, 80)
    answer(
        case,
        mode,
        fam,
        back,
        outs=[to_server(fam, "time_exceeded", sent, holes=quoted_lport(mode, fam, sent))],
        drop_ttl_exceeded=1,
        answer_time_exceeded=1,
    )
    return case


def segment(fam, size, back=False, df=True):
    """A data segment whose IP packet has `size` octets."""
    extra = {} if fam is V6 else {"flags_ip": "DF" if df else 0}
    seqs = (1, 1001) if back else (1001, 1)
    return tcp(fam, "PA", *seqs, b"d" * (size - fam.header - 20), back=back, **extra)


def datagram(fam, size, back=False, df=True):
    extra = {} if fam is V6 else {"flags": "DF" if df else 0}
    return udp(fam, b"u" * (size - fam.header - 8), back=back, **extra)


def room(mode, fam, mtu):
    """What a packet may have with this MTU behind the mode's encapsulation."""
    return mtu - mode.overhead(fam) if mode.name.startswith("tun") else mtu


def too_big_from_client(mode, fam):
    mtu = room(mode, fam, 1400)
    case = Case(
        f"{mode.name}_too_big_{fam.name}",
        f"A.2 route MTU: 1500 octets do not fit 1400: the client gets "
        f"{'3/4' if fam is V4 else 'packet too big'} with {mtu}; {mtu} octets pass.",
        mode.config,
        mtu=(1500, 1400),
    )
    open_tcp(case, mode, fam)
    big = segment(fam, 1500)
    case.packet(
        FRONT,
        big,
        [to_client(fam, "packet_too_big", big, mtu, [quoted_ttl(fam)])],
        drop_too_big=1,
        answer_packet_too_big=1,
    )
    over = segment(fam, mtu + 1)
    case.packet(
        FRONT,
        over,
        [to_client(fam, "packet_too_big", over, mtu, [quoted_ttl(fam)])],
        drop_too_big=1,
        answer_packet_too_big=1,
    )
    return send(case, mode, fam, segment(fam, mtu))


def too_big_from_server(mode, fam):
    case = Case(
        f"{mode.name}_reply_too_big_{fam.name}",
        "ip_forward.c, ip6_forward: the server learns the MTU of the "
        "way to the client, from the address of the route back.",
        mode.config,
        mtu=(1400, 1500),
    )
    open_tcp(case, mode, fam)
    big = segment(fam, 1500, back=True)
    sent = mode.sent_by_server(fam, big, 80)
    about = to_server(fam, "packet_too_big", sent, 1400, [quoted_ttl(fam), *quoted_lport(mode, fam, sent)])
    answer(case, mode, fam, big, outs=[about], drop_too_big=1, answer_packet_too_big=1)
    return answer(case, mode, fam, segment(fam, 1400, back=True))


def narrow_tunnel(mode):
    """A tunnel that carries less than IPv6's smallest MTU."""
    case = Case(
        f"{mode.name}_narrow_v6",
        "RFC 2473 7.1, RFC 4213 3.2.1: no host is told less than 1280; what has at most 1280 octets "
        "leaves in fragments of the outer packet.",
        mode.config,
        mtu=(1500, 1290),
    )
    open_tcp(case, mode, V6)
    over = segment(V6, 1281)
    case.packet(
        FRONT,
        over,
        [to_client(V6, "packet_too_big", over, 1280, [quoted_ttl(V6)])],
        drop_too_big=1,
        answer_packet_too_big=1,
    )
    largest = segment(V6, 1280)
    whole = mode.request(V6, largest, 80)[0]
    return case.packet(FRONT, largest, cut(whole, 1290, tunnel=True))


def no_df(mode):
    """IPv4 without DF is fragmented on the way out."""
    case = Case(
        f"{mode.name}_fragmented_on_output",
        "A.2 [K]: without DF 1500 octets leave over MTU 1400 as the kernel's "
        "ip_do_fragment cuts them (1396 + 124); TUN cuts the outer packet.",
        mode.config,
        mtu=(1500, 1400),
    )
    packet = datagram(V4, 1500, df=False)
    whole = mode.request(V4, packet, 53)[0]
    return case.packet(FRONT, packet, cut(whole, 1400, tunnel=mode.name.startswith("tun")))


def cut(whole, mtu, tunnel=False):
    """The fragments of a frame that leaves; in tunnels the id is ours, one for all."""
    packet = Ether(whole.frame).payload
    mac, frames = Ether(whole.frame).dst, []
    for index, piece in enumerate(fragments(packet, mtu, ident=0)):
        if not tunnel:
            holes = whole.holes if index == 0 else []
        elif bytes(piece)[0] >> 4 == 4:
            holes = [ip_id(name="id"), *(source_port_in(whole, 0) if index == 0 else [])]
        else:
            own = source_port_in(whole, 8) if index == 0 else []
            holes = [flow_label(), hole(ETH + 44, 4, name="id"), *own]
        frames.append(out(whole.port, piece, mac, *holes))
    return frames


def source_port_in(whole, shift):
    """The hole of a GUE source port, in a first fragment with so many octets more in front of it."""
    return [
        {**entry, "at": entry["at"] + shift, "checksums": [at + shift for at in entry.get("checksums", [])]}
        for entry in whole.holes
        if entry.get("name") == "flow"
    ]


def reply_no_df(mode):
    case = Case(
        f"{mode.name}_reply_fragmented_on_output",
        "ip_do_fragment: an answer without DF is cut to the client's MTU.",
        mode.config,
        mtu=(1400, 1500),
    )
    send(case, mode, V4, udp(V4, b"q"))
    big = datagram(V4, 1500, back=True, df=False)
    return answer(case, mode, V4, big, outs=cut(reply(big), 1400))


def no_df_options():
    mode = Nat()
    case = Case(
        "nat_fragmented_with_options",
        "ip_options_fragment: options without the copied bit become NOPs "
        "in later fragments (RFC 791 3.1).",
        "nat",
        mtu=(1500, 1400),
    )
    packet = with_options(datagram(V4, 1480, df=False), bytes.fromhex("94040000" "1e04aabb"))
    whole = mode.request(V4, packet, 53)[0]
    later = [IPOption(bytes.fromhex("94040000" "01010101"))]
    pieces = fragments(Ether(whole.frame).payload, 1400, options_after_first=later)
    return case.packet(FRONT, packet, [out(BACK, piece, SERVER_MAC[11]) for piece in pieces])


def no_server(forward, fam):
    case = Case(
        f"{forward}_no_server_{fam.name}",
        "A.1, ip_vs_leave: without an available server the client gets ICMP "
        "port unreachable (3/3, 1/4) for TCP too, never RST; the quote is untouched [K].",
        weightless(forward),
    )
    for packet in (
        tcp(fam, "S", options=SYN_OPTIONS),
        udp(fam, b"long question " * 60),
        udp(fam, b"tos", tos=0x10),
    ):
        case.packet(
            FRONT,
            packet,
            [to_client(fam, "port_unreachable", packet)],
            drop_no_server=1,
            answer_port_unreachable=1,
        )
    return case.packet(FRONT, tcp(fam, "A", 5, 6), punt="no_connection")


def rate_limit(fam):
    case = Case(
        f"nat_no_server_rate_limit_{fam.name}",
        "icmp_ratelimit and inet_peer_xrlim_allow: a peer gets a burst of "
        "six errors, then one a second (IPv6 with a default route: sixteen).",
        weightless("nat"),
    )
    packet = udp(fam)
    for index in range(8):
        if index < 6:
            case.packet(
                FRONT,
                packet,
                [to_client(fam, "port_unreachable", packet)],
                drop_no_server=1,
                answer_port_unreachable=1,
            )
        else:
            case.packet(FRONT, packet, drop_no_server=1, answer_rate_limited=1)
    other = udp(fam, client=fam.client2)
    case.packet(
        FRONT, other, [to_client(fam, "port_unreachable", other)], drop_no_server=1, answer_port_unreachable=1
    )
    return case.packet(
        FRONT,
        packet,
        [to_client(fam, "port_unreachable", packet)],
        at=1.5,
        drop_no_server=1,
        answer_port_unreachable=1,
    )


def forbidden_error(fam):
    """An ICMP error whose TTL runs out is not answered."""
    mode = Nat()
    case = Case(
        f"nat_icmp_error_ttl_1_{fam.name}",
        "RFC 1122 3.2.2, RFC 4443 2.4 e.1: no error about an error.",
        "nat",
    )
    open_tcp(case, mode, fam)
    about = bytes(tcp(fam, "SA", 1, 1001, back=True))[: fam.header + 8]
    icmp = icmp4(3, 1, about) if fam is V4 else icmp6(1, 0, about)
    return case.packet(
        FRONT, fam.ip(fam.far_router, fam.vip, ttl=1) / icmp, drop_ttl_exceeded=1, answer_forbidden=1
    )


def forbidden_fragment():
    """A later IPv4 fragment whose TTL runs out is not answered."""
    mode = Dr()
    case = Case(
        "dr_later_fragment_ttl_1", "RFC 1122 3.2.2: no error about a fragment that is not the first.", "dr"
    )
    first, later = fragments(datagram(V4, 1000, df=False), 600)
    case.packet(FRONT, first, mode.request(V4, first, 53))
    later.ttl = 1
    return case.packet(FRONT, later, drop_ttl_exceeded=1, answer_forbidden=1)


def broadcast_frame():
    case = Case(
        "nat_link_broadcast",
        "ip_vs_in: a frame that is not for this host by its MAC (PACKET_HOST) is left to the "
        "stack; nothing is answered (RFC 1122 3.2.2).",
        weightless("nat"),
    )
    for mac in ("ffffffffffff", "01005e000001"):
        frame = bytes.fromhex(mac) + arrives(FRONT, udp(V4))[6:]
        case.frame(FRONT, frame, punt="unhandled")
    return case


def echo():
    case = Case("nat_echo", "A.3: an echo request to a VIP is the local stack's.", "nat")
    case.packet(FRONT, V4.ip(V4.client, V4.vip) / ICMP() / Raw(b"ping"), punt="icmp")
    return case.packet(FRONT, V6.ip(V6.client, V6.vip) / ICMPv6EchoRequest(data=b"ping"), punt="icmp")


def mss(mode, fam, mtu, offered, there, back):
    """SYN and SYN+ACK with an MSS option of `offered`; they leave with `there` and `back`."""
    label = f"{mode.name}_mss_{mtu[0]}_{mtu[1]}_{offered}_{fam.name}"
    case = Case(
        label,
        "xt_TCPMSS to the path MTU, nft `set rt mtu` [K 6.18]: at most the smaller MTU of both ways less the headers, in SYN "
        "and SYN+ACK; never raised.",
        f"{mode.name}_mss",
        mtu=mtu,
    )

    def with_mss(flags, value, **more):
        ack = 1001 if "A" in flags else 0
        return tcp(
            fam,
            flags,
            1000,
            ack,
            options=[("NOP", None), ("NOP", None), ("SAckOK", b""), ("MSS", value)],
            **more,
        )

    case.packet(FRONT, with_mss("S", offered), mode.request(fam, with_mss("S", there), 80))
    return answer(
        case, mode, fam, with_mss("SA", offered, back=True), outs=[reply(with_mss("SA", back, back=True))]
    )


def no_mss(mode, fam):
    case = Case(
        f"{mode.name}_mss_absent_{fam.name}",
        "A SYN without the option stays as it is (its sender takes 536 or 1220, RFC 9293 "
        "3.7.1), and a data segment's options are not read.",
        f"{mode.name}_mss",
        mtu=(1500, 1400),
    )
    send(case, mode, fam, tcp(fam, "S", options=[("NOP", None), ("WScale", 7)]))
    return send(case, mode, fam, tcp(fam, "A", 1001, 1, options=[("MSS", 1460)]))


def from_both_sides(mode):
    """TTL and MTU cases of a mode."""
    for fam in FAMILIES:
        yield ttl_from_client(mode, fam)
        yield too_big_from_client(mode, fam)
        if mode.two_way:
            yield ttl_from_server(mode, fam)
            yield too_big_from_server(mode, fam)
            base = fam.header + 20
            low, full = 1400 - base, 1500 - base
            yield mss(mode, fam, (1500, 1400), full, low, low)
            yield mss(mode, fam, (1400, 1500), full, low, low)
            yield mss(mode, fam, (1500, 1500), 8960, full, full)
            yield mss(mode, fam, (1500, 1400), 900, 900, 900)
            yield no_mss(mode, fam)
        if mode.name in ("nat", "fullnat", "dr", "tun"):
            yield no_server(mode.name, fam)
    yield no_df(mode)
    if mode.name.startswith("tun"):
        yield narrow_tunnel(mode)
    if mode.two_way:
        yield reply_no_df(mode)


def single():
    """Cases that one mode shows for all."""
    yield no_df_options()
    for fam in FAMILIES:
        yield rate_limit(fam)
        yield forbidden_error(fam)
    yield broadcast_frame()
    yield echo()
