"""Datagrams in fragments: they follow their first fragment, whichever comes first (design, law 1)."""

from scapy.layers.inet import ICMP, UDP
from scapy.packet import Raw

from .case import Case, out
from .configs import weightless
from .errors import datagram, quoted_ttl, to_client
from .flows import send, tcp, udp
from .modes import Dr, Nat
from .net import (
    BACK,
    FAMILIES,
    FRONT,
    ROUTER_MAC,
    V4,
    V6,
    fragments,
    hop,
)

SIZE = 1500
MTU = 600


def request_pieces(mode, fam, whole):
    """The client's fragments and, for each, the frame that reaches the server."""
    arrived = fragments(whole, MTU)
    if mode.name.startswith("tun") or mode.name == "dr":
        return [(piece, mode.request(fam, piece, 53)[0]) for piece in arrived]
    seen = fragments(mode.seen_by_server(fam, whole, 53), MTU)
    pairs = []
    for index, (piece, sent) in enumerate(zip(arrived, seen)):
        holes = mode.request_holes(sent) if index == 0 else []
        pairs.append((piece, out(BACK, hop(sent), mode.to_server_mac, *holes)))
    return pairs


def reply_pieces(mode, fam, whole):
    """The server's fragments with their holes and, for each, the frame that reaches the client."""
    arrived = fragments(mode.sent_by_server(fam, whole, 53), MTU, ident=0xFEEDBEEF)
    sent = fragments(whole, MTU, ident=0xFEEDBEEF)
    return [
        (piece, mode.reply_holes(piece) if index == 0 else [], out(FRONT, hop(view), ROUTER_MAC))
        for index, (piece, view) in enumerate(zip(arrived, sent))
    ]


def in_order(mode, fam):
    case = Case(
        f"{mode.name}_fragments_{fam.name}",
        "A.4, design: each fragment is translated by itself and goes where the first went; the checksum in "
        "the first covers all.",
        mode.config,
    )
    for piece, sent in request_pieces(mode, fam, datagram(fam, SIZE, df=False)):
        case.packet(FRONT, piece, [sent])
    if mode.two_way:
        for piece, holes, view in reply_pieces(mode, fam, datagram(fam, SIZE, back=True, df=False)):
            case.packet(BACK, piece, [view], holes=holes)
    return case


def reversed_(mode, fam):
    case = Case(
        f"{mode.name}_fragments_reversed_{fam.name}",
        "design: later fragments that come first are held; the first brings them out, itself in front, "
        "the others as they came.",
        mode.config,
    )
    pieces = request_pieces(mode, fam, datagram(fam, SIZE, df=False))
    for piece, _ in pieces[:0:-1]:
        case.packet(FRONT, piece)
    case.packet(FRONT, pieces[0][0], [sent for _, sent in [pieces[0], *pieces[:0:-1]]])
    if mode.two_way:
        pieces = reply_pieces(mode, fam, datagram(fam, SIZE, back=True, df=False))
        for piece, _, _ in pieces[:0:-1]:
            case.packet(BACK, piece)
        first = pieces[0]
        case.packet(BACK, first[0], [view for _, _, view in [first, *pieces[:0:-1]]], holes=first[1])
    return case


def no_checksum(mode):
    case = Case(
        f"{mode.name}_fragments_udp_checksum_zero",
        "A fragment does not hold the octets that a checksum needs: 0 stays 0.",
        mode.config,
    )
    whole = udp(V4, b"u" * 900, check=0, flags=0)
    for piece, sent in request_pieces(mode, V4, whole):
        case.packet(FRONT, piece, [sent])
    return case


def interleaved():
    mode = Nat()
    case = Case(
        "nat_fragments_interleaved",
        "RFC 791 3.2: source, destination, protocol and id tell datagrams apart.",
        "nat",
    )
    wholes = [
        udp(
            V4,
            bytes([65 + n]) * 900,
            flags=0,
            id=7 + (n == 1),
            cport=40000 + n,
            client=(V4.client2 if n == 2 else None),
        )
        for n in range(3)
    ]
    all_pieces = [request_pieces(mode, V4, whole) for whole in wholes]
    for row in zip(*all_pieces):
        for piece, sent in row:
            case.packet(FRONT, piece, [sent])
    return case


def held_expires():
    case = Case(
        "nat_fragment_without_first",
        "design: a later fragment is held for a second; then it is the kernel's to answer.",
        "nat",
    )
    later = fragments(datagram(V4, 1000, df=False), MTU)[1]
    case.packet(FRONT, later)
    return case.idle(4.0, punt="fragment")


def held_limit():
    case = Case(
        "nat_fragments_held_limit",
        "design: four later fragments of a datagram are held, the fifth is dropped by name.",
        "nat",
    )
    mode = Nat()
    whole = udp(V4, b"u" * 2900, flags=0)
    pieces = request_pieces(mode, V4, whole)
    later = pieces[1:]
    for index, (piece, _) in enumerate(later):
        case.packet(FRONT, piece, **({"drop_waiting_full": 1} if index >= 4 else {}))
    return case.packet(FRONT, pieces[0][0], [sent for _, sent in [pieces[0], *later[:4]]])


