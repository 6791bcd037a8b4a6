//! SCTP associations as a director sees them, with LVS's numbers, names and transitions
//! (`net/netfilter/ipvs/ip_vs_proto_sctp.c`), and CRC32c where ports change (RFC 9260).
//! Addresses that INIT and INIT ACK list for multi-homing are carried as they are, as by LVS.

use State::{
    Closed as CL, CookieEchoed as CE, CookieReplied as CR, CookieSent as CS, CookieWait as CW,
    Established as ES, Init as IN, Init1 as I1, None as NO, Rejected as RJ, ShutdownAckSent as SA,
    ShutdownReceived as SR, ShutdownSent as SS, WaitCookie as CO,
};

use crate::{tcp::Direction, wire::u16_at};

/// Octets of the common header: ports, verification tag, checksum (RFC 9260 section 3.1).
pub const HEADER: usize = 12;
const CHECKSUM: usize = 8;
/// Octets of a chunk's own header: type, flags, length (RFC 9260 section 3.2).
const CHUNK: usize = 4;

/// Chunk types, RFC 9260 section 3.2.
pub mod chunk {
    /// User data; stands for every type without an effect of its own.
    pub const DATA: u8 = 0;
    /// Opens an association.
    pub const INIT: u8 = 1;
    /// Answers INIT, with a cookie.
    pub const INIT_ACK: u8 = 2;
    /// Ends the association at once.
    pub const ABORT: u8 = 6;
    /// No type of RFC 9260's: an ABORT behind another chunk. It ends an association as ABORT
    /// does, but a sloppy service takes the packet by its first chunk.
    pub const ABORT_BEHIND: u8 = 0xff;
    /// No more data from this side.
    pub const SHUTDOWN: u8 = 7;
    /// Answers SHUTDOWN.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Reports an error.
    pub const ERROR: u8 = 9;
    /// Brings the cookie back.
    pub const COOKIE_ECHO: u8 = 10;
    /// Answers COOKIE ECHO: the association is established.
    pub const COOKIE_ACK: u8 = 11;
    /// Ends the shutdown.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// An association's state, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// New.
    None = 0,
    /// The client's first INIT; short, since it may get lost.
    Init1 = 1,
    /// The client's later INIT.
    Init = 2,
    /// The server's INIT ACK passed.
    CookieSent = 3,
    /// The client brought the cookie back.
    CookieReplied = 4,
    /// The server opens: its INIT passed.
    CookieWait = 5,
    /// The client's INIT ACK passed.
    WaitCookie = 6,
    /// The server brought the cookie back.
    CookieEchoed = 7,
    /// Data may flow.
    Established = 8,
    /// The server shuts down.
    ShutdownSent = 9,
    /// The client shuts down.
    ShutdownReceived = 10,
    /// The server answered the shutdown.
    ShutdownAckSent = 11,
    /// INIT was answered by ABORT.
    Rejected = 12,
    /// Over.
    Closed = 13,
}

impl State {
    /// All states; `ALL[state as usize] == state`.
    pub const ALL: [Self; 14] = [NO, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL];

    /// The name in `ipvsadm -Lc`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Init1 => "INIT1",
            Self::Init => "INIT",
            Self::CookieSent => "C-SENT",
            Self::CookieReplied => "C-REPLIED",
            Self::CookieWait => "C-WAIT",
            Self::WaitCookie => "COOKIE",
            Self::CookieEchoed => "C-ECHOED",
            Self::Established => "ESTABLISHED",
            Self::ShutdownSent => "S-SENT",
            Self::ShutdownReceived => "S-RECEIVED",
            Self::ShutdownAckSent => "S-ACK-SENT",
            Self::Rejected => "REJECTED",
            Self::Closed => "CLOSED",
        }
    }

    /// Counts in `ActiveConn`; the others count in `InActConn`.
    pub const fn active(self) -> bool {
        matches!(self, Self::Established)
    }

    /// The four-way handshake has begun and is not over.
    pub const fn half_open(self) -> bool {
        matches!(self, I1 | IN | CS | CR | CW | CO | CE)
    }
}

/// The rows of an LVS table, in the order of the events: data, INIT, INIT ACK, COOKIE ECHO,
/// COOKIE ACK, SHUTDOWN, SHUTDOWN ACK, SHUTDOWN COMPLETE, ERROR, ABORT.
type Table = [[State; 14]; 10];

