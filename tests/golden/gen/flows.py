"""Conversations that every mode carries: TCP, UDP, options, checksums."""

from scapy.layers.inet import TCP, UDP, IPOption
from scapy.packet import Raw

from .case import Case, out
from .modes import Nat, reply
from .net import (
    BACK,
    FAMILIES,
    FRONT,
    ROUTER_MAC,
    SERVER_MAC,
    V4,
    V6,
    arrives,
    hop,
    readdress,
)

CPORT = 40000
SYN_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]


def tcp(fam, flags, seq=1000, ack=0, data=b"", back=False, cport=CPORT, vip=None, client=None, **fields):
    """A TCP segment between client and VIP, as the client sees it."""
    ends = (client or fam.client, vip or fam.vip)
    ports = dict(sport=cport, dport=80)
    if back:
        ends, ports = ends[::-1], dict(sport=80, dport=cport)
    header = {
        name: fields.pop(name) for name in ("ttl", "tos", "id", "flags_ip", "ip_options") if name in fields
    }
    if "flags_ip" in header:
        header["flags"] = header.pop("flags_ip")
    if "ip_options" in header:
        header["options"] = header.pop("ip_options")
    packet = fam.ip(*ends, **header) / TCP(**ports, flags=flags, seq=seq, ack=ack, window=64240, **fields)
    return packet / Raw(data) if data else packet


def udp(fam, data=b"ping", back=False, cport=CPORT, vip=None, client=None, check=None, **header):
    """A UDP datagram between client and VIP, as the client sees it."""
    ends = (client or fam.client, vip or fam.vip)
    ports = dict(sport=cport, dport=53)
    if back:
        ends, ports = ends[::-1], dict(sport=53, dport=cport)
    return fam.ip(*ends, **header) / UDP(**ports, chksum=check) / Raw(data)


def send(case, mode, fam, packet, **rest):
    """A step: the client's packet arrives, the server's leaves."""
    vport = 53 if UDP in packet else 80
    return case.packet(FRONT, packet, mode.request(fam, packet, vport), **rest)


def answer(case, mode, fam, packet, **rest):
    """A step: the server's packet arrives, the client's leaves."""
    vport = 53 if UDP in packet else 80
    mode.reply_step(case, fam, packet, vport, **rest)
    return case


def open_tcp(case, mode, fam):
    """A SYN, so that a connection exists."""
    return send(case, mode, fam, tcp(fam, "S", options=SYN_OPTIONS))


def handshake(mode, fam):
    """SYN, SYN+ACK, ACK, data, answer, FIN from both sides."""
    case = Case(
        f"{mode.name}_tcp_{fam.name}",
        "A.2: addresses and ports per mode, TTL - 1 in both directions, everything else kept.",
        mode.config,
    )
    there = [
        ("S", 1000, 0, b""),
        ("A", 1001, 5001, b""),
        ("PA", 1001, 5001, b"GET / HTTP/1.0\r\n\r\n"),
        ("FA", 1019, 5006, b""),
    ]
    back = {0: ("SA", 5000, 1001, b""), 2: ("PA", 5001, 1019, b"hello"), 3: ("FA", 5006, 1020, b"")}
    for index, (flags, seq, ack, data) in enumerate(there):
        extra = {"options": SYN_OPTIONS} if flags == "S" else {}
        send(case, mode, fam, tcp(fam, flags, seq, ack, data, **extra))
        if mode.two_way and index in back:
            flags, seq, ack, data = back[index]
            answer(case, mode, fam, tcp(fam, flags, seq, ack, data, back=True, ttl=63, tos=0))
    return case


def datagrams(mode, fam):
    """Two datagrams and, where answers pass here, two answers."""
    case = Case(
        f"{mode.name}_udp_{fam.name}",
        "A.2 and A.9: a datagram opens a connection; later ones " "of odd length follow it.",
        mode.config,
    )
    for data in (b"question", b"odd"):
        send(case, mode, fam, udp(fam, data))
        if mode.two_way:
            answer(case, mode, fam, udp(fam, data * 3, back=True))
    return case


