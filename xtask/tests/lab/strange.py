"""Packets that no program sends: strange.py syns|later|firsts VIP COUNT. From addresses where
nobody is: SYNs that are never completed; last fragments without a first one; first ones
without the others."""
import sys

from scapy.all import IP, TCP, UDP, Raw, conf, send

kind, vip, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
conf.verb = 0


def packet(number):
    outer = IP(src=f"192.0.2.{100 + number % 100}", dst=vip, id=1000 + number)
    if kind == "syns":
        return outer / TCP(sport=2000 + number, dport=80, flags="S", seq=number)
    if kind == "later":
        outer.frag = 185
        return IP(bytes(outer / Raw(bytes(64))))
    outer.flags = "MF"
    return outer / UDP(sport=2000 + number, dport=53, len=2008, chksum=0) / Raw(bytes(1472))


packets = [packet(number) for number in range(count)]
for one in packets:
    # Raw datagrams carry their protocol by themselves; a last fragment needs it told.
    if kind == "later":
        one.proto = 17
        del one.chksum
        del one.len
send(packets)
