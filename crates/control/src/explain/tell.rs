//! From what was seen to sentences.

use std::net::SocketAddr;

use dataplane::{
    forward::Forward,
    packet::{Fragment, Parsed},
    rehearse::{Account, End, Line, Unrehearsed, WayOut},
    route::Obstacle,
    snapshot::{ServerId, ServiceId, Snapshot},
    table::{Keys, Way},
    topology::PortId,
    verdict::{Drop, Punt},
};

use super::{Candidate, Explanation, Sent, Step, Verdict, contract::Met, headers::Headers, hex};

/// Tells one packet's way.
pub(super) fn tell(
    snapshot: &Snapshot,
    port: PortId,
    frame: &[u8],
    met: &Met,
    account: Option<Result<Account, Unrehearsed>>,
) -> Explanation {
    let headers = Headers::read(frame);
    let rule = match (met.taken, met.rule) {
        (true, Some(rule)) => format!("taken from the kernel by rule {rule}: {}", met.why),
        (_, Some(rule)) => format!("left to the kernel by rule {rule}: {}", met.why),
        (_, None) => format!("left to the kernel: {}", met.why),
    };
    let mut told = Explanation {
        packet: headers.to_string(),
        interface: interface(snapshot, port),
        steps: vec![step("match", rule)],
        candidates: Vec::new(),
        verdict: kernels(met),
        service: None,
        server: None,
        sent: Vec::new(),
    };
    match account {
        None => {}
        Some(Err(error)) => told.verdict = too_long(&error),
        Some(Ok(account)) => Teller { snapshot, headers, account }.tell(&mut told),
    }
    told
}

fn step(name: &str, text: impl Into<String>) -> Step {
    Step { name: name.to_owned(), text: text.into() }
}

fn interface(snapshot: &Snapshot, port: PortId) -> String {
    let interface = snapshot.topology.interfaces.get(usize::from(port));
    interface.map_or_else(|| "probes".to_owned(), |interface| interface.name.clone())
}

fn kernels(met: &Met) -> Verdict {
    let remedy = match met.rule {
        Some(3) => "If a service is meant to take it, add one for this port and protocol.",
        _ => "If xlvs is meant to take it, compare it with the services: xlvs list.",
    };
    Verdict {
        kind: "kernel".to_owned(),
        name: None,
        text: "It stays with the kernel; xlvs never sees it.".to_owned(),
        remedy: Some(remedy.to_owned()),
    }
}

fn too_long(error: &Unrehearsed) -> Verdict {
    Verdict {
        kind: "dropped".to_owned(),
        name: Some("oversize".to_owned()),
        text: format!("The XDP program drops it: {error}."),
        remedy: Some(Drop::FrameRoom.remedy().to_owned()),
    }
}

struct Teller<'a> {
    snapshot: &'a Snapshot,
    headers: Headers,
    account: Account,
}

