"""What nobody should send: each frame with a named drop, pass or punt."""

import struct

from scapy.layers.inet import IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Jumbo,
    PadN,
    RouterAlert,
)
from scapy.layers.sctp import SCTP, SCTPChunkAbort, SCTPChunkInit
from scapy.packet import Raw
from scapy.utils import checksum

from .case import Case, out
from .flows import CPORT, SYN_OPTIONS, send, tcp, udp
from .modes import Dr, FullNat, Nat
from .net import BACK, FAMILIES, FRONT, SERVER_MAC, V4, V6, arrives, hop, readdress

SYN4, SYN6 = bytes(tcp(V4, "S", options=SYN_OPTIONS)), bytes(tcp(V6, "S", options=SYN_OPTIONS))
UDP4, UDP6 = bytes(udp(V4, b"datagram")), bytes(udp(V6, b"datagram"))


class Wire(bytes):
    """Octets that go out as they are, where scapy would make them right."""


def patched(packet, *changes, fix=True):
    """A packet with octets exchanged; `fix` makes the IPv4 header checksum right again."""
    raw = bytearray(packet)
    for at, octets in changes:
        raw[at : at + len(octets)] = octets
    if fix and raw[0] >> 4 == 4 and 20 <= (raw[0] & 15) * 4 <= len(raw):
        head = (raw[0] & 15) * 4
        raw[10:12] = b"\0\0"
        raw[10:12] = checksum(bytes(raw[:head])).to_bytes(2, "big")
    return Wire(raw)


def framed(packet, ethertype=None):
    """The frame of raw octets from the router."""
    kind = ethertype if ethertype is not None else (0x86DD if packet[0] >> 4 == 6 else 0x0800)
    return bytes(arrives(FRONT, Raw(b"\0"))[:12]) + struct.pack("!H", kind) + bytes(packet)


def u16(number):
    return struct.pack("!H", number)


