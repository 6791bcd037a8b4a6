//! How a server is asked: by the way of clients' packets where there are probe sources, else at its
//! own address.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dataplane::{
    forward::{Forward, Protocol, ServiceKey},
    snapshot::{ServerId, Service, ServiceId, Services},
};
use health::check::{Method, Path, Probe, Question, Target, Tcp, Udp, Via};

/// There is nothing of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No service.
    #[error("there is no service {0}; xlvs list shows all of them")]
    Service(String),
    /// Several have the name.
    #[error("{0} are {1} services; name one by what it listens on, such as 203.0.113.10:80/tcp")]
    Several(String, usize),
    /// No server of it.
    #[error("{0} has no server {1}; xlvs list shows all of them")]
    Server(String, String),
}

/// The services of a name, or of an endpoint such as `203.0.113.10:80/tcp`; all for none.
pub(super) fn services_of(
    services: &Services,
    wanted: Option<&str>,
) -> Result<Vec<ServiceId>, Unknown> {
    let fits = |service: &Service| {
        let named = |wanted: &str| service.name == wanted || listen(&service.key) == wanted;
        wanted.is_none_or(named)
    };
    let known = services.services.iter().zip(0..);
    let found: Vec<ServiceId> =
        known.filter(|(service, _)| service.as_ref().is_some_and(fits)).map(|(_, id)| id).collect();
    match wanted {
        Some(wanted) if found.is_empty() => Err(Unknown::Service(wanted.to_owned())),
        _ => Ok(found),
    }
}

/// What clients of a service connect to, in words.
pub(super) fn listen(key: &ServiceKey) -> String {
    match (key.endpoint(), key.mark()) {
        (Some(endpoint), _) => endpoint.to_string(),
        (None, mark) => format!("mark:{}", mark.unwrap_or(0)),
    }
}

/// An address and port that clients of the service use, and the protocol; of a mark, of its first
/// rule that names a single address.
pub(super) fn front(services: &Services, service: &Service) -> Option<(SocketAddr, Protocol)> {
    let asked = |port: u16| {
        let mut servers = service.servers.iter().filter_map(|id| services.server(*id));
        if port == 0 {
            servers.find_map(|s| (s.port != 0).then_some(s.port)).unwrap_or(80)
        } else {
            port
        }
    };
    if let Some(endpoint) = service.key.endpoint() {
        return Some((SocketAddr::new(endpoint.address, asked(endpoint.port)), endpoint.protocol));
    }
    let mark = service.key.mark()?;
    let of_it = |rule: &&dataplane::mark::MarkRule| {
        rule.mark == mark
            && rule.destination.is_host()
            && rule.destination.address().is_ipv6() == service.key.is_ipv6()
    };
    let rule = services.marks.iter().find(of_it)?;
    let port = rule.ports.first().map_or_else(|| asked(0), |ports| *ports.start());
    let end = SocketAddr::new(rule.destination.address(), port);
    Some((end, rule.protocol.unwrap_or(Protocol::Tcp)))
}

/// There are probe sources of the family, so that the way of clients can be taken.
pub(super) fn has_way(services: &Services, address: IpAddr) -> bool {
    services.probe_sources.iter().any(|source| source.is_ipv4() == address.is_ipv4())
}

/// The question to a server; SCTP is not spoken here, so the host alone is asked.
pub(super) fn question(
    services: &Services,
    id: ServerId,
    (front, protocol): (SocketAddr, Protocol),
    timeout: Duration,
) -> Option<Question> {
    let server = services.server(id)?;
    let own =
        SocketAddr::new(server.address, if server.port == 0 { front.port() } else { server.port });
    let method = match server.forward {
        Forward::Nat => Method::Nat,
        Forward::FullNat => Method::FullNat,
        Forward::Dr => Method::Dr,
        Forward::Tun => Method::Tun,
    };
    let probe = match protocol {
        Protocol::Tcp => Probe::Tcp(Tcp::default()),
        Protocol::Udp => Probe::Udp(Udp::default()),
        Protocol::Sctp => Probe::Ping,
    };
    let by_service = has_way(services, front.ip()) && protocol != Protocol::Sctp;
    let (address, via) = match by_service {
        true => (front, Via::Service(Path { server: id, method, own })),
        false => (own, Via::Direct),
    };
    let port = if probe.has_port() { address.port() } else { 0 };
    let target = Target { address: address.ip(), port, source: None, interface: None, via };
    Some(Question { probe: Arc::new(probe), target, timeout })
}
