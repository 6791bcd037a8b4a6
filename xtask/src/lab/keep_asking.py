"""One flow that changes its queue: python3 keep_asking.py tcp|udp ADDRESS TIMES INTERFACE

Asks TIMES times over one connection (or from one socket), and has the kernel send from
another TX queue of INTERFACE before each request (XPS: every CPU uses that one queue). On
a veth pair that is the RX queue at the other end. Prints who answered each; fails when
the interface has but one queue.
"""
import glob
import http.client
import socket
import sys
import time

protocol, address, times, interface = sys.argv[1:5]
queues = sorted(glob.glob(f"/sys/class/net/{interface}/queues/tx-*/xps_cpus"))
if len(queues) < 2:
    sys.exit(f"{interface} has one TX queue: there is nothing to move to")


def use(number):
    with open("/sys/devices/system/cpu/possible") as possible:
        cpus = int(possible.read().strip().rpartition("-")[2]) + 1
    for at, path in enumerate(queues):
        with open(path, "w") as mask:
            mask.write(f"{(1 << cpus) - 1:x}" if at == number % len(queues) else "0")
    time.sleep(0.05)  # the socket picks anew once nothing of it is in flight


def over_tcp():
    connection = http.client.HTTPConnection(address, 80, timeout=5)
    for number in range(int(times)):
        use(number)
        connection.request("GET", "/who")
        yield connection.getresponse().read().decode().strip()


def over_udp():
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((address, 53))
        for number in range(int(times)):
            use(number)
            sock.send(b"64 hello")
            yield sock.recv(65535).decode().partition(" ")[0]


try:
    for name in over_tcp() if protocol == "tcp" else over_udp():
        print(name)
finally:
    for path in queues:
        with open(path, "w") as mask:
            mask.write("0")