# name, why, frames, outcome ("drop_x" or the punt's reason)
def frames_table():
    lengths = "RFC 791, RFC 1122 3.2.1: a length contradicts another; ip_rcv_core drops (InHdrErrors)."
    yield "runts", lengths, [framed(SYN4)[:size] for size in (0, 1, 13, 14, 15, 24, 33)] + [
        framed(SYN6)[:size] for size in (14, 15, 40, 53)
    ], "drop_malformed"
    yield "ethertype_unknown", "Not IP: LLDP, ARP, an 802.3 length and a loopback test are the kernel's.", [
        framed(SYN4, kind) for kind in (0x88CC, 0x0806, 0x0060, 0x9000)
    ], "unhandled"
    yield "bad_version", "ip_rcv_core, ip6_rcv_core: the version must be that of the Ethernet type.", [
        framed(patched(SYN4, (0, b"\x55")), 0x0800),
        framed(patched(SYN4, (0, b"\x65"), fix=False), 0x0800),
        framed(SYN6, 0x0800),
        framed(SYN4, 0x86DD),
        framed(patched(SYN6, (0, b"\x50")), 0x86DD),
    ], "drop_malformed"
    yield "ihl_too_small", lengths, [
        framed(patched(SYN4, (0, bytes([0x40 | ihl])), fix=False)) for ihl in (0, 1, 4)
    ], "drop_malformed"
    yield "ihl_beyond_packet", lengths, [
        framed(patched(UDP4[:28], (0, b"\x4f"), (2, u16(28)))),
        framed(patched(UDP4[:24], (0, b"\x47"), (2, u16(24)), fix=False)),
    ], "drop_malformed"
    yield "total_length_beyond_frame", lengths, [
        framed(patched(SYN4, (2, u16(len(SYN4) + more)))) for more in (1, 100, 60000)
    ], "drop_malformed"
    yield "total_length_below_header", lengths, [
        framed(patched(SYN4, (2, u16(size)))) for size in (0, 19)
    ], "drop_malformed"
    yield "payload_length_beyond_frame_v6", "ip6_rcv_core: payload length beyond the frame.", [
        framed(patched(SYN6, (4, u16(len(SYN6) - 40 + more)))) for more in (1, 60000)
    ], "drop_malformed"
    yield "payload_length_zero_v6", "RFC 8200 3: length 0 without a jumbo option holds no TCP.", [
        framed(patched(SYN6, (4, u16(0))))
    ], "drop_malformed"
    yield "bad_ip_checksum", "RFC 1122 3.2.1.2: silently discarded; A.2: dropped by the stack.", [
        framed(patched(packet, (10, u16(int.from_bytes(packet[10:12], "big") ^ flip)), fix=False))
        for packet in (SYN4, UDP4)
        for flip in (1, 0x8000)
    ], "drop_bad_ip_checksum"
    yield "land", "CERT CA-1997-28: source and destination are the same.", [
        framed(fam_packet)
        for fam in FAMILIES
        for fam_packet in (
            bytes(fam.ip(fam.vip, fam.vip) / TCP(sport=80, dport=80, flags="S")),
            bytes(fam.ip(fam.vip, fam.vip) / UDP(sport=53, dport=53) / Raw(b"loop")),
        )
    ], "drop_land"
    yield "bad_source", "RFC 1122 3.2.1.3, RFC 4291 2.5.2, 2.7: martians; no host has these.", [
        framed(bytes(V4.ip(src, V4.vip) / TCP(sport=CPORT, dport=80, flags="S")))
        for src in ("0.0.0.0", "127.0.0.1", "127.255.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255")
    ] + [
        framed(bytes(V6.ip(src, V6.vip) / TCP(sport=CPORT, dport=80, flags="S")))
        for src in ("::", "::1", "ff02::1", "ff0e::5")
    ], "drop_bad_source"
    yield "vlan_tag", "design: tagged frames pass to the kernel until supported (802.1Q, 802.1ad).", [
        framed(SYN4)[:12] + tag + framed(SYN4)[12:]
        for tag in (b"\x81\0\0\x05", b"\x88\xa8\0\x05", b"\x81\0\0\0")
    ], "unhandled"
    yield "truncated_tcp", "RFC 9293 3.1: less than a TCP header (IPVS: NF_DROP if it cannot be read).", [
        framed(patched(SYN4[: 20 + size], (2, u16(20 + size)))) for size in (0, 1, 4, 13, 19)
    ] + [framed(patched(SYN6[: 40 + size], (4, u16(size)))) for size in (1, 4, 13, 19)], "drop_malformed"
    yield "truncated_udp", "RFC 768: less than the 8 octets of a UDP header.", [
        framed(patched(UDP4[: 20 + size], (2, u16(20 + size)))) for size in (0, 1, 4, 7)
    ] + [framed(patched(UDP6[: 40 + size], (4, u16(size)))) for size in (1, 4, 7)], "drop_malformed"
    yield "tcp_data_offset", "RFC 9293 3.1: below 5 or beyond the segment (tcp_v4_rcv drops both).", [
        framed(patched(packet, (head + 12, bytes([words << 4]))))
        for packet, head in ((SYN4, 20), (SYN6, 40))
        for words in (0, 4, 15)
    ], "drop_malformed"
    yield "udp_length", "RFC 768: below 8 or beyond the packet (udp_rcv drops both); 0 in IPv6: jumbo.", [
        framed(patched(packet, (head + 4, u16(size))))
        for packet, head in ((UDP4, 20), (UDP6, 40))
        for size in (0, 7, 17, 65535)
    ], "drop_malformed"
    yield "other_protocols", "AH, ESP, GRE, and protocol 0 are not services: the kernel's.", [
        framed(bytes(V4.ip(V4.client, V4.vip, proto=proto) / Raw(b"\0" * 32)))
        for proto in (51, 50, 47, 0, 255)
    ] + [
        framed(bytes(V6.ip(V6.client, V6.vip, nh=proto) / Raw(b"\0" * 32)))
        for proto in (50, 47, 59, 255)
    ] + [
        framed(bytes(V6.ip(V6.client, V6.vip, nh=51) / Raw(b"\x06\x04" + b"\0" * 22) / tcp(V6, "S")[TCP]))
    ], "unhandled"
    yield "sctp_not_a_service", "design, match contract: SCTP to a VIP that has no SCTP service.", [
        framed(bytes(fam.ip(fam.client, fam.vip) / SCTP(sport=CPORT, dport=80) / chunk))
        for fam in FAMILIES
        for chunk in (SCTPChunkInit(init_tag=1), SCTPChunkAbort(), Raw(b"\0" * 32))
    ], "alien"
    yield "truncated_sctp", "RFC 9260 3: no chunk behind the common header (sctp_conn_schedule: NF_DROP).", [
        framed(bytes(V4.ip(V4.client, V4.vip, proto=132) / Raw(b"\x9c\x40\0\x50" + b"\0" * (size - 4))))
        for size in (4, 8, 11, 12, 15)
    ] + [
        framed(bytes(V6.ip(V6.client, V6.vip, nh=132) / Raw(b"\0" * size))) for size in (1, 4, 8, 12, 15)
    ], "drop_malformed"
    yield "not_a_service", "design, match contract: other ports and addresses, multicast, broadcast.", [
        framed(bytes(packet))
        for packet in (
            V4.ip(V4.client, V4.vip) / TCP(sport=CPORT, dport=22, flags="S"),
            V4.ip(V4.client, V4.vip) / UDP(sport=CPORT, dport=80) / Raw(b"x"),
            V4.ip(V4.client, V4.front) / TCP(sport=CPORT, dport=80, flags="S"),
            V4.ip(V4.client, "10.0.2.12") / TCP(sport=CPORT, dport=80, flags="S"),
            V4.ip(V4.client, "255.255.255.255") / UDP(sport=68, dport=67) / Raw(b"x"),
            V4.ip(V4.client, "224.0.0.251") / UDP(sport=5353, dport=5353) / Raw(b"x"),
            V6.ip(V6.client, V6.vip) / TCP(sport=CPORT, dport=22, flags="S"),
            V6.ip(V6.client, "ff02::fb") / UDP(sport=5353, dport=5353) / Raw(b"x"),
        )
    ], "alien"
    yield from options_table()


