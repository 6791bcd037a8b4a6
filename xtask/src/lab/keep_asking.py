"""One flow that changes its queue: keep_asking.py tcp|udp ADDRESS TIMES NAMESPACE INTERFACE

Asks TIMES times over one connection (or from one socket). Before each request INTERFACE
of NAMESPACE, the last hop before the director, is told to send everything by another of
its TX queues (XPS); on a veth pair that is the RX queue at the other end. Prints who
answered each; fails when the interface has but one queue.
"""
import http.client
import socket
import subprocess
import sys

protocol, address, times, namespace, interface = sys.argv[1:6]
# Reads "0 3", say: the mask for tx-0, the mask for tx-1; says so when it is done.
SETTER = f"""
cd /sys/class/net/{interface}/queues && echo $(ls -d tx-* | wc -l)
while read -r masks; do
    set -- $masks
    for queue in tx-*; do echo $1 >$queue/xps_cpus; shift; done
    echo done
done
"""
setter = subprocess.Popen(
    ["ip", "netns", "exec", namespace, "sh", "-c", SETTER],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
)
queues = int(setter.stdout.readline())
if queues < 2:
    sys.exit(f"{interface} has one TX queue: there is nothing to move to")
with open("/sys/devices/system/cpu/possible") as possible:
    ALL_CPUS = f"{(1 << int(possible.read().strip().rpartition('-')[2]) + 1) - 1:x}"


def masks(chosen):
    words = [ALL_CPUS if queue in chosen else "0" for queue in range(queues)]
    print(*words, file=setter.stdin, flush=True)
    assert setter.stdout.readline() == "done\n"


def over_tcp():
    connection = http.client.HTTPConnection(address, 80, timeout=5)
    for number in range(int(times)):
        masks([number % queues])
        connection.request("GET", "/who")
        yield connection.getresponse().read().decode().strip()


def over_udp():
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((address, 53))
        for number in range(int(times)):
            masks([number % queues])
            sock.send(b"64 hello")
            yield sock.recv(65535).decode().partition(" ")[0]


try:
    for name in over_tcp() if protocol == "tcp" else over_udp():
        print(name)
finally:
    masks(range(queues))
    setter.stdin.close()
