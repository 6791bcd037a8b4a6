"""One live connection: live.py ADDRESS SECONDS keeps asking for /who over one connection,
ten times a second, and prints the server and the milliseconds that each answer took."""
import http.client
import sys
import time

address, seconds = sys.argv[1], float(sys.argv[2])
connection = http.client.HTTPConnection(address, 80, timeout=10)
end = time.monotonic() + seconds
while time.monotonic() < end:
    start = time.monotonic()
    connection.request("GET", "/who")
    name = connection.getresponse().read().decode().strip()
    print(name, round((time.monotonic() - start) * 1000), flush=True)
    time.sleep(0.1)
