//! The ground that the simulation stands on: the box, its neighbours and routes, the
//! services; and what follows from them, worked out without the datapath.

use std::{net::IpAddr, sync::Arc};

use dataplane::{
    forward::{Endpoint, Forward, Protocol},
    policy::{Lifecycle, LocalAddress, Policy},
    snapshot::{Server, Service, Services, Snapshot},
    topology::{Hop, Interface, Mac, NextHop, PortId, Route, RouteKind, Routes, Topology},
};

/// The port to clients.
pub(crate) const FRONT: PortId = 0;
/// The port to servers.
pub(crate) const BACK: PortId = 1;
/// The real servers' last octets.
pub(crate) const MACHINES: [u8; 3] = [11, 12, 13];
/// The VIPs' last octets.
const VIPS: [u8; 2] = [10, 20];
const GATEWAYS: [u8; 2] = [253, 254];
/// A client on the link of the front port.
pub(crate) const NEAR_CLIENT: u8 = 50;
/// The last octet of the FullNAT address.
const LOCAL: u8 = 9;
/// The first FullNAT port.
pub(crate) const LOCAL_PORT: u16 = 20_000;

/// The networks; each has the same hosts in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Net {
    /// On the link of the front port.
    Front = 1,
    /// On the link of the back port.
    Back = 2,
    /// Behind the front port's gateway.
    Clients = 3,
    /// Behind the back port's gateway.
    Tunnels = 4,
    /// Addresses of the box.
    Vips = 5,
}

/// Host `host` of a network.
pub(crate) fn at(v6: bool, net: Net, host: u8) -> IpAddr {
    if v6 {
        IpAddr::from([0x2001, 0xdb8, net as u16, 0, 0, 0, 0, u16::from(host)])
    } else {
        IpAddr::from([192, 0, net as u8, host])
    }
}

/// Which network an address is of.
fn net_of(address: IpAddr) -> Option<Net> {
    let number = match address {
        IpAddr::V4(ip) if ip.octets()[..2] == [192, 0] => u16::from(ip.octets()[2]),
        IpAddr::V6(ip) if ip.segments()[..2] == [0x2001, 0xdb8] => ip.segments()[2],
        _ => return None,
    };
    let nets = [Net::Front, Net::Back, Net::Clients, Net::Tunnels, Net::Vips];
    nets.into_iter().find(|net| *net as u16 == number)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    pub(crate) mtu: u16,
    pub(crate) up: bool,
}

impl Port {
    pub(crate) const fn mac(port: PortId) -> Mac {
        Mac([2, 0, 0, 0, 0xff, port as u8])
    }
}

/// A host on a link. Its MAC tells its number and how often the MAC changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbour {
    pub(crate) port: PortId,
    pub(crate) address: IpAddr,
    pub(crate) known: bool,
    pub(crate) version: u8,
}

/// What the kernel does with packets to the far clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientRoute {
    Via,
    Missing,
    Unreachable,
}

/// What is published: the state of the world as the director knows it.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) generation: u64,
    pub(crate) route_generation: u32,
    pub(crate) ports: [Port; 2],
    pub(crate) neighbours: Vec<Neighbour>,
    /// Which of the two gateways each port's routes use.
    pub(crate) gateways: [usize; 2],
    pub(crate) clients: ClientRoute,
    pub(crate) services: Arc<Services>,
    /// That of every service.
    pub(crate) lifecycle: Lifecycle,
}

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By this neighbour.
    By(usize),
    /// By this neighbour, whose MAC is not known.
    Unresolved(usize),
    /// None now: no route, or the port is down.
    Closed,
}

impl Ground {
    pub(crate) fn new(services: Services) -> Self {
        let lifecycle = services.lifecycle(0);
        let mut neighbours = Vec::new();
        for v6 in [false, true] {
            let mut add = |port, net, host| {
                let address = at(v6, net, host);
                neighbours.push(Neighbour { port, address, known: true, version: 0 });
            };
            GATEWAYS.iter().for_each(|host| add(FRONT, Net::Front, *host));
            add(FRONT, Net::Front, NEAR_CLIENT);
            GATEWAYS.iter().for_each(|host| add(BACK, Net::Back, *host));
            MACHINES.iter().for_each(|host| add(BACK, Net::Back, *host));
        }
        Self {
            generation: 1,
            route_generation: 1,
            ports: [Port { mtu: 1500, up: true }; 2],
            neighbours,
            gateways: [0, 0],
            clients: ClientRoute::Via,
            services: Arc::new(services),
            lifecycle,
        }
    }

