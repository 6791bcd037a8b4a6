//! The TCP states of a connection as a director sees them, with LVS's numbers, names and
//! transitions (`net/netfilter/ipvs/ip_vs_proto_tcp.c`).

use State::{
    Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA, Listen as LI,
    None as NO, SynAck as SA, SynRecv as SR, SynSent as SS, TimeWait as TW,
};

pub use crate::wire::tcp::{ACK, FIN, RST, SYN};

/// The state that UDP connections have in the table: none of TCP's, never active.
pub const UDP_STATE: u8 = 11;

/// The state, in the table, of a TCP connection that is over and whose ends are being reset:
/// [`State::Close`] in listings. Its packets are answered, not forwarded.
pub const RESETTING: u8 = 255;

/// A TCP connection's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// New.
    None = 0,
    /// Data may flow.
    Established = 1,
    /// The server opened it.
    SynSent = 2,
    /// The client opened it.
    SynRecv = 3,
    /// The first FIN was the server's; in DR and TUN the client's.
    FinWait = 4,
    /// Both sides are done.
    TimeWait = 5,
    /// Reset.
    Close = 6,
    /// The first FIN was the client's.
    CloseWait = 7,
    /// Waits for the last ACK.
    LastAck = 8,
    /// Reached by an ACK of the server only.
    Listen = 9,
    /// The server's SYN passed (`secure_tcp`).
    SynAck = 10,
}

impl State {
    /// All states; `ALL[state as usize] == state`.
    pub const ALL: [Self; 11] = [NO, ES, SS, SR, FW, TW, CL, CW, LA, LI, SA];

    /// The inverse of `self as u8`; nothing for [`UDP_STATE`] and other numbers.
    pub const fn from_u8(value: u8) -> Option<Self> {
        if (value as usize) < Self::ALL.len() { Some(Self::ALL[value as usize]) } else { None }
    }

    /// The name in `ipvsadm -Lc`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait => "FIN_WAIT",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::SynAck => "SYNACK",
        }
    }

    /// Counts in `ActiveConn`; the others count in `InActConn`.
    pub const fn active(self) -> bool {
        matches!(self, Self::Established | Self::SynSent | Self::SynRecv | Self::SynAck)
    }

    /// The handshake is not over.
    pub const fn half_open(self) -> bool {
        matches!(self, Self::SynSent | Self::SynRecv | Self::SynAck)
    }
}

/// Whose segment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The client's, where the server's pass here as well (NAT, FullNAT).
    Input,
    /// The server's.
    Output,
    /// The client's, where the server's do not pass here (DR, TUN).
    InputOnly,
}

/// The rows of an LVS table, in the order of the events: SYN, FIN, ACK, RST.
type Table = [[State; 11]; 4];

