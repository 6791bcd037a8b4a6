"""SCTP associations in every mode: addresses, ports, CRC32c, states as packets show them, errors, fragments."""

from scapy.layers.sctp import (
    SCTP,
    SCTPChunkAbort,
    SCTPChunkCookieAck,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkError,
    SCTPChunkHeartbeatReq,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkParamStateCookie,
    SCTPChunkShutdown,
    SCTPChunkShutdownAck,
    SCTPChunkShutdownComplete,
)
from scapy.packet import Raw

from .case import Case, out
from .configs import sctp as config
from .errors import cut, quoted_lport, quoted_ttl, room, to_client, to_server
from .flows import CPORT
from .fragments import MTU
from .icmp import HANDLED, error
from .modes import Dr, FullNat, Nat, Tun, reply
from .net import (
    BACK,
    FAMILIES,
    FRONT,
    ROUTER2_MAC,
    ROUTER_MAC,
    V4,
    V6,
    arrives,
    fragments,
    hop,
    quote,
)

CHANGED, KEPT = 5060, 2905

INIT = SCTPChunkInit(init_tag=0x1111, a_rwnd=106496, n_out_streams=10, n_in_streams=10, init_tsn=7)
INIT_ACK = SCTPChunkInitAck(
    init_tag=0x2222,
    a_rwnd=106496,
    n_out_streams=10,
    n_in_streams=10,
    init_tsn=9,
    params=[SCTPChunkParamStateCookie(cookie=b"c" * 32)],
)
ECHO = SCTPChunkCookieEcho(cookie=b"c" * 32)
ACK = SCTPChunkCookieAck()
ABORT, SHUTDOWN = SCTPChunkAbort(), SCTPChunkShutdown(cumul_tsn_ack=9)
SHUTDOWN_ACK, COMPLETE = SCTPChunkShutdownAck(), SCTPChunkShutdownComplete()
HEARTBEAT = SCTPChunkHeartbeatReq()


def data(size, octet=b"d"):
    """A DATA chunk of `size` octets in all, a multiple of 4."""
    return SCTPChunkData(data=octet * (size - 16), tsn=7, beginning=1, ending=1)


def sctp(fam, *chunks, back=False, vport=CHANGED, cport=CPORT, check=None, **header):
    """An SCTP packet between client and VIP, as the client sees it."""
    ends, ports = (fam.client, fam.vip), dict(sport=cport, dport=vport)
    if back:
        ends, ports = ends[::-1], dict(sport=vport, dport=cport)
    tag = 0 if chunks and isinstance(chunks[0], SCTPChunkInit) else 0x1111 if back else 0x2222
    packet = fam.ip(*ends, **header) / SCTP(**ports, tag=tag, chksum=check)
    for chunk in chunks:
        packet = packet / chunk.copy()
    return packet


def case_of(mode, label, why, **more):
    return Case(f"sctp_{mode.name}_{label}", why, f"sctp_{mode.name}", **more)


def send(case, mode, fam, *chunks, vport=CHANGED, at=None, **fields):
    """A step: the client's packet arrives, the server's leaves."""
    packet = sctp(fam, *chunks, vport=vport, **fields)
    return case.packet(FRONT, packet, mode.request(fam, packet, vport), at=at)


def answer(case, mode, fam, *chunks, vport=CHANGED, at=None, outs=None, counters=None, **fields):
    """A step: the server's packet arrives, the client's leaves."""
    packet = sctp(fam, *chunks, back=True, vport=vport, **fields)
    mode.reply_step(case, fam, packet, vport, outs=outs, at=at, **(counters or {}))
    return case


def conversation(mode, fam):
    """The four-way handshake, data of odd length, and the shutdown."""
    case = case_of(
        mode,
        fam.name,
        "A.2, A.9: as TCP; CRC32c follows changed ports (sctp_nat_csum) and covers no address (RFC 9260 6.8).",
    )
    for vport in (CHANGED, KEPT):
        there = [(INIT,), (ECHO,), (data(21),), (data(400, b"x"), HEARTBEAT), (SHUTDOWN,), (COMPLETE,)]
        back = {0: (INIT_ACK,), 1: (ACK,), 2: (data(35),), 4: (SHUTDOWN_ACK,)}
        for index, chunks in enumerate(there):
            send(case, mode, fam, *chunks, vport=vport)
            if mode.two_way and index in back:
                answer(case, mode, fam, *back[index], vport=vport, ttl=63)
    return case


