//! What `ipvsadm-save` writes.

use std::rc::Rc;

use ::ipvsadm::{
    Checksum, Command, Forward, Program, Protocol, Resolver, ServerSpec, ServiceRef, ServiceSpec,
    Tunnel, parse,
};

use crate::{
    Imported, Settings,
    document::{Document, Keys, Server, Servers, Service, Takes},
    note::{Notes, Place},
    scheduler::{SCHEDULERS, scheduler},
    server_address::{endpoint, unusable},
    yaml::Yaml,
};

/// A service of the kernel and its servers.
struct Row {
    spec: ServiceSpec,
    place: Place,
    servers: Vec<(ServerSpec, Place)>,
}

/// Translates the rules of a save. `name` is what the file is called in notes, `names` knows the
/// names that a save without `-n` has.
pub fn import(name: &str, text: &str, names: &dyn Resolver, settings: &Settings) -> Imported {
    let file: Rc<str> = name.into();
    let mut document = Document::default();
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let place = Place::new(&file, at + 1);
        let words = line.split([' ', '\t', '\r']).filter(|word| !word.is_empty());
        let words: Vec<&str> = words.filter(|word| *word != "ipvsadm").collect();
        if words.is_empty() || words[0].starts_with('#') {
            continue;
        }
        let argv = std::iter::once("ipvsadm").chain(words.iter().copied()).map(str::to_owned);
        match parse(Program::Ipvsadm, &argv.collect::<Vec<_>>(), names) {
            Ok(command) => command_of(command, line, &place, &mut rows, &mut document),
            Err(refusal) => {
                let why = refusal.to_string();
                // Its hint at its help is of no use here.
                let why = why.lines().find(|line| !line.starts_with("Try "));
                let why = why.unwrap_or("ipvsadm does not understand it").trim();
                document.notes.lost(&place, format!("{}: {why}", line.trim()));
            }
        }
    }
    let head = [
        format!("Made from {name} by xlvs import ipvsadm."),
        "Nobody asks whether these servers are well: add checks: if somebody should.".to_owned(),
    ];
    document.head.extend(head);
    rows.into_iter().for_each(|row| add(row, &mut document));
    document.finish(settings)
}

fn command_of(
    command: Command,
    line: &str,
    place: &Place,
    rows: &mut Vec<Row>,
    document: &mut Document,
) {
    let line = line.trim();
    let notes = &mut document.notes;
    match command {
        Command::AddService(spec) => match row(rows, &spec.service) {
            Some(_) => notes.lost(place, format!("{line}: such a service is there already")),
            None => rows.push(Row { spec, place: place.clone(), servers: Vec::new() }),
        },
        Command::EditService(spec) => match row(rows, &spec.service) {
            Some(row) => row.spec = spec,
            None => notes.lost(place, format!("{line}: there is no such service")),
        },
        Command::DeleteService(service) => {
            notes.say(place, format!("{line}: what was added before is taken away"));
            rows.retain(|row| row.spec.service != service);
        }
        Command::Flush => {
            notes.say(place, format!("{line}: what was added before is taken away"));
            rows.clear();
        }
        Command::AddServer(service, spec) | Command::EditServer(service, spec) => {
            let Some(row) = row(rows, &service) else {
                return notes.lost(place, format!("{line}: there is no such service"));
            };
            row.servers.retain(|(known, _)| known.server() != spec.server());
            row.servers.push((spec, place.clone()));
        }
        Command::DeleteServer(service, server) => {
            row(rows, &service)
                .into_iter()
                .for_each(|row| row.servers.retain(|(s, _)| s.server() != server));
        }
        Command::Timeouts(times) => {
            let all = [
                ("tcp_established", times.tcp),
                ("tcp_fin_wait", times.tcpfin),
                ("udp", times.udp),
            ];
            for (key, seconds) in all.into_iter().filter(|(_, seconds)| *seconds > 0) {
                document.timeouts.retain(|(known, _)| *known != key);
                document.timeouts.push((key, seconds.into()));
            }
        }
        Command::StartDaemon(_) | Command::StopDaemon(..) => {
            notes.lost(place, format!("{line}: there is no connection sync"));
        }
        Command::Zero(_) => notes.say(place, format!("{line}: counters begin at zero anyway")),
        _ => notes.lost(place, format!("{line}: no rule")),
    }
}

fn row<'r>(rows: &'r mut [Row], service: &ServiceRef) -> Option<&'r mut Row> {
    rows.iter_mut().find(|row| row.spec.service == *service)
}

