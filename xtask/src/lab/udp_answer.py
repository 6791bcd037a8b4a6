"""A UDP server: python3 udp_answer.py NAME PORT...

A request starts with the size of the answer in decimal and a blank. The answer is that
many bytes: the server's name, a blank, the request's remainder, and dots. It leaves from
the address to which the request came, which for a DR or TUN server is the VIP.
"""
import selectors
import socket
import sys

IP_PKTINFO = 8


def serve(sock):
    request, ancillary, _, client = sock.recvmsg(65535, 256)
    size, _, rest = request.partition(b" ")
    answer = NAME + b" " + rest
    answer = (answer + b"." * int(size))[: max(int(size), len(NAME) + 1)]
    keep = []
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            # struct in_pktinfo: index, the local address, the header's destination. The
            # route decides the index; the local address is the answer's source.
            keep.append((level, kind, bytes(4) + data[8:12] + bytes(4)))
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            keep.append((level, kind, data[:16] + bytes(4)))
    sock.sendmsg([answer], keep, 0, client)


NAME = sys.argv[1].encode()
selector = selectors.DefaultSelector()
for port in map(int, sys.argv[2:]):
    for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        # A client on this host may ask from the same port; see udp_ask.py.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.bind((any_address, port))
        selector.register(sock, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        try:
            serve(key.fileobj)
        except (OSError, ValueError) as error:
            print(error, flush=True)