def who_opens(mode, fam):
    case = case_of(
        mode,
        f"who_opens_{fam.name}",
        "A.1, sctp_conn_schedule: a first chunk INIT; others, and INIT behind another, are the local stack's, "
        "which answers ABORT.",
    )
    for chunks in (
        (data(20),),
        (INIT_ACK,),
        (ECHO,),
        (ACK,),
        (SHUTDOWN,),
        (SHUTDOWN_ACK,),
        (COMPLETE,),
        (SCTPChunkError(),),
        (ABORT,),
        (HEARTBEAT,),
        (data(20), INIT),
    ):
        case.packet(FRONT, sctp(fam, *chunks), punt="no_connection")
    return send(case, mode, fam, INIT)


def timeouts(mode, fam):
    """How long an association outlives its last packet tells its state."""
    case = case_of(
        mode,
        f"timeouts_{fam.name}",
        "A.9: INIT1 4 s, INIT 61 s, ESTABLISHED 900 s, CLOSED 61 s, by the table of the mode's direction.",
    )
    now = 0

    def lives(seconds, *chunks, cport=CPORT):
        """The chunks go through so many seconds after the last packet of the association."""
        nonlocal now
        now += seconds
        send(case, mode, fam, *chunks, cport=cport, at=now)

    def dead_after(seconds, cport=CPORT):
        nonlocal now
        now += seconds
        case.packet(FRONT, sctp(fam, data(20), cport=cport), punt="no_connection", at=now)

    def established(cport):
        lives(0, INIT, cport=cport)
        if mode.two_way:
            answer(case, mode, fam, INIT_ACK, cport=cport)
        send(case, mode, fam, ECHO, cport=cport)
        if mode.two_way:
            answer(case, mode, fam, ACK, cport=cport)

    lives(0, INIT)
    lives(3, HEARTBEAT)
    dead_after(6)
    if mode.name == "fullnat":  # the next association has another local port
        return case
    lives(0, INIT)
    lives(1, INIT)
    lives(60, HEARTBEAT)
    dead_after(63)
    for cport, end in ((CPORT + 1, None), (CPORT + 2, ABORT), (CPORT + 3, SHUTDOWN)):
        established(cport)
        if end is None:
            lives(899, data(20), cport=cport)
            dead_after(902, cport=cport)
            continue
        lives(0, end, cport=cport)
        lives(60, data(20), cport=cport)
        dead_after(63, cport=cport)
    return case


def rejected(fam):
    mode = Nat()
    case = case_of(
        mode, f"rejected_{fam.name}", "A.9: the server's ABORT in INIT1 makes REJECTED, 4 s; INIT opens it again."
    )
    send(case, mode, fam, INIT, at=0)
    answer(case, mode, fam, ABORT)
    send(case, mode, fam, data(20), at=3)
    case.packet(FRONT, sctp(fam, data(20)), punt="no_connection", at=9)
    send(case, mode, fam, INIT)
    answer(case, mode, fam, ABORT)
    send(case, mode, fam, INIT, at=11)
    return send(case, mode, fam, data(20), at=70)


def bad_checksum(mode, fam):
    case = case_of(
        mode,
        f"bad_checksum_{fam.name}",
        "A CRC32c that is wrong is not dropped and stays as wrong as it was, like TCP's in A.2 (the kernel's "
        "sctp_nat_csum makes a right one of it; RFC 9260 6.8: the receiver shall see it).",
    )
    for vport in (CHANGED, KEPT):
        good = sctp(fam, INIT, vport=vport)
        flipped = 0x00FF1200
        bad = sctp(fam, INIT, vport=vport, check=type(good)(bytes(good))[SCTP].chksum ^ flipped)
        if not mode.two_way:
            case.packet(FRONT, bad, mode.request(fam, bad, vport))
            continue
        sent = hop(mode.seen_by_server(fam, good, vport))
        sent[SCTP].chksum = type(sent)(bytes(sent))[SCTP].chksum ^ flipped
        case.packet(FRONT, bad, [out(BACK, sent, mode.to_server_mac)])
    return case


