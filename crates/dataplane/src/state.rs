//! The state octet of a connection's entry: which protocol's state it is, and which one. Every
//! protocol has numbers of its own, so that counting, listing and expiry never mix them.

use crate::{
    forward::Protocol,
    policy::Timeouts,
    sctp,
    tcp::{self, Direction},
};

/// A connection's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// A TCP connection's.
    Tcp(tcp::State),
    /// UDP has a single one.
    Udp,
    /// An SCTP association's.
    Sctp(sctp::State),
}

/// Where SCTP's numbers begin in the octet; TCP's begin at 0, UDP's is [`tcp::UDP_STATE`].
const SCTP: u8 = 16;

impl State {
    /// The state of a connection that no packet has been seen of.
    pub const fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp(tcp::State::None),
            Protocol::Udp => Self::Udp,
            Protocol::Sctp => Self::Sctp(sctp::State::None),
        }
    }

    /// The state of a connection that only an ICMP error was seen of (`schedule_icmp`): UDP has
    /// none for that, and takes TCP's until its first datagram.
    pub const fn reported(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp | Protocol::Udp => Self::Tcp(tcp::State::None),
            Protocol::Sctp => Self::Sctp(sctp::State::None),
        }
    }

    /// True for [`State::reported`] of any protocol.
    pub const fn is_reported(self) -> bool {
        matches!(self, Self::Tcp(tcp::State::None) | Self::Sctp(sctp::State::None))
    }

    /// The number in the entry.
    #[inline]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp(state) => state as u8,
            Self::Udp => tcp::UDP_STATE,
            Self::Sctp(state) => SCTP + state as u8,
        }
    }

    /// The inverse of [`State::number`].
    #[inline]
    pub const fn from_number(number: u8) -> Option<Self> {
        if let Some(state) = tcp::State::from_u8(number) {
            return Some(Self::Tcp(state));
        }
        if number == tcp::UDP_STATE {
            return Some(Self::Udp);
        }
        let at = number.wrapping_sub(SCTP) as usize;
        if at < sctp::State::ALL.len() { Some(Self::Sctp(sctp::State::ALL[at])) } else { None }
    }

    /// The state after a packet with these [`flags`](crate::packet::Packet::flags), TCP's by the
    /// table of `secure_tcp` or the ordinary one.
    #[inline]
    pub const fn next(self, direction: Direction, flags: u8, secure: bool) -> Self {
        match self {
            Self::Tcp(state) => Self::Tcp(tcp::next(direction, state, flags, secure)),
            Self::Udp => Self::Udp,
            Self::Sctp(state) => Self::Sctp(sctp::next(direction, state, flags)),
        }
    }

    /// How long a connection may be idle in it, in seconds.
    pub const fn timeout(self, timeouts: &Timeouts) -> u32 {
        match self {
            Self::Tcp(state) => timeouts.tcp[state as usize],
            Self::Udp => timeouts.udp,
            Self::Sctp(state) => timeouts.sctp[state as usize],
        }
    }

    /// The name in `ipvsadm -Lc`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp(state) => state.name(),
            Self::Udp => "UDP",
            Self::Sctp(state) => state.name(),
        }
    }

    /// Counts in `ActiveConn`; the others count in `InActConn`.
    pub const fn active(self) -> bool {
        match self {
            Self::Tcp(state) => state.active(),
            Self::Udp => false,
            Self::Sctp(state) => state.active(),
        }
    }

    /// Makes the persistence template of the connection a lasting one: it is ASSURED.
    pub const fn assures(self) -> bool {
        matches!(self, Self::Tcp(tcp::State::Established) | Self::Sctp(sctp::State::Established))
    }

    /// The handshake is not over: counts against `limits.half_open`.
    pub const fn half_open(self) -> bool {
        match self {
            Self::Tcp(state) => state.half_open(),
            Self::Udp => false,
            Self::Sctp(state) => state.half_open(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinct_and_come_back() {
        let states: Vec<State> = (0..=u8::MAX).filter_map(State::from_number).collect();
        assert_eq!(states.len(), 11 + 1 + 14);
        for number in 0..=u8::MAX {
            if let Some(state) = State::from_number(number) {
                assert_eq!(state.number(), number);
            }
        }
    }

    /// LVS's timeouts in seconds, in the kernel's order of states.
    #[test]
    fn kernel_timeouts() {
        let sctp = [2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61];
        let tcp = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120];
        let timeouts = Timeouts::default();
        for (state, seconds) in sctp::State::ALL.into_iter().zip(sctp) {
            assert_eq!(State::Sctp(state).timeout(&timeouts), seconds, "{state:?}");
        }
        for (state, seconds) in tcp::State::ALL.into_iter().zip(tcp) {
            assert_eq!(State::Tcp(state).timeout(&timeouts), seconds, "{state:?}");
        }
        assert_eq!(State::Udp.timeout(&timeouts), 300);
    }

    #[test]
    fn only_established_sctp_is_active() {
        let active = |state: &&sctp::State| State::Sctp(**state).active();
        let states: Vec<_> = sctp::State::ALL.iter().filter(active).collect();
        assert_eq!(states, [&sctp::State::Established]);
    }
}