    /// A server that is down; none is removed here.
    pub(crate) fn is_gone(&self, id: u32) -> bool {
        !self.server(id).up
    }

    /// With which hops are cached now: see [`Snapshot::hop_generation`].
    pub(crate) fn hop_generation(&self) -> u32 {
        1 + self.route_generation + self.services.liveness
    }

    /// The MAC of a neighbour by its number.
    pub(crate) fn mac(&self, neighbour: usize) -> Mac {
        let Neighbour { port, version, .. } = self.neighbours[neighbour];
        Mac([2, version, 0, 0, port as u8, neighbour as u8])
    }

    /// The neighbour that a frame with these addresses goes to, if they are right now.
    pub(crate) fn receiver(&self, port: PortId, dst: Mac, src: Mac) -> Option<usize> {
        let named = |n: &usize| {
            let neighbour = &self.neighbours[*n];
            neighbour.port == port && neighbour.known && self.mac(*n) == dst
        };
        let right = src == Port::mac(port) && self.ports[usize::from(port)].up;
        (0..self.neighbours.len()).find(named).filter(|_| right)
    }

    /// The neighbour through which an address is reached.
    pub(crate) fn way_to(&self, address: IpAddr) -> Way {
        let gateway = |port: PortId, net: Net| {
            at(address.is_ipv6(), net, GATEWAYS[self.gateways[usize::from(port)]])
        };
        let (port, hop) = match net_of(address) {
            Some(Net::Front) => (FRONT, address),
            Some(Net::Back) => (BACK, address),
            Some(Net::Clients) if self.clients == ClientRoute::Via => {
                (FRONT, gateway(FRONT, Net::Front))
            }
            Some(Net::Tunnels) => (BACK, gateway(BACK, Net::Back)),
            _ => return Way::Closed,
        };
        let place = self.neighbours.iter().position(|n| (n.port, n.address) == (port, hop));
        match place {
            Some(n) if !self.neighbours[n].known => Way::Unresolved(n),
            Some(n) if self.ports[usize::from(port)].up => Way::By(n),
            _ => Way::Closed,
        }
    }

    pub(crate) fn mtu(&self, port: PortId) -> usize {
        self.ports[usize::from(port)].mtu.into()
    }

    pub(crate) fn endpoint(&self, id: usize) -> Endpoint {
        *self.service(id).key.endpoint().expect("no marks here")
    }

    pub(crate) fn server(&self, id: u32) -> &Server {
        self.services.servers[id as usize].as_ref().expect("servers are never removed here")
    }

    pub(crate) fn service(&self, id: usize) -> &Service {
        self.services.services[id].as_ref().expect("services are never removed here")
    }

