"""Which cases are in which table."""

from . import flows
from .configs import CONFIGS
from .modes import Dr, FullNat, Nat, Tun
from .net import V4, V6

__all__ = ["CONFIGS", "tables"]

MODES = {"nat": [Nat()], "fullnat": [FullNat()], "dr": [Dr()],
         "tun": [Tun(), Tun(outer={4: V6, 6: V4})]}


def tables():
    """Table name -> cases."""
    result = {}
    for name, modes in MODES.items():
        result[name] = [case for mode in modes for case in flows.common(mode)]
    result["nat"] += [flows.aliens(Nat()), flows.reply_routes_unlike_request()]
    return result
