"""One datagram in a tunnel: encapsulated.py CLIENT VIP LOCAL SERVER CLIENT_NAMESPACE, run
on the director. It sends a question from the client to the VIP's port 53 inside an outer
header from LOCAL to SERVER, and prints the answer that the client gets."""
import subprocess
import sys

from scapy.all import IP, UDP, Raw, conf, raw
from scapy.layers.inet6 import IPv6
import socket

client, vip, local, server, namespace = sys.argv[1:6]
LISTEN = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
sock = socket.socket(family, socket.SOCK_DGRAM)
sock.settimeout(3)
sock.bind((sys.argv[1], 4000))
sock.connect((sys.argv[2], 53))
print("ready", flush=True)
print(sock.recv(65535).decode())
"""
command = ["ip", "netns", "exec", namespace, "/usr/bin/python3", "-c", LISTEN, client, vip]
listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
assert listener.stdout.readline() == "ready\n"

inner = (IPv6 if ":" in client else IP)(src=client, dst=vip) / UDP(sport=4000, dport=53)
inner = raw(inner / Raw(b"20 hello"))
# The kernel finds the next hop; the outer header is scapy's.
if ":" in server:
    outer = IPv6(src=local, dst=server, nh=41 if ":" in client else 4) / Raw(inner)
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sock.sendto(raw(outer), (server, 0))
else:
    outer = IP(src=local, dst=server, proto=41 if ":" in client else 4) / Raw(inner)
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sock.sendto(raw(outer), (server, 0))
answer, _ = listener.communicate(timeout=5)
print(answer, end="")