def options_table():
    def with_options(octets):
        packet = tcp(V4, "S")
        packet.options = [IPOption(octets)]
        raw = bytes(packet)
        assert raw[20 : 20 + len(octets)] == octets
        return framed(raw)

    yield "source_route", "RFC 7126 4.3, 4.4: loose and strict, wherever they stand among the options.", [
        with_options(bytes.fromhex(text))
        for text in (
            "830704c0000201" "00",
            "890704c0000201" "00",
            "01010101" "830704c0000201" "00",
            "94040000" "01890704c0000201" "000000",
        )
    ], "drop_source_route"
    yield "broken_options", "ip_options_compile: an option's length is 0, 1 or leads beyond the header.", [
        framed(patched(SYN4[:20] + octets + SYN4[20:], (0, b"\x46"), (2, u16(len(SYN4) + 4))))
        for octets in (b"\x94\x00\0\0", b"\x94\x01\0\0", b"\x94\x05\0\0", b"\x01\x01\x01\x94")
    ], "drop_malformed"
    yield "jumbogram", "RFC 2675, ipv6_hop_jumbo: a length not above 65535 or beyond the frame.", [
        framed(
            patched(
                bytes(
                    V6.ip(V6.client, V6.vip)
                    / IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=size)])
                    / tcp(V6, "S")[TCP]
                ),
                (4, u16(0)),
            )
        )
        for size in (28, 70000)
    ], "drop_malformed"
    chain = V6.ip(V6.client, V6.vip) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    whole = bytes(chain / tcp(V6, "S")[TCP])
    yield "extension_header_cut", "RFC 8200 4: an extension header that ends beyond the packet.", [
        framed(patched(whole, (41, b"\x08"))),
        framed(patched(whole[:41], (4, u16(1)))),
        framed(patched(whole[:47], (4, u16(7)))),
    ], "drop_malformed"
    yield "routing_type_0", "RFC 5095: with segments left it must not be followed: a source route.", [
        framed(
            bytes(
                V6.ip(V6.client, V6.vip)
                / IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=1)
                / tcp(V6, "S")[TCP]
            )
        )
    ], "drop_source_route"


def from_table(name, why, frames, outcome):
    case = Case(f"hostile_{name}", why, "nat")
    for frame in frames:
        if outcome.startswith("drop_"):
            case.frame(FRONT, frame, **{outcome: 1})
        else:
            case.frame(FRONT, frame, punt=outcome)
    return case