/// By [`Direction`]. The columns are NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL.
const TABLES: [Table; 3] = [
    [
        [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
        [I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN],
        [CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL],
        [CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
        [ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL],
        [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL],
        [CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL],
        [CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL],
        [CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL],
        [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL],
    ],
    [
        [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
        [CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW],
        [CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
        [CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL],
        [ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL],
        [SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL],
        [SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL],
        [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
        [CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
        [CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL],
    ],
    [
        [ES, I1, IN, CS, CR, ES, CO, CE, ES, SS, SR, SA, RJ, CL],
        [I1, IN, IN, IN, IN, IN, CO, CE, ES, SS, SR, SA, IN, IN],
        [CE, CE, CE, CE, CE, CE, CO, CE, ES, SS, SR, SA, RJ, CL],
        [ES, ES, ES, ES, ES, ES, CO, CE, ES, SS, SR, SA, RJ, CL],
        [ES, I1, IN, ES, ES, CW, ES, ES, ES, SS, SR, SA, RJ, CL],
        [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL],
        [CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL],
        [CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, CL, CL, RJ, CL],
        [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
        [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL],
    ],
];

/// The state after a packet with this [`event`].
#[inline]
pub const fn next(direction: Direction, state: State, event: u8) -> State {
    let row = match event {
        chunk::INIT => 1,
        chunk::INIT_ACK => 2,
        chunk::COOKIE_ECHO => 3,
        chunk::COOKIE_ACK => 4,
        chunk::SHUTDOWN => 5,
        chunk::SHUTDOWN_ACK => 6,
        chunk::SHUTDOWN_COMPLETE => 7,
        chunk::ERROR => 8,
        chunk::ABORT | chunk::ABORT_BEHIND => 9,
        _ => 0,
    };
    TABLES[direction as usize][row][state as usize]
}

/// The type of the first chunk of a packet, which is all that LVS looks at; where it is a
/// COOKIE ECHO or COOKIE ACK with an ABORT behind it, ABORT_BEHIND (`set_sctp_state`). `None` if there
/// is no chunk.
#[inline]
pub fn event(segment: &[u8]) -> Option<u8> {
    let first: &[u8; CHUNK] = segment.get(HEADER..)?.first_chunk()?;
    match first[0] {
        chunk::COOKIE_ECHO | chunk::COOKIE_ACK => {}
        // An unknown type, as DATA: the number means something else here.
        chunk::ABORT_BEHIND => return Some(chunk::DATA),
        other => return Some(other),
    }
    let length = usize::from(u16_at(first, 2));
    let second = segment.get(HEADER + length.next_multiple_of(4)..).unwrap_or_default();
    let aborts = length >= CHUNK && second.len() >= CHUNK && second[0] == chunk::ABORT;
    Some(if aborts { chunk::ABORT_BEHIND } else { first[0] })
}

/// Changes the ports of a whole packet. CRC32c covers them, but no address (RFC 9260 section
/// 6.8). It is linear over exclusive or: what changes it is the remainder of the difference of
/// the two packets, which is zero behind the ports. So a wrong checksum stays wrong, as with TCP;
/// the kernel computes a new one over whatever arrived (`sctp_nat_csum`).
pub fn set_ports(segment: &mut [u8], [sport, dport]: [u16; 2]) {
    let old = u32::from_be_bytes([segment[0], segment[1], segment[2], segment[3]]);
    let new = u32::from(sport) << 16 | u32::from(dport);
    if old == new {
        return;
    }
    segment[..4].copy_from_slice(&new.to_be_bytes());
    let change = remainder(old ^ new, segment.len() - 4).to_le_bytes();
    for (octet, change) in segment[CHECKSUM..HEADER].iter_mut().zip(change) {
        *octet ^= change;
    }
}

/// The remainder of these four octets with `zeros` octets of zero behind them, by the polynomial
/// of CRC32c, without the inversions of the checksum.
fn remainder(octets: u32, mut zeros: usize) -> u32 {
    const ZEROS: [u8; 2048] = [0; 2048];
    // The crate inverts what it is given and what it gives back: this begins with 0.
    let mut crc = crc32c::crc32c_append(!0, &octets.to_be_bytes());
    while zeros > 0 {
        let some = zeros.min(ZEROS.len());
        crc = crc32c::crc32c_append(crc, &ZEROS[..some]);
        zeros -= some;
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::{
        Direction::{Input, InputOnly, Output},
        *,
    };

    const NAMES: &str = "NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL";

    /// LVS's tables as `ip_vs_proto_sctp.c` prints them: events by chunk type, then the columns.
    const INPUT: &str = "
        0  ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
        1  I1 IN IN CS CR CW CO CE ES SS SR SA IN IN
        2  CW CW CW CS CR CO CO CE ES SS SR SA RJ CL
        10 CR IN IN CR CR CW CO CE ES SS SR SA RJ CL
        11 ES I1 IN CS CR CW CO ES ES SS SR SA RJ CL
        7  SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
        8  CL IN IN CS CR CW CO CE ES CL SR CL RJ CL
        14 CL CL CL CS CR CW CO CE ES SS SR CL RJ CL
        9  CL I1 IN CS CR CW CO CL ES SS SR SA RJ CL
        6  CL CL CL CL CL RJ CL CL CL CL CL CL CL CL";
    const OUTPUT: &str = "
        0  ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
        1  CW CW CW CW CW CW CW CW ES CW CW CW CW CW
        2  CS CS CS CS CR CW CO CE ES SS SR SA RJ CL
        10 CE CE CE CE CE CE CE CE ES SS SR SA RJ CL
        11 ES ES ES ES ES ES ES ES ES SS SR SA RJ CL
        7  SS SS SS SS SS SS SS SS SS SS SR SA RJ CL
        8  SA SA SA SA SA CW CO CE ES SA SA SA RJ CL
        14 CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
        9  CL CL CL CL CL CW CO CE ES SS SR SA RJ CL
        6  CL RJ CL CL CL CL CL CL CL CL CL CL CL CL";
    const INPUT_ONLY: &str = "
        0  ES I1 IN CS CR ES CO CE ES SS SR SA RJ CL
        1  I1 IN IN IN IN IN CO CE ES SS SR SA IN IN
        2  CE CE CE CE CE CE CO CE ES SS SR SA RJ CL
        10 ES ES ES ES ES ES CO CE ES SS SR SA RJ CL
        11 ES I1 IN ES ES CW ES ES ES SS SR SA RJ CL
        7  SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
        8  CL IN IN CS CR CW CO CE CL CL SR CL RJ CL
        14 CL CL CL CL CL CW CO CE ES SS CL CL RJ CL
        9  CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
        6  CL CL CL CL CL RJ CL CL CL CL CL CL CL CL";

    #[test]
    fn every_cell() {
        let names: Vec<_> = NAMES.split_whitespace().collect();
        let state = |name| State::ALL[names.iter().position(|n| *n == name).expect("a state")];
        let mut cells = 0;
        for (direction, table) in [(Input, INPUT), (Output, OUTPUT), (InputOnly, INPUT_ONLY)] {
            for row in table.trim().lines() {
                let mut words = row.split_whitespace();
                let chunk: u8 = words.next().expect("a chunk type").parse().expect("a number");
                for (from, to) in State::ALL.into_iter().zip(words) {
                    let found = next(direction, from, chunk);
                    assert_eq!(found, state(to), "{direction:?} {from:?} chunk {chunk}");
                    cells += 1;
                }
            }
        }
        assert_eq!(cells, 3 * 10 * 14);
    }

    #[test]
    fn other_chunks_count_as_data() {
        // SACK, HEARTBEAT and its answer, ECNE, CWR; AUTH, I-DATA, FORWARD TSN and unknown ones.
        for chunk in [3, 4, 5, 12, 13, 15, 64, 192, 254] {
            for direction in [Input, Output, InputOnly] {
                for state in State::ALL {
                    assert_eq!(next(direction, state, chunk), next(direction, state, chunk::DATA));
                }
            }
        }
    }

    /// Associations as RFC 9260 section 4 draws them.
    #[test]
    fn conversations() {
        use chunk::*;
        type Step = (Direction, u8, State);
        let cases: [(&str, &[Step]); 6] = [
            (
                "NAT, the client opens and closes",
                &[
                    (Input, INIT, I1),
                    (Output, INIT_ACK, CS),
                    (Input, COOKIE_ECHO, CR),
                    (Output, COOKIE_ACK, ES),
                    (Input, DATA, ES),
                    (Input, SHUTDOWN, SR),
                    (Output, SHUTDOWN_ACK, SA),
                    (Input, SHUTDOWN_COMPLETE, CL),
                ],
            ),
            (
                "NAT, the server closes",
                &[
                    (Input, INIT, I1),
                    (Output, INIT_ACK, CS),
                    (Input, COOKIE_ECHO, CR),
                    (Output, COOKIE_ACK, ES),
                    (Output, SHUTDOWN, SS),
                    (Input, SHUTDOWN_ACK, CL),
                ],
            ),
            ("NAT, the server refuses", &[(Input, INIT, I1), (Output, ABORT, RJ)]),
            ("NAT, INIT again", &[(Input, INIT, I1), (Input, INIT, IN)]),
            (
                "DR, the client opens and closes",
                &[
                    (InputOnly, INIT, I1),
                    (InputOnly, COOKIE_ECHO, ES),
                    (InputOnly, DATA, ES),
                    (InputOnly, SHUTDOWN, SR),
                    (InputOnly, SHUTDOWN_COMPLETE, CL),
                    (InputOnly, INIT, IN),
                ],
            ),
            ("DR, the client aborts", &[(InputOnly, INIT, I1), (InputOnly, ABORT, CL)]),
        ];
        for (name, steps) in cases {
            let mut state = State::None;
            for &(direction, chunk, expected) in steps {
                state = next(direction, state, chunk);
                assert_eq!(state, expected, "{name}: {direction:?} chunk {chunk}");
            }
        }
    }

    #[test]
    fn the_first_chunk_is_the_event_but_for_an_abort_behind_a_cookie() {
        let packet = |chunks: &[&[u8]]| [&[0; HEADER], &*chunks.concat()].concat();
        let (echo, ack): (&[u8], &[u8]) = (&[10, 0, 0, 7, 1, 2, 3, 0], &[11, 0, 0, 4]);
        let (abort, data): (&[u8], &[u8]) = (&[6, 0, 0, 4], &[0, 3, 0, 4]);
        let cases: [(&[&[u8]], Option<u8>); 12] = [
            (&[&[1, 0, 0, 20]], Some(1)),
            (&[echo, data], Some(10)),
            (&[echo, abort], Some(chunk::ABORT_BEHIND)),
            (&[ack, abort], Some(chunk::ABORT_BEHIND)),
            (&[&[255, 0, 0, 4]], Some(chunk::DATA)),
            // Only what stands right behind counts, and only whole chunk headers.
            (&[ack, data, abort], Some(11)),
            (&[ack, &[6, 0, 0]], Some(11)),
            (&[data, abort], Some(0)),
            // A length that no chunk has, and one that points out of the packet.
            (&[&[11, 0, 0, 3], abort], Some(11)),
            (&[&[10, 0, 0xff, 0xff], abort], Some(10)),
            (&[&[1, 0, 0]], None),
            (&[], None),
        ];
        for (chunks, expected) in cases {
            assert_eq!(event(&packet(chunks)), expected, "{chunks:?}");
        }
        assert_eq!(event(&[0; HEADER - 1]), None);
    }

    #[test]
    fn names_and_counting() {
        let names: Vec<_> = State::ALL.iter().map(|state| state.name()).collect();
        let expected = "NONE INIT1 INIT C-SENT C-REPLIED C-WAIT COOKIE C-ECHOED ESTABLISHED \
                        S-SENT S-RECEIVED S-ACK-SENT REJECTED CLOSED";
        assert_eq!(names.join(" "), expected);
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
            assert_eq!(state.active(), state == ES);
        }
    }

    /// CRC32c bit by bit, from its definition (RFC 9260 appendix A).
    fn checksum(segment: &[u8]) -> u32 {
        let mut crc = !0u32;
        for (at, octet) in segment.iter().enumerate() {
            let covered = if (CHECKSUM..HEADER).contains(&at) { 0 } else { *octet };
            crc ^= u32::from(covered);
            for _ in 0..8 {
                crc = crc >> 1 ^ (if crc & 1 == 1 { 0x82f6_3b78 } else { 0 });
            }
        }
        !crc
    }

    fn stored(segment: &[u8]) -> u32 {
        u32::from_le_bytes(segment[CHECKSUM..HEADER].try_into().expect("four octets"))
    }

    #[test]
    fn a_changed_checksum_equals_a_recomputed_one_and_a_wrong_one_stays_as_wrong() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u32
        };
        for len in (HEADER..64).chain([1480, 2048, 2052, 2053, 3998, 9000]) {
            let mut segment: Vec<u8> = (0..len).map(|_| next() as u8).collect();
            let wrong = if len % 2 == 0 { 0 } else { next() };
            let right = checksum(&segment);
            segment[CHECKSUM..HEADER].copy_from_slice(&(right ^ wrong).to_le_bytes());
            let ports = [next() as u16, next() as u16];
            set_ports(&mut segment, ports);
            assert_eq!([u16_at(&segment, 0), u16_at(&segment, 2)], ports);
            assert_eq!(stored(&segment), checksum(&segment) ^ wrong, "{len} octets");
        }
    }
}
