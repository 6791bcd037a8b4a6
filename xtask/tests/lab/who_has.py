"""Who answers for an address on this link: who_has.py INTERFACE ADDRESS prints every
link-layer address that answers an ARP request or a neighbour solicitation within 1 s."""
import ipaddress
import sys

from scapy.all import ARP, Ether, conf, srp
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6

interface, address = sys.argv[1:3]
conf.verb = 0
own = conf.ifaces[interface]
if ":" in address:
    # RFC 4291 2.7.1: the solicited-node group has the last 24 bits of the address.
    low = int(ipaddress.IPv6Address(address)) & 0xFFFFFF
    group = str(ipaddress.IPv6Address((0xFF02 << 112) | (0x1FF << 24) | low))
    source = next(ip for ip in own.ips[6] if not ip.startswith("fe80"))
    question = (
        Ether(dst=f"33:33:ff:{low >> 16:02x}:{low >> 8 & 255:02x}:{low & 255:02x}", src=own.mac)
        / IPv6(src=source, dst=group, hlim=255)
        / ICMPv6ND_NS(tgt=address)
        / ICMPv6NDOptSrcLLAddr(lladdr=own.mac)
    )
    kind = ICMPv6ND_NA
else:
    question = Ether(dst="ff:ff:ff:ff:ff:ff", src=own.mac) / ARP(psrc=own.ip, pdst=address)
    kind = ARP
answered, _ = srp(question, iface=interface, timeout=1, multi=True)
for mac in sorted({answer.src for _, answer in answered if kind in answer}):
    print(mac)