def extension_headers(mode):
    """Harmless IPv6 extension headers before TCP stay where they are."""
    case = Case(
        f"{mode.name}_extension_headers",
        "ip_vs_fill_iph_skb finds TCP behind extension headers; they stay (RFC 8200 4.4: a "
        "routing header without segments left is ignored).",
        mode.config,
    )
    pad = PadN(optdata=b"\0" * 4)
    chains = [
        [IPv6ExtHdrHopByHop(options=[pad])],
        [IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)])],
        [IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=0)],
        [
            IPv6ExtHdrHopByHop(options=[RouterAlert()]),
            IPv6ExtHdrDestOpt(options=[pad]),
            IPv6ExtHdrRouting(addresses=[], segleft=0),
            IPv6ExtHdrDestOpt(options=[pad]),
        ],
    ]
    for index, chain in enumerate(chains):
        inner = tcp(V6, "S", cport=CPORT + index, options=SYN_OPTIONS)
        sent = mode.seen_by_server(V6, inner, 80)
        case.packet(FRONT, chained(inner, chain), [out(BACK, hop(chained(sent, chain)), mode.to_server_mac)])
    return case


def chained(packet, chain):
    """The packet with extension headers; with no segments left
    the checksum covers the destination of the IPv6 header."""
    plain = IPv6(bytes(packet))
    made = IPv6(src=packet.src, dst=packet.dst, hlim=packet.hlim, tc=packet.tc)
    for header in chain:
        made = made / header.copy()
    return made / plain[TCP]


def short_udp_length():
    """The IP packet has more octets than the UDP length says: both are kept."""
    case = Case(
        "nat_udp_length_below_packet",
        "udp_rcv: a UDP length below the packet's is legal; the rest is carried, outside of the checksum.",
        "nat",
    )
    for fam in FAMILIES:
        whole = udp(fam, b"datagram")
        sent = hop(readdress(whole, dst=fam.server[11], dport=5353))
        for octets, port in ((whole, FRONT),):
            case.frame(port, framed(tailed(octets)), [raw_out(tailed(sent))])
    return case


def tailed(packet, tail=b"tail"):
    raw = bytes(packet) + tail
    at = 2 if raw[0] >> 4 == 4 else 4
    return patched(raw, (at, u16(int.from_bytes(raw[at : at + 2], "big") + len(tail))))


def raw_out(octets):
    """A frame to the server from octets."""
    return out(BACK, (IP if octets[0] >> 4 == 4 else IPv6)(octets), SERVER_MAC[11])


def reserved_bit():
    case = Case(
        "nat_reserved_flag", "RFC 791, RFC 3514: the kernel ignores the reserved flag and keeps it.", "nat"
    )
    return send(case, Nat(), V4, tcp(V4, "S", flags_ip="evil+DF"))


def spoofed_outer():
    """IP in IP towards the box is not a service."""
    case = Case("tun_ipip_to_the_box", "No service has protocol 4 or 41: the kernel's.", "tun")
    for fam in FAMILIES:
        case.packet(
            FRONT, V4.ip(V4.client, V4.local, proto=4 if fam is V4 else 41) / tcp(fam, "S"), punt="unhandled"
        )
    return case


def fullnat_strangers():
    """To a FullNAT port without a connection, or from the wrong server."""
    mode = FullNat()
    case = Case(
        "fullnat_stranger_to_local_port",
        "A local port is one connection's with one server port; what others send there is the kernel's.",
        "fullnat",
    )
    send(case, mode, V4, tcp(V4, "S"))
    view = tcp(V4, "SA", 1, 1001, back=True)
    right = mode.sent_by_server(V4, view, 80)
    for wrong in (readdress(right, sport=8081), readdress(right, src=V4.server[12])):
        case.packet(BACK, wrong, punt="alien", holes=mode.reply_holes(wrong))
    return case


def table():
    for row in frames_table():
        yield from_table(*row)
    for mode in (Nat(), Dr()):
        yield extension_headers(mode)
    yield short_udp_length()
    yield reserved_bit()
    yield spoofed_outer()
    yield fullnat_strangers()
