"""The surroundings of every case: addresses, MACs, frames that arrive and leave.

Nothing here knows xlvs: packets are scapy's, checksums are computed by scapy.
"""

from dataclasses import dataclass

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

FRONT, BACK = 0, 1
OUR_MAC = ("02:00:00:00:00:01", "02:00:00:00:01:01")
ROUTER_MAC = "02:00:00:00:00:fe"
ROUTER2_MAC = "02:00:00:00:02:fe"
SERVER_MAC = {n: f"02:00:00:00:02:{n}" for n in (11, 12, 13)}
LOCAL_PORTS = (10000, 32767)
ETH = 14


@dataclass(frozen=True)
class Family:
    """The addresses of one IP version, and how its headers are laid out."""

    version: int
    client: str
    client2: str
    vip: str
    vip2: str
    front: str
    router: str
    far_router: str
    local: str
    server: dict
    router2: str
    remote: dict
    header: int

    def ip(self, src, dst, ttl=64, tos=0, **fields):
        """An IP header; IPv4 gets a fixed id and DF unless told otherwise."""
        if self.version == 6:
            return IPv6(src=src, dst=dst, hlim=ttl, tc=tos, **fields)
        return IP(src=src, dst=dst, ttl=ttl, tos=tos, **{"id": 0x1234, "flags": "DF", **fields})

    @property
    def name(self):
        return f"v{self.version}"


V4 = Family(
    4,
    "192.0.2.10",
    "192.0.2.20",
    "203.0.113.10",
    "203.0.113.11",
    "198.51.100.1",
    "198.51.100.254",
    "192.0.2.1",
    "10.0.2.1",
    {n: f"10.0.2.{n}" for n in (11, 12, 13)},
    "10.0.2.254",
    {n: f"10.0.4.{n}" for n in (11, 12, 13)},
    20,
)
V6 = Family(
    6,
    "2001:db8:1::10",
    "2001:db8:1::20",
    "2001:db8:f::10",
    "2001:db8:f::11",
    "2001:db8:2::1",
    "2001:db8:2::fe",
    "2001:db8:1::1",
    "fd00:2::1",
    {n: f"fd00:2::{n}" for n in (11, 12, 13)},
    "fd00:2::fe",
    {n: f"fd00:4::{n}" for n in (11, 12, 13)},
    40,
)
FAMILIES = (V4, V6)


def arrives(port, packet, mac=None):
    """The frame of `packet` as it arrives on a port, from the router or a server."""
    return bytes(
        Ether(dst=OUR_MAC[port], src=mac or (ROUTER_MAC, SERVER_MAC[11])[port], type=ethertype(packet))
        / packet
    )


def leaves(port, packet, mac):
    """The frame of `packet` as it leaves a port towards a neighbour's MAC."""
    return bytes(Ether(dst=mac, src=OUR_MAC[port], type=ethertype(packet)) / packet)


def ethertype(packet):
    return 0x86DD if bytes(packet)[0] >> 4 == 6 else 0x0800


def version(packet):
    return bytes(packet)[0] >> 4


def hop(packet):
    """A copy with TTL or hop limit one lower, as every forwarded packet has it (RFC 1812 5.3.1)."""
    copy = packet.copy()
    if isinstance(copy, IPv6):
        copy.hlim -= 1
    else:
        copy.ttl -= 1
    return copy


def readdress(packet, src=None, dst=None, sport=None, dport=None):
    """A copy with other endpoints; scapy recomputes the checksums it was free to compute."""
    copy = packet.copy()
    copy.src, copy.dst = src or copy.src, dst or copy.dst
    for layer in (TCP, UDP, SCTP):
        if layer in copy:
            copy[layer].sport = sport or copy[layer].sport
            copy[layer].dport = dport or copy[layer].dport
    return copy


def fragments(packet, mtu, ident=0x0BADCAFE, options_after_first=None):
    """The fragments that the kernel's ip_do_fragment and ip6_fragment make for `mtu`.

    Payloads are multiples of 8 that fill the MTU; the id, and an IPv4 fragment's own
    offset and MF, are kept.
    """
    if version(packet) == 6:
        return fragments6(packet, mtu, ident)
    whole = bytes(packet)
    head = (whole[0] & 15) * 4
    payload, room, pieces, at = whole[head:], mtu - head, [], 0
    base, more = IP(whole).frag, IP(whole).flags.MF
    while at < len(payload):
        last = len(payload) - at <= room
        piece = payload[at:] if last else payload[at : at + room // 8 * 8]
        header = IP(whole[:head])
        if options_after_first is not None and at:
            header.options = options_after_first
        header.flags = int(header.flags) & ~1 | (0 if last and not more else 1)
        header.frag, header.len, header.chksum = base + at // 8, head + len(piece), None
        pieces.append(header / Raw(piece))
        at += len(piece)
    return pieces


def fragments6(packet, mtu, ident):
    whole = bytes(packet)
    payload, room, pieces, at = whole[40:], mtu - 48, [], 0
    while at < len(payload):
        last = len(payload) - at <= room
        piece = payload[at:] if last else payload[at : at + room // 8 * 8]
        header = IPv6(whole[:40])
        header.nh, header.plen = 44, 8 + len(piece)
        ext = IPv6ExtHdrFragment(nh=whole[6], offset=at // 8, m=0 if last else 1, id=ident)
        pieces.append(header / ext / Raw(piece))
        at += len(piece)
    return pieces


def icmp4(kind, code, quote, mtu=0):
    """An ICMP error about `quote` (octets)."""
    return ICMP(type=kind, code=code, **({"nexthopmtu": mtu} if mtu else {})) / Raw(quote)


def icmp6(kind, code, quote, info=0):
    """An ICMPv6 error about `quote` (octets); `info` is the MTU or the pointer."""
    return {
        1: lambda: ICMPv6DestUnreach(code=code),
        2: lambda: ICMPv6PacketTooBig(code=code, mtu=info),
        3: lambda: ICMPv6TimeExceeded(code=code),
        4: lambda: ICMPv6ParamProblem(code=code, ptr=info),
    }[kind]() / Raw(quote)


def quote(packet, as_sent=None, octets=None):
    """The octets that an ICMP error quotes of `packet`.

    `as_sent` is the packet before the director changed its addresses: the kernel leaves the
    transport checksum of a quoted packet as it was sent (ip_vs_core.c, ip_vs_nat_icmp).
    """
    copy = packet.copy()
    if as_sent is not None:
        for layer in (TCP, UDP, SCTP):
            if layer in copy:
                copy[layer].chksum = type(as_sent)(bytes(as_sent))[layer].chksum
    return bytes(copy)[:octets]
