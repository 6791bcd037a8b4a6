//! The round through services: box, servers, new clients, their way back.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use dataplane::{
    forward::{Forward, Protocol},
    packet::{Parsed, parse},
    snapshot::{Service, ServiceId, Snapshot},
    topology::Mac,
};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::schema::Address;

use super::{
    Finding, Pick, Severity, Verification, VerifiedService, Verifier,
    inquiry::{self, Unknown},
};
use crate::{
    errand::Errand,
    explain::{
        Asked, Explanation, Question,
        packet::{Described, Flag, Transport},
    },
    kernel::frames,
    live,
};

/// What is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// A service by its name, or by what it listens on; all for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// An address of clients, for what would happen to new ones. If it is not said, addresses that
    /// are for tests (RFC 2544, RFC 5180), where there is a route to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Address>)]
    pub client: Option<IpAddr>,
}

/// New clients of each service.
const CLIENTS: u16 = 100;
/// Servers that are asked at a time.
const AT_ONCE: usize = 64;

impl Verifier {
    /// Goes through everything.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn verify(&self, wanted: &Wanted) -> Result<Verification, Unknown> {
        let snapshot = self.explainer.snapshots.load_full();
        let ids = inquiry::services_of(&snapshot.services, wanted.service.as_deref())?;
        let findings = self.of_the_box().await;
        let mut services = Vec::new();
        for id in ids {
            services.extend(self.service(&snapshot, id, wanted.client).await);
        }
        let all = services.iter().flat_map(|service| {
            service.findings.iter().chain(service.servers.iter().flat_map(|s| &s.findings))
        });
        let well = !findings.iter().chain(all).any(|finding| finding.severity == Severity::Error);
        Ok(Verification { well, findings, services })
    }

    /// What `check --live` says of the box, but for what xlvs itself has there.
    async fn of_the_box(&self) -> Vec<Finding> {
        let Ok(model) = self.desk.ask(Errand::Model).await else { return Vec::new() };
        let found = tokio::task::spawn_blocking(move || live::check_running(&model)).await;
        let worth = |found: &live::Finding| found.severity != live::Severity::Note;
        found.unwrap_or_default().into_iter().filter(worth).map(Finding::from).collect()
    }

    async fn service(
        &self,
        snapshot: &Arc<Snapshot>,
        id: ServiceId,
        client: Option<IpAddr>,
    ) -> Option<VerifiedService> {
        let services = &snapshot.services;
        let service = services.services.get(id as usize)?.as_ref()?;
        let front = inquiry::front(services, service);
        let servers = stream::iter(service.servers.iter().copied())
            .map(|server| self.server(snapshot, server, front))
            .buffered(AT_ONCE)
            .filter_map(|verified| async { verified });
        let mut verified = VerifiedService {
            service: service.name.clone(),
            listen: inquiry::listen(&service.key),
            findings: Vec::new(),
            servers: servers.collect().await,
            picks: Vec::new(),
            client: None,
            answer: None,
        };
        let Some(front) = front else { return Some(verified) };
        if !inquiry::has_way(services, front.0.ip()) {
            verified.findings.push(Finding::new(
                Severity::Note,
                &service.name,
                "servers were asked at their own addresses: whether a dr or tun server has the VIP, and \
                 whether a nat server's answers come back here, was not seen",
                "write probe_sources: [ADDRESS] with an address of this box that is no VIP, restart, and \
                 verify again",
            ));
        }
        self.impostors(snapshot, service, front.0.ip(), &mut verified).await;
        let (this, at, service) = (self.clone(), Arc::clone(snapshot), service.clone());
        let seen =
            tokio::task::spawn_blocking(move || this.new_clients(&at, &service, front, client));
        if let Ok(seen) = seen.await {
            seen.into(&mut verified);
        }
        Some(verified)
    }

    /// Servers that answer ARP for the VIP, so that clients go past xlvs.
    async fn impostors(
        &self,
        snapshot: &Arc<Snapshot>,
        service: &Service,
        vip: IpAddr,
        verified: &mut VerifiedService,
    ) {
        let IpAddr::V4(vip) = vip else { return };
        let servers = service.servers.iter().filter_map(|id| snapshot.services.server(*id));
        let with_vip = |forward| matches!(forward, Forward::Dr | Forward::Tun);
        let suspects: Vec<IpAddr> =
            servers.filter(|s| with_vip(s.forward)).map(|server| server.address).collect();
        if suspects.is_empty() {
            return;
        }
        let interfaces: Vec<String> =
            snapshot.topology.interfaces.iter().map(|interface| interface.name.clone()).collect();
        let asked = tokio::task::spawn_blocking(move || {
            let ask = |name: &String| frames::who_has(name, vip).unwrap_or_default();
            interfaces.iter().flat_map(ask).collect::<Vec<Mac>>()
        });
        let answers = asked.await.unwrap_or_default();
        let topology = &snapshot.topology;
        for ((_, address), hop) in &topology.hop_of {
            let mac = topology.hops[usize::from(*hop)].mac;
            if suspects.contains(address) && mac.is_some_and(|mac| answers.contains(&mac)) {
                verified.findings.push(Finding::new(
                    Severity::Error,
                    &address.to_string(),
                    format!("it answers ARP for the VIP {vip}, so that clients reach it past xlvs"),
                    "on the server: arp_ignore 1 and arp_announce 2 (scripts/realserver)",
                ));
            }
        }
    }

    /// What would happen to new clients now.
    fn new_clients(
        &self,
        snapshot: &Snapshot,
        service: &Service,
        (front, protocol): (SocketAddr, Protocol),
        client: Option<IpAddr>,
    ) -> Seen {
        let Some(clients) = Clients::choose(snapshot, front.ip(), client) else {
            return Seen {
                findings: vec![Finding::new(
                    Severity::Warning,
                    &service.name,
                    "there is no route back to clients",
                    "add a default route, or name an address of clients with --client",
                )],
                ..Seen::default()
            };
        };
        let packets = (0..CLIENTS).map(|at| syn(clients.at(at), front, protocol)).collect();
        let told = match self.explainer.explain(&Question { packets }) {
            Ok(told) => told,
            Err(error) => {
                let finding = Finding::new(Severity::Warning, &service.name, error.to_string(), "");
                return Seen { findings: vec![finding], ..Seen::default() };
            }
        };
        let mut seen = Seen::default();
        let mut picks: BTreeMap<String, u32> = BTreeMap::new();
        for one in told.iter().filter(|one| one.verdict.kind == "sent") {
            *picks.entry(one.server.clone().unwrap_or_default()).or_default() += 1;
        }
        seen.picks = picks.into_iter().map(|(server, clients)| Pick { server, clients }).collect();
        let failed = told.iter().find(|one| one.verdict.kind != "sent");
        if let Some(failed) = failed {
            let verdict = &failed.verdict;
            let text = format!("a new client: {}", verdict.text);
            let remedy = verdict.remedy.clone().unwrap_or_default();
            seen.findings.push(Finding::new(Severity::Error, &service.name, text, &remedy));
        }
        let first = failed.unwrap_or(&told[0]);
        seen.answer = self.answer(clients.at(0), front, protocol, first);
        if let Some(answer) = seen.answer.as_ref().filter(|answer| answer.verdict.kind != "sent") {
            let text = format!("the server's answer to a new client: {}", answer.verdict.text);
            let remedy = answer.verdict.remedy.clone().unwrap_or_default();
            seen.findings.push(Finding::new(Severity::Error, &service.name, text, &remedy));
        }
        seen.client = Some(first.clone());
        seen
    }

    /// The server's answer, where it passes this box: NAT and FullNAT.
    fn answer(
        &self,
        client: SocketAddr,
        front: SocketAddr,
        protocol: Protocol,
        first: &Explanation,
    ) -> Option<Explanation> {
        let sent = first.sent.first().filter(|_| first.verdict.kind == "sent")?;
        let frame = crate::explain::octets(&sent.frame)?;
        let (from, to) = match parse(&frame) {
            Parsed::V4(p) => ends(&p.tuple),
            Parsed::V6(p) => ends(&p.tuple),
            _ => return None,
        };
        // The server was addressed by its own address: it answers to what it saw.
        (to != front).then_some(())?;
        let mut answer = syn(to, from, protocol);
        answer.interface = Some(sent.interface.clone());
        if let Some(packet) = &mut answer.packet {
            packet.flags = vec![Flag::Syn, Flag::Ack];
        }
        let packets = vec![syn(client, front, protocol), answer];
        self.explainer.explain(&Question { packets }).ok()?.pop()
    }
}

