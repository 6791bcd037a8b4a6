"""Which cases are in which table."""

from . import errors, flows, fragments, hostile, icmp, scheduling, sctp
from .configs import CONFIGS
from .modes import Dr, FullNat, Nat, Tun
from .net import V4, V6

__all__ = ["CONFIGS", "tables"]

MODES = {"nat": [Nat()], "fullnat": [FullNat()], "dr": [Dr()], "tun": [Tun(), Tun(outer={4: V6, 6: V4})]}


def tunnels():
    """GUE and GRE, with a checksum and without, over their own and the other family."""
    for kind in ("gue", "gre"):
        for check in (False, True):
            for outer in (None, {4: V6, 6: V4}):
                yield Tun(outer, kind, check)


PARTS = (flows.common, errors.from_both_sides, icmp.common, fragments.common)


def tables():
    """Table name -> cases."""
    result = {}
    for name, modes in MODES.items():
        result[name] = [case for mode in modes for part in PARTS for case in part(mode)]
    result["nat"] += [flows.no_udp_checksum_v6(), *(flows.checksum_of_ffff(Nat(), fam) for fam in (V4, V6))]
    result["nat"] += [flows.aliens(Nat()), flows.reply_routes_unlike_request()]
    result["errors"] = [*errors.single(), errors.forbidden_fragment()]
    result["icmp"] = list(icmp.single())
    result["fragments"] = list(fragments.single())
    result["scheduling"] = list(scheduling.table())
    result["sctp"] = list(sctp.table())
    result["tunnels"] = [case for mode in tunnels() for case in flows.tunnelled(mode)]
    narrow = [mode for mode in tunnels() if bool(mode.outer) == (mode.kind == "gre") ^ mode.check]
    parts = (errors.from_both_sides, icmp.tunnelled)
    result["tunnels"] += [case for mode in narrow for part in parts for case in part(mode)]
    result["hostile"] = list(hostile.table())
    return result