def limits(mode, fam):
    """TTL and MTU."""
    mtu = room(mode, fam, 1400)
    case = case_of(
        mode, f"ttl_and_mtu_{fam.name}", "A.2: as for TCP and UDP; the quote is untouched.", mtu=(1500, 1400)
    )
    late = sctp(fam, INIT, ttl=1)
    case.packet(
        FRONT, late, [to_client(fam, "time_exceeded", late)], drop_ttl_exceeded=1, answer_time_exceeded=1
    )
    send(case, mode, fam, INIT)
    size = mtu - mtu % 4
    big = sctp(fam, data(size + 4 - fam.header - 12))
    case.packet(
        FRONT,
        big,
        [to_client(fam, "packet_too_big", big, mtu, [quoted_ttl(fam)])],
        drop_too_big=1,
        answer_packet_too_big=1,
    )
    return send(case, mode, fam, data(size - fam.header - 12))


def fragmented_on_output(mode):
    case = case_of(
        mode,
        "fragmented_on_output",
        "A.2: without DF; the checksum is made for the whole before it is cut.",
        mtu=(1500, 1400),
    )
    send(case, mode, V4, INIT)
    packet = sctp(V4, data(1500 - 32), flags=0)
    whole = mode.request(V4, packet, CHANGED)[0]
    return case.packet(FRONT, packet, cut(whole, 1400, tunnel=mode.name == "tun"))


def no_server(fam):
    text = config("nat").replace("}]}", ", weight: 0}]}")
    case = Case(f"sctp_nat_no_server_{fam.name}", "A.1, ip_vs_leave: port unreachable, not ABORT.", text)
    packet = sctp(fam, INIT)
    return case.packet(
        FRONT,
        packet,
        [to_client(fam, "port_unreachable", packet)],
        drop_no_server=1,
        answer_port_unreachable=1,
    )


def carried_fragments(mode, fam, vport):
    """Fragments whose ports stay are carried in any order, both ways."""
    case = case_of(
        mode,
        f"fragments_{'dr_like' if not mode.two_way else 'same_port'}_{fam.name}",
        "A.4: CRC32c covers no address: what keeps its ports can be carried piece by piece.",
    )
    send(case, mode, fam, INIT, vport=vport)
    extra = {} if fam is V6 else {"flags": 0}
    whole = sctp(fam, data(1400), vport=vport, **extra)
    if mode.two_way:
        sent = [out(BACK, hop(p), mode.to_server_mac) for p in fragments(mode.seen_by_server(fam, whole, vport), MTU)]
    else:
        sent = [mode.request(fam, p, vport)[0] for p in fragments(whole, MTU)]
    pieces = fragments(whole, MTU)
    case.packet(FRONT, pieces[-1])
    case.packet(FRONT, pieces[0], [sent[0], sent[-1]])
    for piece, leaves in list(zip(pieces, sent))[1:-1]:
        case.packet(FRONT, piece, [leaves])
    if mode.two_way:
        whole = sctp(fam, data(1200), back=True, vport=vport, **extra)
        arrived = fragments(mode.sent_by_server(fam, whole, vport), MTU, ident=0xFEEDBEEF)
        for piece, view in zip(arrived, fragments(whole, MTU, ident=0xFEEDBEEF)):
            case.packet(BACK, piece, [out(FRONT, hop(view), ROUTER_MAC)])
    return case


def refused_fragments(mode, fam):
    """Fragments whose ports would change."""
    case = case_of(
        mode,
        f"fragments_{fam.name}",
        "Issue 3 part 8: CRC32c covers the whole packet, of which a fragment is a part: a named drop, both "
        "ways, whichever comes first.",
    )
    vport = CHANGED if mode.name == "nat" else KEPT
    send(case, mode, fam, INIT, vport=vport)
    extra = {} if fam is V6 else {"flags": 0}
    first, *later = fragments(sctp(fam, data(1400), vport=vport, **extra), MTU)
    case.packet(FRONT, first, drop_sctp_fragment=1)
    for piece in later:
        case.packet(FRONT, piece, drop_fragment_of_dropped=1)
    if mode.name == "nat":
        view = sctp(fam, data(800), back=True, vport=vport, **extra)
        first, later = fragments(mode.sent_by_server(fam, view, vport), MTU, ident=0xFEEDBEEF)
        case.packet(BACK, later)
        case.packet(BACK, first, drop_sctp_fragment=1, drop_fragment_of_dropped=1)
    return send(case, mode, fam, data(20), vport=vport)