    /// The snapshot that control would publish.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let hop = |n: usize| {
            let Neighbour { port, known, .. } = self.neighbours[n];
            let Port { mtu, up } = self.ports[usize::from(port)];
            let mac = known.then(|| self.mac(n));
            Hop { port, mac, source: Port::mac(port), mtu: if up { mtu } else { 0 } }
        };
        let interface = |port: PortId| Interface {
            name: format!("eth{port}"),
            index: u32::from(port) + 2,
            mac: Port::mac(port),
            mtu: self.ports[usize::from(port)].mtu,
            up: self.ports[usize::from(port)].up,
        };
        let places = self.neighbours.iter().enumerate();
        let topology = Topology {
            interfaces: vec![interface(FRONT), interface(BACK)],
            hops: (0..self.neighbours.len()).map(hop).collect(),
            hop_of: places.map(|(id, n)| ((n.port, n.address), id as u16)).collect(),
            routes_v4: Routes::new(self.routes(false)),
            routes_v6: Routes::new(self.routes(true)),
            local: [false, true].into_iter().flat_map(own_addresses).collect(),
            route_generation: self.route_generation,
            probes: None,
        };
        Arc::new(Snapshot::new(self.generation, Arc::clone(&self.services), Arc::new(topology)))
    }

    fn routes(&self, v6: bool) -> Vec<(IpAddr, u8, Route)> {
        let length = if v6 { 64 } else { 24 };
        let on = |port: PortId, gateway: Option<Net>| {
            let gateway =
                gateway.map(|net| at(v6, net, GATEWAYS[self.gateways[usize::from(port)]]));
            RouteKind::Via(vec![NextHop { port: Some(port), gateway, weight: 1 }])
        };
        let route = |net: Net, from: Net, kind: RouteKind| {
            (at(v6, net, 0), length, Route { kind, source: Some(at(v6, from, 1)), mtu: None })
        };
        let mut routes = vec![
            route(Net::Front, Net::Front, on(FRONT, None)),
            route(Net::Back, Net::Back, on(BACK, None)),
            route(Net::Tunnels, Net::Back, on(BACK, Some(Net::Back))),
        ];
        match self.clients {
            ClientRoute::Via => {
                routes.push(route(Net::Clients, Net::Front, on(FRONT, Some(Net::Front))));
            }
            ClientRoute::Unreachable => {
                routes.push(route(Net::Clients, Net::Front, RouteKind::Unreachable));
            }
            ClientRoute::Missing => {}
        }
        let local = Route { kind: RouteKind::Local, source: None, mtu: None };
        let host = if v6 { 128 } else { 32 };
        routes.extend(own_addresses(v6).into_iter().map(|own| (own, host, local.clone())));
        routes
    }
}

fn own_addresses(v6: bool) -> Vec<IpAddr> {
    let own = [(Net::Front, 1), (Net::Back, 1), (Net::Back, LOCAL)];
    let vips = VIPS.map(|host| (Net::Vips, host));
    own.into_iter().chain(vips).map(|(net, host)| at(v6, net, host)).collect()
}

/// What differs from simulation to simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) scheduler: sched::Kind,
    /// FullNAT ports.
    pub(crate) local_ports: u16,
    pub(crate) weights: [u32; 3],
    pub(crate) lifecycle: Lifecycle,
}

/// Every mode for both protocols and families; two VIPs that share the NAT and FullNAT
/// servers, so that answers could be crossed; one tunnel through the other family.
pub(crate) fn services(choice: Choice) -> Services {
    const KINDS: [(u8, u16, Forward, u16); 7] = [
        (VIPS[0], 80, Forward::Nat, 8080),
        (VIPS[1], 80, Forward::Nat, 8080),
        (VIPS[0], 81, Forward::FullNat, 8081),
        (VIPS[1], 81, Forward::FullNat, 8081),
        (VIPS[0], 82, Forward::Dr, 82),
        (VIPS[0], 83, Forward::Tun, 83),
        (VIPS[1], 83, Forward::Tun, 83),
    ];
    let mut all = Services::default();
    for v6 in [false, true] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (vip, port, forward, rport) in KINDS {
                let key = Endpoint { protocol, address: at(v6, Net::Vips, vip), port };
                let mixed = forward == Forward::Tun && vip == VIPS[1];
                add(&mut all, choice, key, forward, (rport, v6 != mixed));
            }
        }
    }
    all.derive();
    all
}

fn add(
    all: &mut Services,
    choice: Choice,
    key: Endpoint,
    forward: Forward,
    (port, v6): (u16, bool),
) {
    let service = all.services.len() as u32;
    let net = if forward == Forward::Tun { Net::Tunnels } else { Net::Back };
    let servers = MACHINES.iter().zip(choice.weights).map(|(machine, weight)| {
        let address = at(v6, net, *machine);
        let id = all.servers.len() as u32;
        let server = Server { weight, ..Server::new(service, address, port, forward) };
        all.servers.push(Some(server));
        id
    });
    let servers = servers.collect();
    let ports = LOCAL_PORT..=LOCAL_PORT + choice.local_ports - 1;
    let local = LocalAddress { address: at(v6, Net::Back, LOCAL), ports };
    let policy = Policy {
        scheduler: sched::Plan::new(choice.scheduler),
        local_addresses: if forward == Forward::FullNat { vec![local] } else { Vec::new() },
        lifecycle: choice.lifecycle,
        ..Policy::default()
    };
    all.services.push(Some(Service { servers, ..Service::new(key.to_string(), key, policy) }));
    all.by_key.insert(key.into(), service);
}
