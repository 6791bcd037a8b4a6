"""Many UDP flows without sockets: flood.py INTERFACE MAC VIP PORT COUNT PORTS

Sends one datagram of each of COUNT flows out of INTERFACE to MAC: PORTS source ports, from
10000 on, of 10.1.0.1, then of 10.1.0.2 and so on.
"""
import socket
import struct
import sys
import time

interface, mac, vip = sys.argv[1:4]
port, count, ports = map(int, sys.argv[4:])


def ones_sum(header):
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def head(client):
    """Ethernet and IPv4 (RFC 791) of one client's datagrams with 18 octets of payload."""
    source = socket.inet_aton(f"10.1.{client >> 8}.{client & 255}")
    words = (0x45, 0, 46, 0, 0, 64, 17, 0, source, socket.inet_aton(vip))
    header = struct.pack("!BBHHHBBH4s4s", *words)
    header = header[:10] + struct.pack("!H", ones_sum(header)) + header[12:]
    return bytes.fromhex(mac.replace(":", "")) + b"\2\0\0\0\0\1\x08\0" + header


with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind((interface, 0))
    for number in range(count):
        client, source_port = divmod(number, ports)
        if source_port == 0:
            start = head(client + 1)
        # No checksum (RFC 768).
        sock.send(start + struct.pack("!HHHH", 10_000 + source_port, port, 26, 0) + bytes(18))
        if number % 64 == 63:
            # A veth keeps 256 frames until its other end, on this same machine, takes them.
            time.sleep(0.0005)