fn add(row: Row, document: &mut Document) {
    let Row { spec, place, servers } = row;
    let mut notes = Notes::default();
    let takes = match spec.service {
        ServiceRef::Mark { mark, ipv6 } => Takes::Mark { mark, ipv6 },
        ServiceRef::Endpoint { protocol, address, port } => {
            if let Some(why) = unusable(address) {
                let text = format!("the service {address}:{port}: {why}, not a VIP");
                return document.notes.lost(&place, text);
            }
            Takes::Listen(vec![format!("{}/{}", endpoint(address, Some(port)), word(protocol))])
        }
    };
    let name = match &takes {
        Takes::Listen(listen) => listen.concat(),
        Takes::Mark { mark, ipv6: false } => format!("mark {mark}"),
        Takes::Mark { mark, ipv6: true } => format!("mark {mark} ipv6"),
    };
    let (forward, tunnel) = method(&servers);
    let mut keys: Keys = vec![("forward", Yaml::plain(forward))];
    keys.extend(tunnel.clone().map(|tunnel| ("tunnel", tunnel)));
    keys.push(("scheduler", scheduler_of(&spec, &place, &mut notes)));
    keys.extend(persistence(&spec, &place, &mut notes).map(|value| ("persistence", value)));
    if spec.one_packet {
        if matches!(spec.service.protocol(), None | Some(Protocol::Udp)) {
            keys.push(("one_packet", Yaml::plain(true)));
        } else {
            notes.lost(&place, "-o is for UDP only");
        }
    }
    if let Some(engine) = &spec.pe {
        notes.lost(&place, format!("--pe {engine}: persistence has no engines here"));
    }
    let base = (forward, tunnel);
    let mut members = Vec::new();
    for (server, place) in servers {
        if let Some(why) = unusable(server.address) {
            let text = format!(
                "server {}: {why}, xlvs reaches servers over the network only",
                server.address
            );
            notes.lost(&place, text);
            continue;
        }
        members.push(member(&server, &spec.service, &base, place));
    }
    document.services.push(Service {
        name: document.service_name(&name),
        place: place.clone(),
        takes,
        keys,
        checks: Vec::new(),
        sorry: None,
        hooks: Vec::new(),
        servers: Servers::Here(members),
        notes,
    });
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// That of the first server; the others may have their own.
fn method(servers: &[(ServerSpec, Place)]) -> (&'static str, Option<Yaml>) {
    // ipvsadm's own default is -g.
    servers.first().map_or(("dr", None), |(server, _)| forward(server.forward))
}

fn forward(forward: Forward) -> (&'static str, Option<Yaml>) {
    let word = match forward {
        Forward::Nat => "nat",
        Forward::Dr => "dr",
        Forward::FullNat => "fullnat",
        Forward::Tun(tunnel) => return ("tun", self::tunnel(tunnel)),
    };
    (word, None)
}

fn tunnel(tunnel: Tunnel) -> Option<Yaml> {
    let (mut keys, checksum): (Keys, Checksum) = match tunnel {
        Tunnel::Ipip => return None,
        Tunnel::Gre { checksum: Checksum::None } => return Some(Yaml::plain("gre")),
        Tunnel::Gre { checksum } => (vec![("type", Yaml::plain("gre"))], checksum),
        Tunnel::Gue { port, checksum } => {
            (vec![("type", Yaml::plain("gue")), ("port", Yaml::plain(port))], checksum)
        }
    };
    if checksum != Checksum::None {
        keys.push(("checksum", Yaml::plain(true)));
    }
    Some(Yaml::Map(keys))
}

fn scheduler_of(spec: &ServiceSpec, place: &Place, notes: &mut Notes) -> Yaml {
    let Some(name) = SCHEDULERS.into_iter().find(|known| *known == spec.scheduler) else {
        notes.lost(place, format!("scheduler {}: not known; wlc is written", spec.scheduler));
        return Yaml::plain("wlc");
    };
    scheduler(name, spec.flags.iter().map(|flag| (flag.name(), place)), notes)
}

fn persistence(spec: &ServiceSpec, place: &Place, notes: &mut Notes) -> Option<Yaml> {
    let every = matches!(spec.service, ServiceRef::Endpoint { port: 0, .. });
    let seconds = match spec.persistent {
        Some(seconds) => seconds,
        None if every => {
            notes.lost(place, "port 0 without -p, which the kernel refuses; 6 minutes are written");
            360
        }
        None => return None,
    };
    let timeout = Yaml::time(u64::from(seconds) * 1000);
    if spec.netmask == spec.service.host_prefix() || spec.netmask == 0 {
        return Some(timeout);
    }
    Some(Yaml::Map(vec![("timeout", timeout), ("mask", Yaml::plain(spec.netmask))]))
}

fn member(
    server: &ServerSpec,
    service: &ServiceRef,
    base: &(&'static str, Option<Yaml>),
    place: Place,
) -> Server {
    let mut notes = Notes::default();
    let (forward, tunnel) = forward(server.forward);
    let of_service = match service {
        ServiceRef::Endpoint { port, .. } => *port,
        ServiceRef::Mark { .. } => 0,
    };
    let keeps = matches!(forward, "dr" | "tun");
    if keeps && server.port != of_service && server.port != 0 {
        notes.say(
            &place,
            format!("port {} does not count with {forward}: the service's is kept", server.port),
        );
    }
    let port = Some(server.port).filter(|port| *port > 0 && !(keeps && *port != of_service));
    let mut keys = Keys::new();
    if server.weight > 65_535 {
        notes.lost(&place, format!("weight {}: xlvs has weights up to 65535", server.weight));
    }
    if server.weight != 1 {
        keys.push(("weight", Yaml::plain(server.weight.min(65_535))));
    }
    if forward != base.0 {
        keys.push(("forward", Yaml::plain(forward)));
    }
    match (&tunnel, &base.1) {
        (own, service) if own == service => {}
        (Some(own), _) => keys.push(("tunnel", own.clone())),
        (None, _) if forward == "tun" => keys.push(("tunnel", Yaml::plain("ipip"))),
        _ => {}
    }
    if let Forward::Tun(Tunnel::Gue { checksum: Checksum::Remote, .. }) = server.forward {
        let text = "--tun-remcsum: the outer checksum is filled, the inner one is complete already";
        notes.say(&place, text);
    }
    if server.upper > 0 {
        keys.push(("max_connections", Yaml::plain(server.upper)));
    }
    match (server.lower, server.upper) {
        (0, _) => {}
        (lower, upper) if lower <= upper => keys.push(("resume_connections", Yaml::plain(lower))),
        (lower, _) => notes.lost(&place, format!("-y {lower} without -x, or above it")),
    }
    Server { address: server.address, port, place, keys, checks: None, notes }
}