def kept_fields(mode, fam):
    """What a director may not touch: DS field, id, DF, traffic class."""
    case = Case(
        f"{mode.name}_keeps_ds_and_id_{fam.name}",
        "A.2: TOS, id and DF are kept; TUN copies DS and, by the ECN rule, CE becomes ECT(0) "
        "outside (INET_ECN_encapsulate).",
        mode.config,
    )
    for tos in (0x03, 0xB9, 0x10):
        extra = {"id": 0xBEEF, "flags": "DF" if tos == 0x03 else 0} if fam is V4 else {"fl": 0xABCDE}
        send(case, mode, fam, udp(fam, b"tos%02x" % tos, tos=tos, **extra))
    return case


def padded(mode):
    """A 29-octet datagram in a 60-octet frame, in both directions."""
    case = Case(
        f"{mode.name}_padded_frame",
        "RFC 894: the pad is not part of the packet; the IP total "
        "length (29) rules, the kernel trims in ip_rcv_core (TUN: outer total length 49).",
        mode.config,
    )
    packet = udp(V4, b"x")
    case.frame(FRONT, arrives(FRONT, packet).ljust(60, b"\xa5"), mode.request(V4, packet, 53))
    if mode.two_way:
        back = udp(V4, b"y", back=True)
        sent = mode.sent_by_server(V4, back, 53)
        case.frame(BACK, arrives(BACK, sent).ljust(60, b"\xa5"), [reply(back)], holes=mode.reply_holes(sent))
    return case


def padded_v6(mode):
    case = Case(
        f"{mode.name}_trailing_octets_v6",
        "RFC 8200 3: the payload length rules; octets behind " "it are the link's.",
        mode.config,
    )
    packet = udp(V6, b"x")
    case.frame(FRONT, arrives(FRONT, packet) + b"\xa5" * 7, mode.request(V6, packet, 53))
    return case


def ip_options(mode):
    """Harmless IPv4 options stay, in both directions."""
    case = Case(
        f"{mode.name}_ip_options",
        "A.2: IP options are kept (record route is not filled in: "
        "here NOPs and router alert, RFC 2113, are carried).",
        mode.config,
    )
    options = [b"\x01\x01\x01\x01", b"\x94\x04\x00\x00"]
    for option in options:
        raw = tcp(V4, "S", id=1, options=SYN_OPTIONS)
        send(case, mode, V4, with_options(raw, option))
    return case


def with_options(packet, octets):
    """The packet with these octets as IPv4 options."""
    copy = packet.copy()
    copy.options = [IPOption(octets)]
    return copy


def incremental(check, old, new):
    """RFC 1624 eqn. 3 over pairs of 16-bit words."""
    total = ~check & 0xFFFF
    for before, after in zip(old, new):
        total += (~before & 0xFFFF) + after
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def words(fam, packet):
    """The words of the pseudo header and the ports, which a rewrite changes."""
    raw = bytes(packet)
    start = (12, 20) if fam is V4 else (8, 40)
    end = fam.header + 4
    chunk = raw[start[0] : start[1]] + raw[fam.header : end]
    return [int.from_bytes(chunk[i : i + 2], "big") for i in range(0, len(chunk), 2)]


def bad_checksum(mode, fam):
    """A wrong TCP checksum is neither dropped nor repaired."""
    case = Case(
        f"{mode.name}_bad_tcp_checksum_{fam.name}",
        "A.2 [K]: a bad TCP checksum is not dropped and stays as wrong as it was (RFC 1624).",
        mode.config,
    )
    good = tcp(fam, "S", options=SYN_OPTIONS)
    bad = good.copy()
    bad[TCP].chksum = type(good)(bytes(good))[TCP].chksum ^ 0x1234
    if not mode.two_way:
        return send(case, mode, fam, bad)
    holes = mode.request(fam, good, 80)[0].holes
    seen = mode.seen_by_server(fam, good, 80)
    wrong = hop(seen)
    wrong[TCP].chksum = incremental(bad[TCP].chksum, words(fam, good), words(fam, seen))
    case.packet(FRONT, bad, [out(BACK, wrong, mode.to_server_mac, *holes)])
    return case


