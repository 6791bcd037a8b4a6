"""Cases, steps and the holes in frames; how they become JSON."""

from dataclasses import dataclass, field
from typing import Optional

from .net import ETH, LOCAL_PORTS, arrives, leaves, version


def hole(at, length, checksums=(), name=None, mask=None, within=None, other_than=None, sctp=None):
    """Octets of a frame that xlvs may choose, and the checksum fields that cover them; `sctp` is where
    the SCTP packet begins whose CRC32c covers them."""
    entry = {"at": at, "len": length}
    optional = {
        "checksums": list(checksums),
        "name": name,
        "mask": mask,
        "within": within and list(within),
        "not": other_than,
        "sctp": sctp,
    }
    entry.update({key: value for key, value in optional.items() if value not in (None, [])})
    return entry


def ip_id(at=ETH, name=None):
    """The id of an IPv4 header that we originate without DF."""
    return hole(at + 4, 2, [at + 10], name)


def flow_label(at=ETH):
    """The flow label of an IPv6 header that we originate: 0 or derived."""
    return hole(at + 1, 3, mask="0fffff")


def source_port(packet, name, **limits):
    """The source port of a TCP, UDP or SCTP packet, chosen by xlvs."""
    return port_hole(packet, 0, name, **limits)


def port_hole(packet, offset, name, **limits):
    transport = transport_offset(packet)
    if l4_protocol(packet) == 132:
        return hole(transport + offset, 2, name=name, sctp=transport, **limits)
    protocol, check = l4_protocol(packet), {6: 16, 17: 6}
    covered = [transport + check[protocol]]
    raw = bytes(packet)
    if protocol == 17 and raw[transport - ETH + 6 : transport - ETH + 8] == b"\0\0":
        covered = []
    return hole(transport + offset, 2, covered, name, **limits)


def transport_offset(packet):
    """Offset in the frame of the transport header; a fragment header is skipped."""
    raw = bytes(packet)
    if version(packet) == 4:
        return ETH + (raw[0] & 15) * 4
    return ETH + 40 + (8 if raw[6] == 44 else 0)


def l4_protocol(packet):
    raw = bytes(packet)
    if version(packet) == 4:
        return raw[9]
    return raw[40] if raw[6] == 44 else raw[6]


def local_port(packet, offset=0, name="lport"):
    """A FullNAT local port: free to choose within the range, then constant for the case."""
    return port_hole(packet, offset, name, within=LOCAL_PORTS)


@dataclass
class Out:
    """A frame that leaves."""

    port: int
    frame: bytes
    holes: list = field(default_factory=list)

    def to_json(self):
        entry = {"port": self.port, "frame": self.frame.hex()}
        if self.holes:
            entry["holes"] = self.holes
        return entry


def out(port, packet, mac, *holes):
    """The frame of `packet` towards `mac`, with holes."""
    return Out(port, leaves(port, packet, mac), list(holes))


@dataclass
class Case:
    """One row of a table."""

    name: str
    why: str
    config: str
    mtu: Optional[tuple] = None
    steps: list = field(default_factory=list)

    def frame(self, port, octets, outs=(), punt=None, at=None, holes=(), **counters):
        """A step with a whole frame given as octets; counters are `drop_x=1`, `answer_y=1`."""
        step = {}
        if at is not None:
            step["at"] = at
        if octets is not None:
            step.update({"port": port, "in": octets.hex()})
        if holes:
            step["in_holes"] = list(holes)
        step["out"] = [o.to_json() for o in outs]
        counts = {key.replace("_", ".", 1): value for key, value in counters.items()}
        if punt:
            step["punt"] = punt
            counts[f"punt.{punt}"] = 1
        step["counters"] = dict(sorted(counts.items()))
        self.steps.append(step)
        return self

    def packet(self, port, packet, outs=(), mac=None, **rest):
        """A step with an IP packet that arrives from the port's usual neighbour."""
        return self.frame(port, arrives(port, packet, mac), outs, **rest)

    def idle(self, at, **rest):
        """A step without a packet: time passes until `at` seconds."""
        return self.frame(None, None, at=at, **rest)

    def to_json(self):
        entry = {"name": self.name, "why": self.why, "config": self.config}
        if self.mtu:
            entry["topology"] = {"mtu": list(self.mtu)}
        entry["steps"] = self.steps
        return entry
