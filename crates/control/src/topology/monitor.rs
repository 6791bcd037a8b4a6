//! The kernel's notifications: one netlink socket in all groups that concern forwarding.
//!
//! A socket of its own, not rtnetlink's connection: nexthop objects, which the message
//! crate does not know, must be noticed, and a lost message must be told from silence.

use std::{collections::VecDeque, io};

use netlink_packet_core::{NetlinkBuffer, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::{
    MulticastGroup,
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};

use super::{decode, state::Event};

const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Nexthop,
];

/// Octets of the socket's receive buffer; the kernel grants what `rmem_max` allows.
const RECEIVE_BUFFER: u32 = 4 << 20;

/// Octets of the largest datagram; a multipath route has some thousand.
const DATAGRAM: usize = 1 << 18;

/// `RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP`.
const NEXTHOP_MESSAGES: std::ops::RangeInclusive<u16> = 104..=105;

pub(super) struct Monitor {
    socket: TokioSocket,
    datagram: Vec<u8>,
    events: VecDeque<Event>,
}

/// What [`Monitor::next`] heard.
pub(super) enum Heard {
    /// One event.
    Event(Event),
    /// The kernel had to leave events out (`ENOBUFS`): everything must be read again. What
    /// it tells from here on is heard.
    Overrun,
}

impl Monitor {
    /// Subscribes; from here on nothing is missed.
    pub(super) fn subscribe() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_ref().set_rx_buf_sz(RECEIVE_BUFFER)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            socket.socket_ref().add_membership(group as u32)?;
        }
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM), events: VecDeque::new() })
    }

    /// Waits for the next event. May be cancelled: no event is lost by it.
    pub(super) async fn next(&mut self) -> io::Result<Heard> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Heard::Event(event));
            }
            self.datagram.clear();
            match self.socket.recv(&mut self.datagram).await {
                Ok(()) => self.events.extend(events(&self.datagram)),
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                    self.discard()?;
                    return Ok(Heard::Overrun);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Empties the socket. Until it was empty once, the kernel leaves out everything further
    /// without another error (`NETLINK_S_CONGESTED`).
    fn discard(&mut self) -> io::Result<()> {
        self.events.clear();
        loop {
            self.datagram.clear();
            match self.socket.socket_ref().recv(&mut self.datagram, 0) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

const ENOBUFS: i32 = 105;

/// The events in one datagram. What does not parse is left out with a log line.
fn events(mut datagram: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok(header) = NetlinkBuffer::new_checked(datagram) {
        let length = header.length() as usize;
        if NEXTHOP_MESSAGES.contains(&header.message_type()) {
            events.push(Event::NexthopObjects);
        } else {
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&datagram[..length]) {
                Ok(message) => events.extend(decode::event(&message)),
                Err(error) => log::warn!("netlink: a message that does not parse: {error}"),
            }
        }
        // NLMSG_ALIGN
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    events
}
