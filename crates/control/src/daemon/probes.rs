//! Health probes by way of services: ordinary sockets in a network namespace of their own, whose
//! only way out is a TAP that the workers serve as a port.
//!
//! The thread `xlvs-probes` lives in the namespace and makes the sockets; two more read and
//! write the TAP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Weak},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use dataplane::{
    director::Director,
    probe_port::{self, ProbePort, ProbeTap},
    topology::Mac,
};
use health::probe::{Pin, ServicePath};
use rtnetlink::RouteMessageBuilder;
use socket2::{Domain, Socket, Type};
use xsk::{Tap, Waker};

use super::{
    StartError,
    privileges::{self, Task},
    workers::{spawn, spawn_as_control},
};
use crate::kernel::sysctl;

/// A socket that is wanted in the namespace: where it is bound, and who waits for it.
struct Wanted {
    from: SocketAddr,
    kind: Type,
    to: Sender<io::Result<Socket>>,
}

/// The namespace, before the workers serve it.
pub(super) struct Probes {
    /// The hardware address of its TAP.
    pub(super) mac: Mac,
    tap: Arc<Tap>,
    way: Arc<Way>,
}

/// Makes the namespace for probes from these addresses; nothing for none.
pub(super) fn open(
    sources: &[IpAddr],
    director: &Arc<Director>,
) -> Result<Option<Probes>, StartError> {
    if sources.is_empty() {
        return Ok(None);
    }
    let (wanted, orders) = bounded::<Wanted>(64);
    let (give, made) = bounded(1);
    let addresses = sources.to_vec();
    let run = move || match enter(&addresses) {
        Ok(tap) => {
            privileges::limit(Task::Probes);
            let _ = give.send(Ok(tap));
            serve_orders(&orders);
        }
        Err(error) => drop(give.send(Err(error))),
    };
    spawn_as_control("xlvs-probes".to_owned(), run)?;
    let ended = || io::Error::other("its thread ended");
    let made = made.recv().map_err(|_| StartError::Probes(ended()))?;
    let (tap, mac) = made.map_err(StartError::Probes)?;
    let way = Way { wanted, director: Arc::clone(director), sources: sources.to_vec() };
    Ok(Some(Probes { mac, tap: Arc::new(tap), way: Arc::new(way) }))
}

impl Probes {
    /// What makes the probes' sockets.
    pub(super) fn way(&self) -> Arc<dyn ServicePath> {
        Arc::<Way>::clone(&self.way)
    }

    /// A port for each worker, and the threads' side of them.
    pub(super) fn ports(self, workers: usize, room: usize) -> (Vec<ProbePort>, ProbeTap) {
        probe_port::open(self.tap, workers, room)
    }
}

/// Starts the threads that read and write the TAP; the reader wakes the first worker.
pub(super) fn serve(
    tap: ProbeTap,
    worker: Waker,
    director: &Arc<Director>,
) -> Result<(), StartError> {
    let ProbeTap { reader, writer } = tap;
    let daemon: Weak<Director> = Arc::downgrade(director);
    let read = move || {
        if let Err(error) = reader.run(&worker, || daemon.strong_count() == 0) {
            log::error!("probes by way of services have ended: cannot read their TAP: {error}");
        }
    };
    spawn("xlvs-probes-out".to_owned(), read)?;
    spawn("xlvs-probes-in".to_owned(), move || writer.run())?;
    Ok(())
}

/// Enters a new namespace and makes its TAP, with the sources' addresses and a route to
/// everywhere.
fn enter(sources: &[IpAddr]) -> io::Result<(Tap, Mac)> {
    xsk::enter_new_network_namespace()?;
    let tap = Tap::open("probes")?;
    sysctl::prepare_probes(tap.name()).map_err(io::Error::other)?;
    tap.set_up_without_arp()?;
    let mac = Mac(xsk::link::mac(tap.name())?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(furnish(tap.index(), sources))?;
    Ok((tap, mac))
}

async fn furnish(index: u32, sources: &[IpAddr]) -> io::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    for source in sources {
        let length = if source.is_ipv4() { 32 } else { 128 };
        let added = handle.address().add(index, *source, length).execute().await;
        added.map_err(io::Error::other)?;
    }
    let mut routes = Vec::new();
    if sources.iter().any(IpAddr::is_ipv4) {
        routes.push(RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).build());
    }
    if sources.iter().any(IpAddr::is_ipv6) {
        routes.push(RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).build());
    }
    for route in routes {
        handle.route().add(route).execute().await.map_err(io::Error::other)?;
    }
    Ok(())
}

/// Makes sockets, until nobody wants any more.
fn serve_orders(orders: &Receiver<Wanted>) {
    for Wanted { from, kind, to } in orders {
        let socket = Socket::new(Domain::for_address(from), kind, None)
            .and_then(|socket| socket.bind(&from.into()).map(|()| socket));
        // Who wanted it may be gone by now.
        let _ = to.send(socket);
    }
}

/// The way through services, as probes see it.
struct Way {
    wanted: Sender<Wanted>,
    director: Arc<Director>,
    sources: Vec<IpAddr>,
}

/// Ports that are tried for one socket: some may have a closing connection of an earlier one.
const TRIES: usize = 64;

impl ServicePath for Way {
    fn socket(&self, server: u32, target: SocketAddr, kind: Type) -> io::Result<(Socket, Pin)> {
        let source = self.sources.iter().find(|source| source.is_ipv4() == target.is_ipv4());
        let source = source.ok_or(io::ErrorKind::AddrNotAvailable)?;
        for _ in 0..TRIES {
            let Some(port) = self.director.pins.pin(server) else { break };
            let pinned = Pinned { director: Arc::clone(&self.director), port };
            let (to, made) = bounded(1);
            let wanted = Wanted { from: SocketAddr::new(*source, port), kind, to };
            let gone = || io::Error::other("the probes' namespace is gone");
            self.wanted.send(wanted).map_err(|_| gone())?;
            match made.recv().map_err(|_| gone())? {
                Ok(socket) => return Ok((socket, Some(Box::new(pinned)))),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port to probe from"))
    }
}

/// Keeps a port pinned as long as it lives.
struct Pinned {
    director: Arc<Director>,
    port: u16,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.director.pins.release(self.port);
    }
}