def icmp_about_requests(mode, fam):
    case = case_of(
        mode,
        f"icmp_from_server_side_{fam.name}",
        "A.3: to the client from the VIP; the quote shows the VIP again, its CRC32c stays.",
    )
    request = sctp(fam, INIT, ttl=61)
    case.packet(FRONT, request, mode.request(fam, request, CHANGED))
    seen = mode.seen_by_server(fam, request, CHANGED)
    for index, kind in enumerate(HANDLED[fam.version]):
        source, mac = ((fam.server[11], None), (fam.router2, ROUTER2_MAC))[index % 2]
        # Ports and verification tag are the 8 octets that RFC 792 promises.
        size = fam.header + 8 if fam is V4 else None
        arrived = error(fam, source, fam.client, kind, quote(seen, octets=size))
        sent = hop(error(fam, fam.vip, fam.client, kind, quote(request, seen, size)))
        case.packet(BACK, arrived, [out(FRONT, sent, ROUTER_MAC)], mac=mac)
    return case


def icmp_about_answers(mode, fam):
    case = case_of(
        mode,
        f"icmp_from_client_side_{fam.name}",
        "A.3: to the server; NAT translates the quote, DR and TUN forward it as it is.",
    )
    request, back = sctp(fam, INIT, ttl=61), sctp(fam, INIT_ACK, back=True, ttl=61)
    case.packet(FRONT, request, mode.request(fam, request, CHANGED))
    size = fam.header + 8 if fam is V4 else None
    for kind in HANDLED[fam.version]:
        arrived = error(fam, fam.far_router, fam.vip, kind, quote(back, octets=size))
        if not mode.two_way:
            case.packet(FRONT, arrived, mode.request(fam, arrived, CHANGED))
            continue
        seen = mode.sent_by_server(fam, back, CHANGED)
        sent = hop(error(fam, fam.far_router, fam.server[11], kind, quote(seen, back, size)))
        case.packet(FRONT, arrived, [out(BACK, sent, mode.to_server_mac)])
    return case


def too_big_from_server(fam):
    mode = Nat()
    case = case_of(mode, f"reply_too_big_{fam.name}", "ip_forward.c: the server learns the MTU.", mtu=(1400, 1500))
    send(case, mode, fam, INIT)
    big = sctp(fam, data(1500 - fam.header - 12), back=True)
    sent = mode.sent_by_server(fam, big, CHANGED)
    about = to_server(fam, "packet_too_big", sent, 1400, [quoted_ttl(fam), *quoted_lport(mode, fam, sent)])
    case.packet(BACK, sent, [about], drop_too_big=1, answer_packet_too_big=1)
    return case


def padded(mode):
    """An INIT in a frame with trailing octets, which CRC32c does not cover."""
    case = case_of(mode, "padded_frame", "RFC 894: the pad is not part of the packet, nor of its checksum.")
    packet = sctp(V4, INIT, cport=CPORT + 9)
    case.frame(FRONT, arrives(FRONT, packet) + b"\xa5" * 9, mode.request(V4, packet, CHANGED))
    if mode.name == "nat":
        back = sctp(V4, ABORT, back=True, cport=CPORT + 9)
        sent = mode.sent_by_server(V4, back, CHANGED)
        case.frame(BACK, arrives(BACK, sent).ljust(60, b"\xa5"), [reply(back)])
    return case


def unknown_chunks(mode):
    """Chunks that LVS does not know count as DATA and are carried."""
    case = case_of(mode, "unknown_chunks", "A.9: an unknown chunk is DATA; what it holds is not looked at.")
    send(case, mode, V4, INIT)
    for chunk in (b"\x0f\0\0\x08\0\0\0\0", b"\xc0\0\0\x08\0\0\0\7", b"\xff\0\xff\xff", b"\x0a\0\0\0\6\0\0\4"):
        send(case, mode, V4, Raw(chunk))
    return case


def table():
    modes = (Nat(), FullNat(), Dr(), Tun())
    for mode in modes:
        for fam in FAMILIES:
            yield conversation(mode, fam)
            yield who_opens(mode, fam)
            yield timeouts(mode, fam)
            yield limits(mode, fam)
            if mode.name != "fullnat":
                yield bad_checksum(mode, fam)
                yield icmp_about_answers(mode, fam)
                yield carried_fragments(mode, fam, KEPT)
        # A FullNAT port is a hole, and a fragment does not hold what the checksum over it needs.
        if mode.name != "fullnat":
            yield fragmented_on_output(mode)
        yield padded(mode)
        yield unknown_chunks(mode)
    for fam in FAMILIES:
        yield rejected(fam)
        yield no_server(fam)
        yield too_big_from_server(fam)
        yield icmp_about_requests(Nat(), fam)
        for mode in (Nat(), FullNat()):
            yield refused_fragments(mode, fam)
