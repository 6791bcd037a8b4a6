//! One server: its next hop, whether it answers, and what is wrong with it.

use std::{net::SocketAddr, time::Duration};

use dataplane::{
    director::Director,
    forward::{Forward, Protocol},
    route::{Obstacle, find_hop},
    snapshot::{Server, ServerId, Snapshot},
    topology::Hop,
};
use health::{check::Via, outcome::Kind, probe};

use super::{Finding, Severity, VerifiedServer, Verifier, inquiry};

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(2);

impl Verifier {
    pub(super) async fn server(
        &self,
        snapshot: &Snapshot,
        id: ServerId,
        front: Option<(SocketAddr, Protocol)>,
    ) -> Option<VerifiedServer> {
        let server = snapshot.services.server(id)?;
        let name = SocketAddr::new(server.address, server.port).to_string();
        let mut verified = VerifiedServer {
            server: name.clone(),
            forward: server.forward.name().to_owned(),
            state: state(server).to_owned(),
            next_hop: String::new(),
            via: "direct".to_owned(),
            reached: false,
            answer: "not asked".to_owned(),
            took_ms: 0.0,
            findings: Vec::new(),
        };
        self.resolve(server).await;
        // With what the kernel has found by now.
        self.next_hop(&self.explainer.snapshots.load_full(), id, server, &mut verified);
        let question =
            front.and_then(|front| inquiry::question(&snapshot.services, id, front, PATIENCE));
        let Some(question) = question else { return Some(verified) };
        let by_service = matches!(question.target.via, Via::Service(_));
        let outcome = probe::ask(&self.net, &question).await;
        verified.via = if by_service { "service" } else { "direct" }.to_owned();
        verified.took_ms = outcome.took.as_secs_f64() * 1000.0;
        match outcome.verdict {
            Ok(good) => {
                verified.reached = true;
                verified.answer = good.text;
            }
            Err(bad) => {
                verified.answer.clone_from(&bad.text);
                let severity = if server.gone() || server.drained {
                    Severity::Warning
                } else {
                    Severity::Error
                };
                let remedy = remedy(server.forward, bad.kind, by_service);
                verified.findings.push(Finding::new(severity, &name, bad.text, remedy));
            }
        }
        Some(verified)
    }

    /// Waits for the MAC of the server's next hop, if it is not known: a director that began just
    /// now has not met all of them.
    async fn resolve(&self, server: &Server) {
        const LOOKS: u32 = 10;
        const PAUSE: Duration = Duration::from_millis(100);
        for _ in 0..LOOKS {
            let snapshot = self.explainer.snapshots.load_full();
            let director: &Director = &self.explainer.director;
            match find_hop(&snapshot.topology, director, server.address, 0) {
                Err(Obstacle::Unresolved) => tokio::time::sleep(PAUSE).await,
                _ => return,
            }
        }
    }

    /// The way to the server, and what is wrong with it.
    fn next_hop(
        &self,
        snapshot: &Snapshot,
        id: ServerId,
        server: &Server,
        verified: &mut VerifiedServer,
    ) {
        let (director, topology): (&Director, _) = (&self.explainer.director, &snapshot.topology);
        let name = verified.server.clone();
        let mut find = |severity, text: String, remedy: &str| {
            verified.findings.push(Finding::new(severity, &name, text, remedy));
        };
        // An unknown neighbour is asked for: that is what verifying is for.
        let hop = match find_hop(topology, director, server.address, 0) {
            Ok((hop, _)) => topology.hops[usize::from(hop)],
            Err(Obstacle::Local) => {
                verified.next_hop = "this box itself".to_owned();
                return;
            }
            Err(Obstacle::Unresolved) => {
                verified.next_hop = "no MAC known".to_owned();
                return find(
                    Severity::Error,
                    "its MAC, or its gateway's, does not resolve".to_owned(),
                    "see whether it is up and on this link (ip neigh), or give its mac in the configuration",
                );
            }
            Err(Obstacle::Drop(reason)) => {
                verified.next_hop = reason.name().to_owned();
                return find(Severity::Error, reason.sentence().trim().to_owned(), reason.remedy());
            }
        };
        let Hop { port, mac, mtu, .. } = hop;
        let interface = &topology.interfaces[usize::from(port)].name;
        let mac = mac.map_or("unknown".to_owned(), |mac| mac.to_string());
        verified.next_hop = format!("{mac} on {interface}");
        let on_link = topology
            .hop_of
            .get(&(port, server.address))
            .is_some_and(|id| topology.hops[usize::from(*id)].mac == hop.mac);
        if server.forward == Forward::Dr && !on_link && server.mac.is_none() {
            find(
                Severity::Error,
                "it is behind a gateway, and dr only reaches servers on a link of this box"
                    .to_owned(),
                "use forward: tun for it, or bring it onto the link",
            );
        }
        let overhead = snapshot.tunnel(id).map_or(0, dataplane::tunnel::Path::overhead);
        if server.forward == Forward::Tun && mtu < 1500 + overhead {
            let room = mtu.saturating_sub(overhead);
            find(
                Severity::Warning,
                format!("the tunnel carries {room} octets, and clients send 1500"),
                "raise the MTU of the way to it, or lower the MSS that it offers (advmss)",
            );
        }
    }
}

const fn state(server: &Server) -> &'static str {
    match server {
        Server { up: false, .. } | Server { absent: true, .. } => "down",
        Server { drained: true, .. } => "drained",
        Server { standby: true, .. } => "standby",
        _ => "up",
    }
}

/// What to do where a server does not answer.
const fn remedy(forward: Forward, kind: Kind, by_service: bool) -> &'static str {
    match (kind, forward, by_service) {
        (Kind::Local, ..) => "see the log of xlvs",
        (Kind::Refused, Forward::Dr | Forward::Tun, true) => {
            "let the service listen on the VIP, or on all addresses"
        }
        (Kind::Refused, ..) => "start the service there, or correct the server's port",
        (_, Forward::Dr, true) => {
            "on the server: the VIP on lo with arp_ignore 1 and arp_announce 2 (scripts/realserver), no firewall in the way"
        }
        (_, Forward::Tun, true) => {
            "on the server: the tunnel interface with the VIP and rp_filter 0 (scripts/realserver), no firewall in the way"
        }
        (_, Forward::Nat, true) => {
            "on the server: its route to clients must lead through this box (ip route get CLIENT there names this box), no firewall in the way"
        }
        (_, Forward::FullNat, true) => "let it and its firewall answer to the local addresses",
        _ => "see whether the host is up, listens, and no firewall is in the way",
    }
}
