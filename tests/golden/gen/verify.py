"""A lint of the tables that shares no code with the builders: names are unique, every frame that
leaves has a right length and right checksums (unless the case is about wrong ones)."""

from scapy.utils import checksum

from .modes import GUE_PORT


def crc32c(octets):
    """Bit by bit, from its definition (RFC 9260 appendix A)."""
    crc = 0xFFFFFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def verify(tables):
    names = set()
    for table, cases in tables.items():
        for case in cases:
            assert case.name not in names, f"{case.name} twice"
            names.add(case.name)
            for index, step in enumerate(case.steps):
                for entry in step["out"]:
                    where = f"{table}/{case.name} step {index}"
                    frame(bytes.fromhex(entry["frame"]), where, "_bad_" in case.name)


def frame(octets, where, bad_checksum):
    """Asserts that a frame's lengths and checksums agree."""
    packet = octets[14:]
    if packet[0] >> 4 == 4:
        head = (packet[0] & 15) * 4
        assert len(packet) == int.from_bytes(packet[2:4], "big"), f"{where}: total length"
        assert checksum(packet[:head]) == 0, f"{where}: header checksum"
        fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF
        protocol, ends = packet[9], packet[12:20]
    else:
        head, protocol, fragment = 40, packet[6], False
        assert len(packet) == 40 + int.from_bytes(packet[4:6], "big"), f"{where}: payload length"
        while protocol in (0, 43, 60):
            protocol, head = packet[head], head + 8 + packet[head + 1] * 8
        fragment, ends = protocol == 44, packet[8:40]
    if fragment or bad_checksum:
        return
    payload = packet[head:]
    if protocol == 17:  # octets behind the UDP length are not part of the datagram
        payload = payload[: int.from_bytes(payload[4:6], "big")]
    pseudo = ends + len(payload).to_bytes(4, "big") + protocol.to_bytes(4, "big")
    if protocol in (6, 17, 58):
        if not (protocol == 17 and payload[6:8] == b"\0\0"):
            assert checksum(pseudo + payload) == 0, f"{where}: transport checksum"
        if protocol == 17 and payload[2:4] == GUE_PORT.to_bytes(2, "big"):
            assert payload[8:12] in (b"\0\x04\0\0", b"\0\x29\0\0"), f"{where}: GUE"
            frame(octets[:14] + payload[12:], where + " inner", bad_checksum)
    elif protocol == 1:
        assert checksum(payload) == 0, f"{where}: ICMP checksum"
    elif protocol == 132:
        covered = payload[:8] + bytes(4) + payload[12:]
        assert crc32c(covered) == int.from_bytes(payload[8:12], "little"), f"{where}: CRC32c"
    elif protocol in (4, 41):
        frame(octets[:14] + payload, where + " inner", bad_checksum)
    elif protocol == 47:
        flags = int.from_bytes(payload[:2], "big")
        assert flags in (0, 0x8000), f"{where}: GRE flags"
        assert not flags or checksum(payload) == 0, f"{where}: GRE checksum"
        frame(octets[:14] + payload[8 if flags else 4 :], where + " inner", bad_checksum)
    else:
        raise AssertionError(f"{where}: protocol {protocol}")