impl Teller<'_> {
    fn tell(&self, told: &mut Explanation) {
        let account = &self.account;
        let steps = &mut told.steps;
        if let Some(known) = &account.known {
            steps.push(step("connection", self.known(known)));
        } else if !matches!(account.parsed, Parsed::Punt(_) | Parsed::Drop(_)) {
            steps.push(step("connection", self.unknown()));
        }
        if account.known.is_none() || account.picked.is_some() {
            self.admission(steps);
        }
        if let Some(server) = account.stateless {
            steps.push(step("stateless", self.passing(server)));
        }
        if account.picked.or(account.stateless).is_some()
            || account.end == End::Answered(Drop::NoServer)
        {
            told.candidates = self.candidates();
        }
        if let Some(way_out) = &account.way_out {
            self.leaving(way_out, steps);
        }
        told.service = self.service_name();
        told.server = self.server();
        told.sent = account.sent.iter().map(|sent| self.sent(sent)).collect();
        told.verdict = self.verdict();
    }

    fn known(&self, line: &Line) -> String {
        let from = match line.way {
            Way::Forward => "from the client",
            Way::Reverse => "from the server",
        };
        let state = line.state.map_or("?", dataplane::state::State::name);
        let mut text = format!(
            "{from}, of {} {} -> {} by {} to {}, {state}, {} s left",
            line.protocol.name(),
            line.client,
            line.vip,
            line.forward.name(),
            line.server,
            line.left,
        );
        let moved = line.local != line.client;
        if line.forward.two_way() && moved {
            text += &format!(", seen by it as {}", line.local);
        }
        if line.controlled {
            text += ", by a persistence template";
        }
        match (line.keys, self.snapshot.services.is_gone(line.server_id)) {
            (Keys::Probe, _) => text += ", of a health probe",
            (_, true) => text += "; its server is down or removed",
            _ => {}
        }
        text
    }

    fn unknown(&self) -> String {
        let later = match &self.account.parsed {
            Parsed::V4(packet) => packet.fragment == Fragment::Later,
            Parsed::V6(packet) => packet.fragment == Fragment::Later,
            _ => false,
        };
        match later {
            true => "its datagram's first fragment has not been seen".to_owned(),
            false => "none is known".to_owned(),
        }
    }

    /// How a packet without a connection gets one.
    fn admission(&self, steps: &mut Vec<Step>) {
        let account = &self.account;
        let Some((id, ftp)) = account.service else {
            if account.picked.is_none() && matches!(account.parsed, Parsed::V4(_) | Parsed::V6(_)) {
                steps.push(step("service", "none has this destination"));
            }
            return;
        };
        let Some(Some(service)) = self.snapshot.services.services.get(id as usize) else { return };
        let by = if ftp { ", by the rule for FTP data" } else { "" };
        let mut text = format!("{} ({}){by}", service.name, key(self.snapshot, id));
        if !account.opens {
            text += "; such a packet opens no connection there";
        }
        steps.push(step("service", text));
        if !account.opens
            || service.policy.persistence.is_none()
                && account.picked.is_none()
                && account.ratings.is_empty()
        {
            return;
        }
        if let Some(persistence) = &service.policy.persistence {
            let text = match &account.template {
                Some(template) if account.picked == Some(template.server) => format!(
                    "the client's template sends it to {}; {} s left, {} connections",
                    self.name(template.server),
                    template.left,
                    template.controlled
                ),
                Some(template) => format!(
                    "the client's template names {}, which is not to be followed now",
                    self.name(template.server)
                ),
                None => format!(
                    "the client (by /{}) has no template yet; one stays for {} s",
                    persistence.prefix, persistence.timeout
                ),
            };
            steps.push(step("template", text));
        }
        self.scheduled(id, steps);
    }

    fn scheduled(&self, id: ServiceId, steps: &mut Vec<Step>) {
        let account = &self.account;
        let Some(Some(service)) = self.snapshot.services.services.get(id as usize) else { return };
        let followed = account.template.map(|template| template.server);
        let kind = service.policy.scheduler.kind;
        let name = kind.name();
        let text = match account.picked {
            Some(picked) if followed == Some(picked) => return,
            Some(picked) => format!("{name} picks {}: {}", self.name(picked), kind.rule()),
            None if account.drops.contains(&Drop::NoServer) && account.ratings.is_empty() => {
                format!("{name}: the service has no servers")
            }
            None if account.drops.contains(&Drop::NoServer) => {
                format!("{name} finds no server that takes a connection")
            }
            None => return,
        };
        steps.push(step("scheduler", text));
        if let Some(line) = account.connection.filter(|_| account.picked.is_some()) {
            let state = line.state.map_or("?", dataplane::state::State::name);
            let mut text = format!("a connection by {}, {state}", line.forward.name());
            if line.forward.two_way() && line.local != line.client {
                text += &format!("; the server sees {}", line.local);
            }
            steps.push(step("opened", text));
        }
    }

    /// Why it needs no entry.
    fn passing(&self, server: ServerId) -> String {
        let why = match self.account.opens {
            true => "the connection table is full, so no connection is made",
            false => "the table was full lately, so its connection may have no entry",
        };
        format!("{why}: by the client's hash alone it goes to {}", self.name(server))
    }

    fn leaving(&self, way_out: &WayOut, steps: &mut Vec<Step>) {
        let account = &self.account;
        let forwarded = matches!(account.end, End::Sent(_));
        if forwarded && let Some((_, first)) = account.sent.first() {
            let changes = self.headers.changes(&Headers::read(first));
            let text =
                if changes.is_empty() { "nothing changes".to_owned() } else { changes.join(", ") };
            steps.push(step("rewrite", text));
        }
        let to = way_out.destination;
        let text = match &way_out.hop {
            Ok((hop, address)) => {
                let mac = hop.mac.map_or("unknown".to_owned(), |mac| mac.to_string());
                let by = interface(self.snapshot, hop.port);
                match *address == to {
                    true => format!("{to}, on the link of {by}, MAC {mac}"),
                    false => format!("{to} by gateway {address} on {by}, MAC {mac}"),
                }
            }
            Err(Obstacle::Local) => format!("{to} is this box itself"),
            Err(Obstacle::Unresolved) => format!("{to}: {}", self.unresolved()),
            Err(Obstacle::Drop(reason)) => format!("{to}: {}", reason.sentence().trim()),
        };
        steps.push(step("next_hop", text));
        if let (Ok(_), Some(packet)) = (&way_out.hop, ip_len(&account.parsed)) {
            let mut text = format!("{packet} octets");
            if way_out.overhead > 0 {
                text += &format!(" and {} of the tunnel", way_out.overhead);
            }
            text += &format!(", the way carries {}", way_out.mtu);
            match account.end {
                End::Sent(parts) if parts > 1 => {
                    text += &format!(": it leaves in {parts} fragments")
                }
                End::Answered(Drop::TooBig) | End::Dropped(Drop::TooBig) => {
                    text += ": too many, and it may not be fragmented";
                }
                _ => {}
            }
            steps.push(step("mtu", text));
        }
    }

    fn unresolved(&self) -> String {
        let asked = self.account.asked.iter().map(|request| {
            format!("{} on {}", request.address, interface(self.snapshot, request.port))
        });
        let asked: Vec<String> = asked.collect();
        match asked.is_empty() {
            true => "the neighbour's MAC is not known".to_owned(),
            false => {
                format!("the MAC of {} is not known; the kernel is asked for it", asked.join(", "))
            }
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let candidate = |rating: &sched::Rating| Candidate {
            server: self.name(rating.id),
            picked: self.account.picked.or(self.account.stateless) == Some(rating.id),
            closed: rating.closed.map(|closed| closed.name().to_owned()),
            weight: rating.weight,
            active: rating.load.active,
            inactive: rating.load.inactive,
            score: rating.score,
        };
        self.account.ratings.iter().map(candidate).collect()
    }

    fn name(&self, id: ServerId) -> String {
        match self.snapshot.services.server(id) {
            Some(server) if server.port == 0 => server.address.to_string(),
            Some(server) => SocketAddr::new(server.address, server.port).to_string(),
            None => "its own destination".to_owned(),
        }
    }

    fn server(&self) -> Option<String> {
        let account = &self.account;
        let line = account.connection.or(account.known);
        let picked = account.picked.or(account.stateless);
        line.map(|line| line.server.to_string()).or_else(|| picked.map(|id| self.name(id)))
    }

    fn service_name(&self) -> Option<String> {
        let account = &self.account;
        let of_server = |line: Line| self.snapshot.services.service_of(line.server_id);
        let by_connection = account.connection.or(account.known).and_then(of_server);
        let services = &self.snapshot.services.services;
        let sought = || services.get(account.service?.0 as usize)?.as_ref();
        by_connection.or_else(sought).map(|service| service.name.clone())
    }

    fn sent(&self, (port, frame): &(PortId, Vec<u8>)) -> Sent {
        Sent {
            interface: interface(self.snapshot, *port),
            packet: Headers::read(frame).to_string(),
            frame: hex(frame),
        }
    }

    fn verdict(&self) -> Verdict {
        let account = &self.account;
        let verdict = |kind: &str, name: Option<&str>, text: String, remedy: &str| Verdict {
            kind: kind.to_owned(),
            name: name.map(str::to_owned),
            text,
            remedy: Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty()),
        };
        let dropped = |kind: &str, reason: Drop, more: String| {
            let text = format!("Dropped: {}{more}", reason.sentence().trim());
            verdict(kind, Some(reason.name()), text, reason.remedy())
        };
        match account.end {
            End::Sent(_) => {
                let line = account.connection.or(account.known);
                let reverse = line.is_some_and(|line| line.way == Way::Reverse);
                let text = match (reverse, self.server()) {
                    (true, _) => "It reaches the client.".to_owned(),
                    (false, Some(server)) => format!("It reaches the server {server}."),
                    (false, None) => "It leaves.".to_owned(),
                };
                let dr = line.is_some_and(|line| line.forward == Forward::Dr && !reverse);
                let remedy = match dr {
                    true => "If the server does not answer: is the VIP on its loopback interface?",
                    false => "",
                };
                verdict("sent", None, text, remedy)
            }
            End::Answered(reason) => {
                let answers: Vec<&str> =
                    account.answers.iter().map(|answer| answer.name()).collect();
                dropped("answered", reason, format!(" We answer: {}.", answers.join(", ")))
            }
            End::Dropped(reason) => dropped("dropped", reason, String::new()),
            End::Punted(reason) => {
                let text = format!("Given back to the kernel: {}", reason.sentence().trim());
                verdict("punted", Some(reason.name()), text, punt_remedy(reason, self))
            }
            End::Waits => {
                let text = match account.asked.is_empty() {
                    true => "It is held for up to a second: for its datagram's first fragment.",
                    false => "It is held for up to a second: for a neighbour's MAC.",
                };
                let remedy = match account.asked.is_empty() {
                    true => Punt::Fragment.remedy(),
                    false => Drop::NeighbourUnresolved.remedy(),
                };
                verdict("waits", None, text.to_owned(), remedy)
            }
        }
    }
}

fn punt_remedy(reason: Punt, teller: &Teller<'_>) -> &'static str {
    match (reason, teller.account.service) {
        (Punt::NoConnection, Some((_, true))) => "FTP data needs a persistent FTP service.",
        _ => reason.remedy(),
    }
}

fn ip_len(parsed: &Parsed) -> Option<usize> {
    match parsed {
        Parsed::V4(packet) => Some(packet.ip_len()),
        Parsed::V6(packet) => Some(packet.ip_len()),
        _ => None,
    }
}

/// What clients connect to.
fn key(snapshot: &Snapshot, id: ServiceId) -> String {
    let Some(Some(service)) = snapshot.services.services.get(id as usize) else {
        return String::new();
    };
    match (service.key.endpoint(), service.key.mark()) {
        (Some(endpoint), _) => endpoint.to_string(),
        (_, mark) => format!("mark {}", mark.unwrap_or(0)),
    }
}
