//! The sockets of probes: ordinary ones of the kernel, on this box's own addresses or, for
//! [`Via::Service`], in a namespace from which packets take the way of clients' packets.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::sys::socket::{
    setsockopt,
    sockopt::{Ipv4RecvErr, Ipv6RecvErr},
};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::Interest,
    net::{TcpSocket, TcpStream, UdpSocket},
};

use crate::{
    ServerId,
    check::{Target, Via},
    outcome::{Bad, Kind},
};

/// Whatever keeps a socket's packets on their way to one server, as long as it lives.
pub type Pin = Option<Box<dyn Send + Sync>>;

/// The way of clients' packets, as sockets see it. The director's control implements it.
pub trait ServicePath: Send + Sync {
    /// A socket of this kind in the probes' namespace, bound to one of `probe_sources` of the
    /// target's family and to a port whose packets go to this server while the pin lives.
    ///
    /// # Errors
    /// No probe source of that family, no free port; the kernel's own.
    fn socket(&self, server: ServerId, target: SocketAddr, kind: Type)
    -> io::Result<(Socket, Pin)>;
}

/// What probes make their sockets with.
#[derive(Clone, Default)]
pub struct Net {
    service: Option<Arc<dyn ServicePath>>,
    /// How far a probe came that did not end in time.
    progress: Arc<Progress>,
}

/// Whether a connection was asked for, and made.
#[derive(Default)]
struct Progress {
    asked: AtomicBool,
    made: AtomicBool,
}

impl Net {
    /// With a way through the service, or without one: then probes that want it fail.
    pub fn new(service: Option<Arc<dyn ServicePath>>) -> Self {
        Self { service, progress: Arc::default() }
    }

    /// The same, for one probe.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.service.clone())
    }

    /// What was waited for when the time was over.
    pub(super) fn awaited(&self) -> &'static str {
        let Progress { asked, made } = &*self.progress;
        match (asked.load(Ordering::Relaxed), made.load(Ordering::Relaxed)) {
            (_, true) => "connected, but no complete answer",
            (true, false) => "no answer to the connection request",
            (false, false) => "no answer",
        }
    }

    /// A connection to the target's port; the pin must live as long as it.
    ///
    /// # Errors
    /// Refused, unreachable, or the box's own failure.
    pub(crate) async fn connect(&self, target: &Target) -> Result<(TcpStream, Pin), Bad> {
        let to = SocketAddr::new(target.address, target.port);
        let (socket, pin) = self.socket(target, Type::STREAM).map_err(local)?;
        let socket = TcpSocket::from_std_stream(socket.into());
        self.progress.asked.store(true, Ordering::Relaxed);
        let stream = socket.connect(to).await.map_err(|error| unreached(&error))?;
        self.progress.made.store(true, Ordering::Relaxed);
        Ok((stream, pin))
    }

    /// A UDP socket connected to the target's port, so that ICMP errors are heard.
    ///
    /// # Errors
    /// As [`Net::connect`].
    pub(crate) async fn datagrams(&self, target: &Target) -> Result<(UdpSocket, Pin), Bad> {
        let to = SocketAddr::new(target.address, target.port);
        let (socket, pin) = self.socket(target, Type::DGRAM).map_err(local)?;
        hear_errors(&socket, to).map_err(local)?;
        let socket = UdpSocket::from_std(socket.into()).map_err(local)?;
        socket.connect(to).await.map_err(|error| unreached(&error))?;
        Ok((socket, pin))
    }

    fn socket(&self, target: &Target, kind: Type) -> io::Result<(Socket, Pin)> {
        let to = SocketAddr::new(target.address, target.port);
        let Via::Service(path) = target.via else {
            return Ok((direct(target, to, kind, None)?, None));
        };
        let Some(service) = &self.service else {
            return Err(io::Error::other("there is no way through the service here"));
        };
        let (socket, pin) = service.socket(path.server, to, kind)?;
        socket.set_nonblocking(true)?;
        Ok((socket, pin))
    }
}

/// A socket on this box's own addresses, bound as the target says, not blocking.
pub(crate) fn direct(
    target: &Target,
    to: SocketAddr,
    kind: Type,
    protocol: Option<Protocol>,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), kind, protocol)?;
    socket.set_nonblocking(true)?;
    if let Some(interface) = &target.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if let Some(source) = target.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// The largest datagram.
const DATAGRAM: usize = 65_535;

/// The next datagram. Room for the largest one is taken only when one is there: thousands of
/// probes may wait.
///
/// # Errors
/// What ICMP says of the target.
pub(crate) async fn receive(socket: &UdpSocket) -> Result<Vec<u8>, Bad> {
    // ICMP's word makes a socket no readable one.
    let something = Interest::READABLE | Interest::ERROR;
    socket.ready(something).await.map_err(|error| unreached(&error))?;
    let mut octets = Vec::with_capacity(DATAGRAM);
    socket.recv_buf(&mut octets).await.map_err(|error| unreached(&error))?;
    Ok(octets)
}

/// Lets a socket of datagrams hear all that ICMP says of them. Without it (ip(7), `IP_RECVERR`) the
/// kernel keeps to itself that a router has no way to the host.
pub(super) fn hear_errors(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    let set = match to {
        SocketAddr::V4(_) => setsockopt(socket, Ipv4RecvErr, &true),
        SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvErr, &true),
    };
    set.map_err(io::Error::from)
}

/// The box could not even ask.
pub(crate) fn local(error: io::Error) -> Bad {
    Bad::new(Kind::Local, format!("this box cannot ask: {error}"))
}

/// What an error of connect, send or receive says of the server.
pub(crate) fn unreached(error: &io::Error) -> Bad {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        NetworkUnreachable, QuotaExceeded, TimedOut, UnexpectedEof,
    };
    // ICMP protocol unreachable, and ICMPv6 unrecognized next header (`icmp_err_convert`).
    let protocol = [Errno::NOPROTOOPT, Errno::PROTO].map(|errno| Some(errno.raw_os_error()));
    match error.kind() {
        _ if protocol.contains(&error.raw_os_error()) => {
            Bad::new(Kind::Unreachable, "the host does not know the protocol")
        }
        // ICMPv6 administratively prohibited, and routes that say so here.
        _ if error.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) => {
            Bad::new(Kind::Unreachable, "prohibited on the way")
        }
        ConnectionRefused => Bad::new(Kind::Refused, "connection refused"),
        HostUnreachable => Bad::new(Kind::Unreachable, "host unreachable"),
        NetworkUnreachable => Bad::new(Kind::Unreachable, "network unreachable"),
        ConnectionReset | ConnectionAborted | BrokenPipe => {
            Bad::new(Kind::Closed, "connection reset")
        }
        UnexpectedEof => Bad::new(Kind::Closed, "connection closed"),
        TimedOut => Bad::new(Kind::Timeout, "connection timed out"),
        // Ours, of [`super::limited`].
        QuotaExceeded => Bad::new(Kind::Malformed, error.to_string()),
        _ => Bad::new(Kind::Local, error.to_string()),
    }
}