def no_udp_checksum(mode):
    """IPv4 UDP checksum 0: NAT computes one, the others carry it."""
    case = Case(
        f"{mode.name}_udp_checksum_zero",
        "A.2 [K]: NAT fills a full checksum where the datagram "
        "had none (udp_dnat_handler); DR and TUN do not touch it.",
        mode.config,
    )
    packet = udp(V4, b"no checksum", check=0)
    frames = mode.request(V4, packet, 53)
    if mode.two_way:
        frames = mode.request(V4, udp(V4, b"no checksum"), 53)
    case.packet(FRONT, packet, frames)
    if mode.two_way:
        sent = mode.sent_by_server(V4, udp(V4, b"nor here", back=True, check=0), 53)
        case.frame(
            BACK, arrives(BACK, sent), [reply(udp(V4, b"nor here", back=True))], holes=mode.reply_holes(sent)
        )
    return case


def no_udp_checksum_v6():
    """IPv6 UDP without a checksum."""
    mode = Nat()
    case = Case(
        "nat_udp_checksum_zero_v6",
        "udp_dnat_handler: checksum 0 takes the full computation, in IPv6 too (RFC 8200 8.1).",
        "nat",
    )
    return case.packet(FRONT, udp(V6, b"none", check=0), mode.request(V6, udp(V6, b"none"), 53))


def checksum_of_ffff(mode, fam):
    """A datagram whose translated checksum comes out as 0."""
    case = Case(
        f"{mode.name}_udp_checksum_ffff_{fam.name}",
        "RFC 768: a computed checksum of zero is sent as all ones (CSUM_MANGLED_0), also after an update.",
        mode.config,
    )
    seen = mode.seen_by_server(fam, udp(fam, b"\0\0"), 53)
    filler = type(seen)(bytes(seen))[UDP].chksum.to_bytes(2, "big")
    result = mode.seen_by_server(fam, udp(fam, filler), 53)
    assert type(seen)(bytes(result))[UDP].chksum == 0xFFFF
    return send(case, mode, fam, udp(fam, filler))


def no_connection(mode, fam):
    """Segments that belong to no connection are the kernel's, which resets them."""
    case = Case(
        f"{mode.name}_no_connection_{fam.name}",
        "A.1: only SYN without RST is scheduled; the local stack answers the rest with RST.",
        mode.config,
    )
    for flags in ("A", "FA", "R", "SR"):
        case.packet(FRONT, tcp(fam, flags, 7, 8), punt="no_connection")
    return case


def common(mode):
    """The conversations of a mode, both families."""
    for fam in FAMILIES:
        yield handshake(mode, fam)
        yield datagrams(mode, fam)
        yield kept_fields(mode, fam)
        yield bad_checksum(mode, fam)
        yield no_connection(mode, fam)
    yield padded(mode)
    yield padded_v6(mode)
    yield ip_options(mode)
    yield no_udp_checksum(mode)


def tunnelled(mode):
    """What differs between tunnels."""
    for fam in FAMILIES:
        yield handshake(mode, fam)
        yield datagrams(mode, fam)
        yield kept_fields(mode, fam)
    yield padded(mode)


def aliens(mode):
    """What a server sends for itself from its service port is not translated."""
    case = Case(
        f"{mode.name}_alien",
        "design, punt: a server that talks from its service port to "
        "someone without a connection is the kernel's (nat_icmp_send=0: routed untranslated).",
        mode.config,
    )
    for fam in FAMILIES:
        case.packet(
            BACK, fam.ip(fam.server[11], fam.client) / UDP(sport=5353, dport=53) / Raw(b"q"), punt="alien"
        )
        case.packet(
            BACK, fam.ip(fam.server[11], fam.client) / TCP(sport=8080, dport=443, flags="S"), punt="alien"
        )
    return case


def reply_routes_unlike_request():
    """Unused MACs of the arriving frame never become next hops."""
    case = Case(
        "nat_next_hop_is_routed",
        "design: the next hop never comes from the arriving frame; "
        "here the request came from another router's MAC.",
        "nat",
    )
    packet = tcp(V4, "S")
    sent = hop(readdress(packet, dst=V4.server[11], dport=8080))
    case.packet(FRONT, packet, [out(BACK, sent, SERVER_MAC[11])], mac="02:00:00:00:00:aa")
    back = tcp(V4, "SA", 1, 1001, back=True)
    case.packet(
        BACK,
        readdress(back, src=V4.server[11], sport=8080),
        [out(FRONT, hop(back), ROUTER_MAC)],
        mac="02:00:00:00:02:bb",
    )
    return case