def of_dropped(fam):
    case = Case(
        f"nat_fragment_of_dropped_{fam.name}",
        "The first fragment found no server (3/3, 1/4 quotes it); the rest ends with a name of its own.",
        weightless("nat"),
    )
    first, later = fragments(datagram(fam, 1000, df=False), MTU)
    case.packet(
        FRONT, first, [to_client(fam, "port_unreachable", first)], drop_no_server=1, answer_port_unreachable=1
    )
    return case.packet(FRONT, later, drop_fragment_of_dropped=1)


def of_punted():
    case = Case("nat_fragments_of_echo", "A.3: ping -s 3000 to a VIP is the local stack's, all of it.", "nat")
    whole = V4.ip(V4.client, V4.vip, flags=0) / ICMP() / Raw(b"p" * 1000)
    first, later = fragments(whole, MTU)
    case.packet(FRONT, first, punt="icmp")
    return case.packet(FRONT, later, punt="fragment")


def alien():
    case = Case(
        "nat_fragments_alien",
        "A fragmented datagram that a server sends for itself stays the kernel's.",
        "nat",
    )
    whole = V4.ip(V4.server[11], V4.client, flags=0) / UDP(sport=5353, dport=53) / Raw(b"q" * 900)
    first, later = fragments(whole, MTU)
    case.packet(BACK, first, punt="alien")
    return case.packet(BACK, later, punt="fragment")


def atomic():
    case = Case(
        "nat_atomic_fragment_v6", "RFC 6946: offset 0 without M is a whole packet; the header is kept.", "nat"
    )
    mode = Nat()
    whole = udp(V6, b"whole")
    (arrived,) = fragments(whole, 1500)
    (sent,) = fragments(mode.seen_by_server(V6, whole, 53), 1500)
    return case.packet(FRONT, arrived, [out(BACK, hop(sent), mode.to_server_mac)])


def tiny():
    """RFC 1858: the first fragment must hold the TCP header."""
    case = Case(
        "nat_tiny_first_fragment",
        "RFC 1858 3, RFC 7112 5: a first fragment without the whole transport header is dropped.",
        "nat",
    )
    for fam in FAMILIES:
        whole = tcp(fam, "S", data=b"x" * 64, **({"flags_ip": 0} if fam is V4 else {}))
        first = fragments(whole, fam.header + 8 + (8 if fam is V6 else 0))[0]
        case.packet(FRONT, first, drop_malformed=1)
    return case


def beyond_64k():
    case = Case(
        "nat_fragment_beyond_64k",
        "ip_frag_queue: a fragment that ends beyond 65535 octets is dropped (ping of death).",
        "nat",
    )
    packet = V4.ip(V4.client, V4.vip, flags=0, frag=8189, proto=17) / Raw(b"x" * 64)
    return case.packet(FRONT, packet, drop_malformed=1)


def tcp_fragments(mode, fam):
    """A data segment of an open connection, in fragments."""
    case = Case(
        f"{mode.name}_tcp_fragments_{fam.name}",
        "A.4: a fragmented segment follows its connection.",
        mode.config,
    )
    send(case, mode, fam, tcp(fam, "S"))
    whole = tcp(fam, "PA", 1001, 1, b"d" * 900, **({"flags_ip": 0} if fam is V4 else {}))
    arrived, sent = fragments(whole, MTU), fragments(mode.seen_by_server(fam, whole, 80), MTU)
    for index, (piece, view) in enumerate(zip(arrived, sent)):
        holes = mode.request_holes(view) if index == 0 else []
        case.packet(FRONT, piece, [out(BACK, hop(view), mode.to_server_mac, *holes)])
    return case


def cut_again(mode):
    """Fragments that are still too large for the way out."""
    case = Case(
        f"{mode.name}_fragments_cut_again",
        "ip_do_fragment: a fragment over the MTU is cut; offsets count from the datagram, MF stays.",
        mode.config,
        mtu=(1500, 1400),
    )
    whole = udp(V4, b"u" * 1992, flags=0)
    arrived = fragments(whole, SIZE)
    for piece, seen in zip(arrived, fragments(mode.seen_by_server(V4, whole, 53), SIZE)):
        sent = [out(BACK, part, mode.to_server_mac) for part in fragments(hop(seen), 1400)]
        case.packet(FRONT, piece, sent)
    return case


def first_too_big_v6():
    case = Case(
        "nat_fragment_too_big_v6",
        "ensure_mtu_is_adequate: a first IPv6 fragment over the MTU gets packet too big.",
        "nat",
        mtu=(1500, 1400),
    )
    first = fragments(udp(V6, b"u" * 1992), SIZE)[0]
    about = to_client(V6, "packet_too_big", first, 1400, [quoted_ttl(V6)])
    return case.packet(FRONT, first, [about], drop_too_big=1, answer_packet_too_big=1)


def common(mode):
    for fam in FAMILIES:
        yield in_order(mode, fam)
        yield reversed_(mode, fam)
        if mode.two_way:
            yield tcp_fragments(mode, fam)
    yield no_checksum(mode)


def single():
    yield interleaved()
    yield cut_again(Nat())
    yield cut_again(Dr())
    yield first_too_big_v6()
    yield held_expires()
    yield held_limit()
    for fam in FAMILIES:
        yield of_dropped(fam)
    yield of_punted()
    yield alien()
    yield atomic()
    yield tiny()
    yield beyond_64k()