/// What was seen of new clients.
#[derive(Default)]
struct Seen {
    findings: Vec<Finding>,
    picks: Vec<Pick>,
    client: Option<Explanation>,
    answer: Option<Explanation>,
}

impl Seen {
    fn into(self, verified: &mut VerifiedService) {
        verified.findings.extend(self.findings);
        verified.picks = self.picks;
        verified.client = self.client;
        verified.answer = self.answer;
    }
}

/// Addresses of clients.
enum Clients {
    /// One of a real one, by several ports.
    One(IpAddr),
    /// Those of tests.
    Many(bool),
}

impl Clients {
    /// One that was named; else those of tests, if there is a route to them; else a neighbour.
    fn choose(snapshot: &Snapshot, vip: IpAddr, named: Option<IpAddr>) -> Option<Self> {
        let ipv6 = vip.is_ipv6();
        if let Some(named) = named.filter(|named| named.is_ipv6() == ipv6) {
            return Some(Self::One(named));
        }
        let many = Self::Many(ipv6);
        let topology = &snapshot.topology;
        if topology.route(many.at(0).ip()).is_some() {
            return Some(many);
        }
        let servers: Vec<IpAddr> =
            snapshot.services.servers.iter().flatten().map(|server| server.address).collect();
        let served = topology.interfaces.len();
        let stranger = |((port, address), _): &(&(u16, IpAddr), _)| {
            let link_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
            address.is_ipv6() == ipv6
                && usize::from(*port) < served
                && !link_local
                && !servers.contains(address)
        };
        let neighbours = topology.hop_of.iter().filter(stranger);
        neighbours.map(|((_, address), _)| *address).min().map(Self::One)
    }

    fn at(&self, number: u16) -> SocketAddr {
        let port = 40_000 + number;
        match self {
            Self::One(address) => SocketAddr::new(*address, port),
            // RFC 2544: 198.18.0.0/15; RFC 5180: 2001:2::/48.
            Self::Many(false) => {
                let [high, low] = (number + 1).to_be_bytes();
                SocketAddr::new(Ipv4Addr::new(198, 18, high, low).into(), port)
            }
            Self::Many(true) => {
                SocketAddr::new(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, number + 1).into(), port)
            }
        }
    }
}

fn syn(client: SocketAddr, front: SocketAddr, protocol: Protocol) -> Asked {
    let packet = Described {
        client: client.ip(),
        client_port: Some(client.port()),
        vip: front.ip(),
        port: front.port(),
        protocol: match protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
            Protocol::Sctp => Transport::Sctp,
        },
        flags: Vec::new(),
        icmp: None,
        size: None,
        ttl: None,
    };
    Asked { packet: Some(packet), ..Asked::default() }
}

fn ends<A: dataplane::forward::Address>(
    tuple: &dataplane::forward::Tuple<A>,
) -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(tuple.src.ip(), tuple.sport), SocketAddr::new(tuple.dst.ip(), tuple.dport))
}
