//! The registry as ipvsadm lists it.

use std::net::IpAddr;

use dataplane::{
    forward::{Forward, Protocol, ServiceKey, Tunnel},
    snapshot::{Server, ServerId, Services},
};
use hashbrown::HashMap;
use ipvsadm::{
    Checksum, Counters, ListedServer, ListedService, Listing, SchedulerFlag, ServerSpec,
    ServiceRef, ServiceSpec,
};
use sched::{Kind, Plan};

use super::View;
use crate::{
    model::{self, Compat, Service},
    registry::Registry,
    traffic::{Rates, Traffic},
};

/// All services with their counts, in the model's order; servers in `compat: lvs` newest first.
pub(super) fn listing(registry: &Registry, view: View<'_>) -> Listing {
    let raw = |id| Traffic::raw(view.director, view.stats, id);
    let sums = registry.ledger.services(view.services, &raw);
    let ids = ids(view.services);
    let services = registry.model.services.iter().map(|service| {
        let sum = view.services.by_key.get(&service.key).map(|id| sums[*id as usize]);
        let server = |server: &model::Server| {
            let id = ids.get(&(service.key, server.address, server.port)).copied();
            self::server(registry, view, server, id)
        };
        let mut servers: Vec<ListedServer> = service.servers.iter().map(server).collect();
        // As the kernel lists them to ipvsadm (`ip_vs_add_dest`: `list_add_rcu`).
        if registry.model.compat == Compat::Lvs {
            servers.reverse();
        }
        ListedService {
            spec: spec(service),
            stats: counters(sum.unwrap_or_default()),
            rates: rates(registry.ledger.service_rates(&service.key)),
            servers,
        }
    });
    let size = u32::try_from(view.director.limits().connections_v4).unwrap_or(u32::MAX);
    Listing { size, services: services.collect() }
}

/// The ids of servers that are not removed.
fn ids(services: &Services) -> HashMap<(ServiceKey, IpAddr, u16), ServerId> {
    let named = |(id, server): (usize, &Option<Server>)| {
        let server = server.as_ref().filter(|server| !server.removed)?;
        let service = services.services[server.service as usize].as_ref()?;
        Some(((service.key, server.address, server.port), id as ServerId))
    };
    services.servers.iter().enumerate().filter_map(named).collect()
}

fn server(
    registry: &Registry,
    view: View<'_>,
    server: &model::Server,
    id: Option<ServerId>,
) -> ListedServer {
    let record = id.map(|id| view.director.server(id));
    let traffic = |id| registry.ledger.server(id, Traffic::raw(view.director, view.stats, id));
    ListedServer {
        spec: ServerSpec {
            address: server.address,
            port: server.port,
            forward: forward(server),
            weight: server.weight,
            upper: server.upper,
            lower: server.lower,
        },
        active: record.map_or(0, |record| record.active()),
        inactive: record.map_or(0, |record| record.inactive()),
        persistent: record.map_or(0, |record| record.persistent()),
        stats: counters(id.map(traffic).unwrap_or_default()),
        rates: rates(id.map(|id| registry.ledger.server_rates(id)).unwrap_or_default()),
    }
}

fn spec(service: &Service) -> ServiceSpec {
    let policy = &service.policy;
    let reference = reference(&service.key);
    ServiceSpec {
        service: reference,
        scheduler: policy.scheduler.kind.name().to_owned(),
        flags: flags(policy.scheduler),
        persistent: policy.persistence.map(|persistence| persistence.timeout),
        netmask: policy.persistence.map_or(reference.host_prefix(), |p| p.prefix),
        pe: None,
        one_packet: policy.one_packet,
    }
}

/// The key of a service in ipvsadm's words.
pub fn reference(key: &ServiceKey) -> ServiceRef {
    match key {
        ServiceKey::Endpoint(endpoint) => ServiceRef::Endpoint {
            protocol: protocol(endpoint.protocol),
            address: endpoint.address,
            port: endpoint.port,
        },
        ServiceKey::Mark { mark, ipv6 } => ServiceRef::Mark { mark: *mark, ipv6: *ipv6 },
    }
}

/// A protocol in ipvsadm's words.
pub(super) const fn protocol(protocol: Protocol) -> ipvsadm::Protocol {
    match protocol {
        Protocol::Tcp => ipvsadm::Protocol::Tcp,
        Protocol::Udp => ipvsadm::Protocol::Udp,
        Protocol::Sctp => ipvsadm::Protocol::Sctp,
    }
}

fn flags(plan: Plan) -> Vec<SchedulerFlag> {
    let (fallback, port) = match plan.kind {
        Kind::Sh => (SchedulerFlag::ShFallback, SchedulerFlag::ShPort),
        Kind::Mh => (SchedulerFlag::MhFallback, SchedulerFlag::MhPort),
        _ => return Vec::new(),
    };
    let both = [(plan.fallback, fallback), (plan.port, port)];
    both.into_iter().filter(|(is, _)| *is).map(|(_, flag)| flag).collect()
}

const fn forward(server: &model::Server) -> ipvsadm::Forward {
    const fn checksum(full: bool) -> Checksum {
        if full { Checksum::Full } else { Checksum::None }
    }
    match (server.forward, server.tunnel) {
        (Forward::Nat, _) => ipvsadm::Forward::Nat,
        (Forward::FullNat, _) => ipvsadm::Forward::FullNat,
        (Forward::Dr, _) => ipvsadm::Forward::Dr,
        (Forward::Tun, Tunnel::Ipip) => ipvsadm::Forward::Tun(ipvsadm::Tunnel::Ipip),
        (Forward::Tun, Tunnel::Gue { port, checksum: full }) => {
            let remote = server.remote_checksum;
            let checksum = if remote { Checksum::Remote } else { checksum(full) };
            ipvsadm::Forward::Tun(ipvsadm::Tunnel::Gue { port, checksum })
        }
        (Forward::Tun, Tunnel::Gre { checksum: full }) => {
            ipvsadm::Forward::Tun(ipvsadm::Tunnel::Gre { checksum: checksum(full) })
        }
    }
}

const fn counters(traffic: Traffic) -> Counters {
    let Traffic { connections, in_packets, out_packets, in_bytes, out_bytes } = traffic;
    Counters { connections, in_packets, out_packets, in_bytes, out_bytes }
}

const fn rates(rates: Rates) -> Counters {
    let Rates { connections, in_packets, out_packets, in_bytes, out_bytes } = rates;
    Counters { connections, in_packets, out_packets, in_bytes, out_bytes }
}
