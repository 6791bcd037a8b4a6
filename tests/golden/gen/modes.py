"""The forwarding modes as pure functions on packets: what the server sees of a client's packet,
what it sends as an answer, and which frames the director makes of them.

A conversation is written once, as the client sees it; each mode tells the other view.
"""

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from .case import flow_label, ip_id, local_port, out, source_port
from .net import (
    BACK,
    FRONT,
    LOCAL_PORTS,
    ROUTER2_MAC,
    ROUTER_MAC,
    SERVER_MAC,
    arrives,
    hop,
    readdress,
    version,
)

SERVICE = {"tcp": (80, 8080), "udp": (53, 5353)}


class Nat:
    """Destination becomes the server's; the server answers the client through the director."""

    name, two_way, config = "nat", True, "nat"
    to_server_mac = SERVER_MAC[11]

    def server_port(self, vport):
        return {80: 8080, 53: 5353, 5060: 15060, 2905: 2905}[vport]

    def seen_by_server(self, fam, packet, vport):
        return readdress(packet, dst=fam.server[11], dport=self.server_port(vport))

    def sent_by_server(self, fam, packet, vport):
        return readdress(packet, src=fam.server[11], sport=self.server_port(vport))

    def request_holes(self, packet):
        return []

    reply_holes = request_holes

    def request(self, fam, packet, vport):
        """The frames that reach the server for a client's packet."""
        sent = hop(self.seen_by_server(fam, packet, vport))
        return [out(BACK, sent, self.to_server_mac, *self.request_holes(sent))]

    def reply_step(self, case, fam, packet, vport, outs=None, **rest):
        """A step: the server's version of `packet` arrives, the client's leaves."""
        sent = self.sent_by_server(fam, packet, vport)
        case.frame(
            BACK,
            arrives(BACK, sent),
            [reply(packet)] if outs is None else outs,
            holes=self.reply_holes(sent),
            **rest
        )


def reply(packet):
    """The answer that reaches the client."""
    return out(FRONT, hop(packet), ROUTER_MAC)


class FullNat(Nat):
    """As NAT, and the source becomes a local address with a port of its range."""

    name, config = "fullnat", "fullnat"

    def seen_by_server(self, fam, packet, vport):
        return readdress(
            packet, src=fam.local, sport=LOCAL_PORTS[0], dst=fam.server[11], dport=self.server_port(vport)
        )

    def sent_by_server(self, fam, packet, vport):
        return readdress(
            packet, src=fam.server[11], sport=self.server_port(vport), dst=fam.local, dport=LOCAL_PORTS[0]
        )

    def request_holes(self, packet):
        return [local_port(packet)]

    def reply_holes(self, packet):
        return [local_port(packet, offset=2)]


class Dr(Nat):
    """Only the frame's destination changes; the server answers the client itself."""

    name, two_way, config = "dr", False, "dr"

    def server_port(self, vport):
        return vport

    def seen_by_server(self, fam, packet, vport):
        return packet.copy()


GUE_PORT = 6080
GUE_SOURCE_PORTS = (32768, 60999)


class Tun(Nat):
    """Outer headers to the server: the IP header is of family `outer`, between it and the packet is
    nothing, or what `kind` (gue, gre) puts there, with its checksum or without."""

    two_way, to_server_mac = False, ROUTER2_MAC

    def __init__(self, outer=None, kind=None, check=False):
        self.outer, self.kind, self.check = outer, kind, check
        words = ["tun", kind, "csum" if check else None, "mixed" if outer else None]
        self.config = self.name = "_".join(word for word in words if word)

    def overhead(self, fam):
        """Octets of all outer headers."""
        own = {None: 0, "gue": 8 + 4, "gre": 8 if self.check else 4}[self.kind]
        return self.outer_family(fam).header + own

    def server_port(self, vport):
        return vport

    def outer_family(self, fam):
        return self.outer[fam.version] if self.outer else fam

    def request(self, fam, packet, vport):
        sent, holes = self.encapsulate(hop(packet), fam)
        return [out(BACK, sent, self.to_server_mac, *holes)]

    def encapsulate(self, inner, fam):
        """The tunnel packet and its holes."""
        outer = self.outer_family(fam)
        if not self.kind:
            return outer_ip(inner, outer, 41 if version(inner) == 6 else 4, inner)
        if self.kind == "gre":
            header = GRE(chksum_present=int(self.check), proto=0x86DD if version(inner) == 6 else 0x0800)
            return outer_ip(inner, outer, 47, header / Raw(bytes(inner)))
        # ipvs_gue_encap: version, control and header length 0, the payload's protocol, no flags.
        gue = bytes([0, 41 if version(inner) == 6 else 4, 0, 0])
        header = UDP(sport=GUE_SOURCE_PORTS[0], dport=GUE_PORT, chksum=None if self.check else 0)
        packet, holes = outer_ip(inner, outer, 17, header / Raw(gue + bytes(inner)))
        return packet, [*holes, source_port(packet, "flow", within=GUE_SOURCE_PORTS)]


def outer_ip(inner, outer, protocol, payload):
    """The packet with an outer IP header, and its holes (ip_vs_xmit.c, ip_vs_tunnel_xmit and its IPv6 twin).

    TTL and DS field come from the inner header as it travels on (TTL lowered), ECN by
    INET_ECN_encapsulate: CE becomes ECT(0); DF is copied, and then the id is 0; an IPv6
    inner header sets no DF.
    """
    v6_inside = version(inner) == 6
    tos, ttl = (inner.tc, inner.hlim) if v6_inside else (inner.tos, inner.ttl)
    tos = tos & ~3 | (2 if tos & 3 == 3 else tos & 3)
    if outer.version == 6:
        packet = IPv6(src=outer.local, dst=outer.remote[11], hlim=ttl, tc=tos, nh=protocol) / payload
        return packet, [flow_label()]
    df = not v6_inside and bool(inner.flags.DF)
    packet = (
        IP(
            src=outer.local,
            dst=outer.remote[11],
            ttl=ttl,
            tos=tos,
            proto=protocol,
            id=0,
            flags="DF" if df else 0,
        )
        / payload
    )
    return packet, [] if df else [ip_id()]