/// The columns are NO ES SS SR FW TW CL CW LA LI SA.
const TABLES: [Table; 3] = [
    [
        [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
        [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW],
        [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
        [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR],
    ],
    [
        [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR],
        [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
        [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
        [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
    ],
    [
        [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
        [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
        [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
        [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    ],
];

/// As [`TABLES`], while `secure_tcp` is in force (`tcp_states_dos`).
const SECURE: [Table; 3] = [
    [
        [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SA],
        [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, SA],
        [ES, ES, SS, SR, FW, TW, CL, CW, CL, LI, SA],
        [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    ],
    [
        [SS, ES, SS, SA, SS, SS, SS, SS, SS, LI, SA],
        [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
        [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
        [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
    ],
    [
        [SA, ES, ES, SR, SA, SA, SA, SA, SA, SA, SA],
        [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
        [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
        [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    ],
];

/// The state after a segment with these flags, by the table of `secure_tcp` or the ordinary
/// one; the two differ only for a SYN, and where the ordinary one changes the state. Of several flags RST counts before SYN
/// before FIN before ACK; a segment with none of them closes.
#[inline]
pub const fn next(direction: Direction, state: State, flags: u8, secure: bool) -> State {
    let event = if flags & RST != 0 {
        3
    } else if flags & SYN != 0 {
        0
    } else if flags & FIN != 0 {
        1
    } else if flags & ACK != 0 {
        2
    } else {
        return CL;
    };
    let tables = if secure { &SECURE } else { &TABLES };
    tables[direction as usize][event][state as usize]
}

/// By [`Direction`]: the states, as bits, that an ACK leaves as they are.
const KEPT_BY_ACK: [u64; 3] = {
    let mut kept = [0; 3];
    let mut at = 0;
    while at < State::ALL.len() {
        let mut direction = 0;
        while direction < kept.len() {
            let same = TABLES[direction][2][at] as usize == at;
            kept[direction] |= (same as u64) << at;
            direction += 1;
        }
        at += 1;
    }
    kept
};

/// True for a segment with ACK, and without SYN, FIN and RST, that leaves the connection in this
/// state, a number of whichever protocol: nearly all segments. Says no more than [`next`].
#[inline(always)]
pub(crate) const fn goes_on(direction: Direction, state: u8, flags: u8) -> bool {
    let kept = KEPT_BY_ACK[direction as usize] >> (state & 63) & 1;
    // Numbers beyond 63 are none of TCP's states; 63 is neither.
    flags & (SYN | FIN | RST | ACK) == ACK && kept == 1 && state < 64
}

#[cfg(test)]
mod tests {
    use super::{
        Direction::{Input, InputOnly, Output},
        *,
    };

    const PSH: u8 = 0x08;

    /// Whole conversations, as Debian's 6.1 kernel was seen to follow them.
    #[test]
    fn conversations() {
        type Step = (Direction, u8, State);
        let cases: [(&str, &[Step]); 9] = [
            (
                "NAT, the client closes",
                &[
                    (Input, SYN, SR),
                    (Output, SYN | ACK, SR),
                    (Input, ACK, ES),
                    (Output, PSH | ACK, ES),
                    (Input, FIN | ACK, CW),
                    (Output, FIN | ACK, TW),
                    (Input, ACK, TW),
                ],
            ),
            (
                "NAT, the server closes",
                &[
                    (Input, SYN, SR),
                    (Output, SYN | ACK, SR),
                    (Input, ACK, ES),
                    (Output, FIN | ACK, FW),
                    (Input, FIN | ACK, TW),
                ],
            ),
            ("NAT, the client resets a half-open one", &[(Input, SYN, SR), (Input, RST, SR)]),
            ("NAT, the server resets a half-open one", &[(Input, SYN, SR), (Output, RST, CL)]),
            ("NAT, the client resets", &[(Input, SYN, SR), (Input, ACK, ES), (Input, RST, CL)]),
            (
                "DR, the client closes",
                &[
                    (InputOnly, SYN, SR),
                    (InputOnly, ACK, ES),
                    (InputOnly, FIN | ACK, FW),
                    (InputOnly, ACK, FW),
                ],
            ),
            (
                "DR, the client's RST leaves a half-open one",
                &[(InputOnly, SYN, SR), (InputOnly, RST, SR)],
            ),
            (
                "a SYN opens TIME_WAIT again",
                &[(Input, SYN, SR), (Input, FIN, TW), (Input, SYN, SR)],
            ),
            ("no flag closes", &[(Input, SYN, SR), (Input, PSH, CL)]),
        ];
        for (name, steps) in cases {
            let mut state = State::None;
            for &(direction, flags, expected) in steps {
                state = next(direction, state, flags, false);
                assert_eq!(state, expected, "{name}: {direction:?} {flags:#04x}");
            }
        }
    }

    /// As Debian's 6.1 kernel was seen to follow it with `secure_tcp` 3, in NAT; and in DR.
    #[test]
    fn with_secure_tcp_the_server_must_confirm() {
        let nat = [
            (Input, SYN, SR),
            (Input, ACK, SR),
            (Output, SYN | ACK, SA),
            (Input, ACK, SA),
            (Output, ACK, ES),
            (Input, PSH | ACK, ES),
        ];
        let direct = [(InputOnly, SYN, SA), (InputOnly, ACK, ES), (InputOnly, FIN | ACK, FW)];
        for steps in [&nat[..], &direct[..]] {
            let mut state = State::None;
            for &(direction, flags, expected) in steps {
                state = next(direction, state, flags, true);
                assert_eq!(state, expected, "{direction:?} {flags:#04x}");
            }
        }
    }

    /// What lets an established packet ask the ordinary table only.
    #[test]
    fn tables_differ_for_a_servers_syn_or_where_the_ordinary_one_moves() {
        for direction in [Input, Output, InputOnly] {
            for state in State::ALL {
                for flags in [FIN, ACK, RST, 0, SYN] {
                    // The client's may open its connection: see `Breath::observe`.
                    if flags == SYN && direction == Output {
                        continue;
                    }
                    let ordinary = next(direction, state, flags, false);
                    let secure = next(direction, state, flags, true);
                    assert!(ordinary == secure || ordinary != state, "{direction:?} {state:?}");
                }
            }
        }
    }

    #[test]
    fn one_segment_is_one_event() {
        let all = RST | SYN | FIN | ACK;
        for (flags, state) in [(all, CL), (SYN | FIN | ACK, ES), (FIN | ACK, CW), (ACK, ES)] {
            assert_eq!(next(Input, ES, flags, false), state);
        }
    }

    #[test]
    fn numbers_names_and_counting() {
        let names: Vec<_> = State::ALL.iter().map(|state| state.name()).collect();
        let expected = "NONE ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT TIME_WAIT CLOSE CLOSE_WAIT \
                        LAST_ACK LISTEN SYNACK";
        assert_eq!(names.join(" "), expected);
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(State::from_u8(number as u8), Some(state));
            assert_eq!(state.active(), [ES, SS, SR, SA].contains(&state));
            assert_eq!(state.half_open(), state.active() && state != ES);
        }
        assert_eq!(State::from_u8(UDP_STATE), None);
    }

    #[test]
    fn what_goes_on_changes_nothing() {
        for direction in [Input, Output, InputOnly] {
            for state in 0..=u8::MAX {
                for flags in 0..=u8::MAX {
                    let plain = flags & (SYN | FIN | RST | ACK) == ACK;
                    let same = State::from_u8(state)
                        .is_some_and(|state| next(direction, state, flags, false) == state);
                    assert_eq!(goes_on(direction, state, flags), plain && same);
                }
            }
        }
    }
}
