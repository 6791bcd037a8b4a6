//! A virtual server as services of xlvs, with what keepalived makes of it.

use std::net::IpAddr;

use super::{
    checks::{self, Asked},
    forwarding::Method,
    global::Global,
    group::Group,
    hooks,
    real::Real,
    virtual_server::{Key, VirtualServer},
};
use crate::{
    document::{Checks, Document, Keys, Pool, Server, Servers, Service, Takes, lift},
    note::{Notes, Place},
    server_address::endpoint,
    yaml::Yaml,
};

/// The addresses and marks of a virtual server.
struct Taken {
    listens: Vec<(IpAddr, Option<u16>)>,
    marks: Vec<(u32, bool)>,
}

/// Adds the services that a virtual server is: one for its addresses of each family, one for
/// each mark.
pub(super) fn add(
    server: VirtualServer,
    groups: &[Group],
    global: &Global,
    document: &mut Document,
) {
    let mut notes = server.notes.clone();
    let taken = taken(&server, groups, &mut notes);
    if taken.listens.is_empty() && taken.marks.is_empty() {
        notes.lost(&server.place, "a virtual server that takes nothing");
        document.notes.append(notes);
        return;
    }
    let method = server.method.clone().unwrap_or_else(|| {
        notes.say(&server.place, "no lvs_method: keepalived takes NAT");
        Method::NAT
    });
    let takes = all_takes(&server, &taken, &mut notes);
    let mut members = members(&server, &taken, &method, global, document);
    let mut checks = Vec::new();
    lift(&mut members, &mut checks);
    let checked = !checks.is_empty()
        || members.iter().any(|server| server.checks.as_ref().is_some_and(|c| !c.is_empty()));
    let sorry = sorry(&server, &taken, &method, &mut notes);
    let hooks = hooks::of(&server, taken.listens.len() + taken.marks.len(), global, document);
    let mut keys = vec![("forward", Yaml::plain(method.forward))];
    keys.extend(method.tunnel.clone().map(|tunnel| ("tunnel", tunnel)));
    keys.push(("scheduler", server.scheduler.yaml(&server.place, &mut notes)));
    let persistence = persistence(&server, &taken, &mut notes);
    let name = match (&server.name, &server.key) {
        (Some(name), _) | (None, Key::Group(name)) => name.clone(),
        (None, Key::Mark(mark)) => format!("mark {mark}"),
        (None, Key::Address(..)) => {
            takes.first().map(|(takes, _)| shown(takes)).unwrap_or_default()
        }
    };
    let health = health(&server, &members, checked, !taken.marks.is_empty(), &mut notes);
    let shared = (takes.len() > 1).then(|| {
        let name = pool_name(document, &name);
        document.pools.push(Pool { name: name.clone(), servers: members.clone() });
        name
    });
    for (number, (takes, ipv6)) in takes.into_iter().enumerate() {
        let mut keys = keys.clone();
        let mut notes = if number == 0 { std::mem::take(&mut notes) } else { Notes::default() };
        keys.extend(
            persistence
                .as_ref()
                .map(|seconds| ("persistence", mask(*seconds, &server, ipv6, &mut notes))),
        );
        if let Some(place) = &server.one_packet {
            one_packet(&server, &takes, place, &mut keys, &mut notes);
        }
        keys.extend(health.clone());
        let pausing = server.ha_suspend.is_some() && checked;
        if pausing && matches!(takes, Takes::Listen(_)) && taken.marks.is_empty() {
            keys.push(("pause_without_vip", Yaml::plain(true)));
        }
        document.services.push(Service {
            name: document.service_name(&name),
            place: server.place.clone(),
            takes,
            keys,
            checks: checks.clone(),
            sorry: sorry.clone(),
            hooks: hooks.clone(),
            servers: match &shared {
                Some(pool) => Servers::Pool(pool.clone()),
                None => Servers::Here(std::mem::take(&mut members)),
            },
            notes,
        });
    }
}

fn taken(server: &VirtualServer, groups: &[Group], notes: &mut Notes) -> Taken {
    let family = || {
        let plain = server.servers.iter().find(|real| {
            real.method.as_ref().or(server.method.as_ref()).is_none_or(|m| m.forward != "tun")
        });
        let said = server.ipv6.or_else(|| plain.map(|real| real.address.is_ipv6()));
        // All of them tunnelled: that of the servers, if it is one.
        let all = |v6: bool| server.servers.iter().all(|real| real.address.is_ipv6() == v6);
        said.unwrap_or_else(|| !server.servers.is_empty() && all(true))
    };
    match &server.key {
        Key::Address(address, port) => {
            Taken { listens: vec![(*address, *port)], marks: Vec::new() }
        }
        Key::Mark(mark) => Taken { listens: Vec::new(), marks: vec![(*mark, family())] },
        Key::Group(name) => {
            let Some(group) = groups.iter().find(|group| group.name == *name) else {
                let text = format!("there is no virtual_server_group {name}");
                notes.lost(&server.place, text);
                return Taken { listens: Vec::new(), marks: Vec::new() };
            };
            let marks = group.marks.iter().map(|(mark, v6)| (*mark, v6.unwrap_or_else(family)));
            let mut taken = Taken { listens: group.listens.clone(), marks: marks.collect() };
            let before = taken.listens.len() + taken.marks.len();
            taken.listens.sort_unstable();
            taken.listens.dedup();
            taken.marks.sort_unstable();
            taken.marks.dedup();
            if taken.listens.len() + taken.marks.len() < before {
                notes.say(
                    &group.place,
                    format!("virtual_server_group {name} names something twice"),
                );
            }
            taken
        }
    }
}

/// What each service takes, and whether that is IPv6.
fn all_takes(server: &VirtualServer, taken: &Taken, notes: &mut Notes) -> Vec<(Takes, bool)> {
    let mut takes = Vec::new();
    let protocol = match (&server.protocol, taken.listens.is_empty()) {
        (Some((protocol, _)), false) => protocol,
        (Some((_, place)), true) => {
            notes.say(
                place,
                "protocol of a fwmark: a mark has the protocols that its rules give it",
            );
            "tcp"
        }
        (None, true) => "tcp",
        (None, false) => {
            let text = "NO PROTOCOL: keepalived takes UDP, and so does this. If TCP was meant, it \
                        never worked; write /tcp";
            notes.say(&server.place, text);
            "udp"
        }
    };
    for v6 in [false, true] {
        let own = taken.listens.iter().filter(|(address, _)| address.is_ipv6() == v6);
        let listen: Vec<String> = own
            .map(|(address, port)| {
                format!("{}/{protocol}", endpoint(*address, Some(port.unwrap_or(0))))
            })
            .collect();
        if !listen.is_empty() {
            takes.push((Takes::Listen(listen), v6));
        }
    }
    let marks =
        taken.marks.iter().map(|(mark, ipv6)| (Takes::Mark { mark: *mark, ipv6: *ipv6 }, *ipv6));
    takes.extend(marks);
    takes
}

fn shown(takes: &Takes) -> String {
    match takes {
        Takes::Listen(listen) => listen.first().cloned().unwrap_or_default(),
        Takes::Mark { mark, .. } => format!("mark {mark}"),
    }
}

fn pool_name(document: &Document, wanted: &str) -> String {
    let taken = |name: &str| document.pools.iter().any(|pool| pool.name == name);
    let short: String = wanted.chars().take(56).collect();
    let mut name = short.clone();
    let mut number = 2;
    while taken(&name) {
        name = format!("{short}-{number}");
        number += 1;
    }
    name
}

/// Seconds; keepalived sets some where a service without a port needs them.
fn persistence(server: &VirtualServer, taken: &Taken, notes: &mut Notes) -> Option<u64> {
    if let Some((seconds, _)) = &server.persistence {
        return Some(*seconds);
    }
    if taken.listens.iter().any(|(_, port)| port.is_none()) {
        let text = "no port: keepalived makes such a service persistent, for 6 minutes";
        notes.say(&server.place, text);
        return Some(360);
    }
    if let Some((_, place)) = &server.granularity {
        notes.say(place, "persistence_granularity without persistence_timeout does nothing");
    }
    None
}

fn mask(seconds: u64, server: &VirtualServer, ipv6: bool, notes: &mut Notes) -> Yaml {
    let timeout = Yaml::time(seconds * 1000);
    let Some((length, place)) = &server.granularity else { return timeout };
    if !ipv6 && *length > 32 {
        notes.lost(place, format!("persistence_granularity {length} in a service of IPv4"));
        return timeout;
    }
    Yaml::Map(vec![("timeout", timeout), ("mask", Yaml::plain(length))])
}

fn one_packet(
    server: &VirtualServer,
    takes: &Takes,
    place: &Place,
    keys: &mut Keys,
    notes: &mut Notes,
) {
    let udp = server.protocol.as_ref().is_none_or(|(protocol, _)| *protocol == "udp");
    if udp || matches!(takes, Takes::Mark { .. }) {
        keys.push(("one_packet", Yaml::plain(true)));
    } else {
        notes.say(place, "ops is for UDP only: keepalived resets it");
    }
}

/// What happens when servers fail.
fn health(
    server: &VirtualServer,
    members: &[Server],
    checked: bool,
    marked: bool,
    notes: &mut Notes,
) -> Keys {
    let mut keys = Keys::new();
    let inhibits = |real: &Real| real.inhibit.unwrap_or(server.inhibit);
    let there = |real: &&Real| members.iter().any(|member| member.place == real.place);
    let inhibit = server.servers.iter().filter(there).any(inhibits);
    if checked {
        if let Some(other) =
            server.servers.iter().filter(there).find(|real| inhibits(real) != inhibit)
        {
            let text = "inhibit_on_failure of some servers only: a service has it for all";
            notes.lost(&other.place, text);
        }
        keys.push(("on_down", Yaml::plain(if inhibit { "weight0" } else { "remove" })));
        if inhibit {
            keys.push(("existing", Yaml::plain("keep")));
        }
    }
    let total: u64 = server.servers.iter().filter(there).map(|real| weight(server, real)).sum();
    let quorum = quorum(server, total, notes);
    if let Some(quorum) = quorum.filter(|quorum| *quorum > 0) {
        keys.push(("quorum", Yaml::plain(quorum)));
    }
    let hysteresis = hysteresis(server, quorum.unwrap_or(1), total, notes);
    if hysteresis > 0 {
        keys.push(("hysteresis", Yaml::plain(hysteresis)));
    }
    if let (Some(place), true) = (&server.ha_suspend, marked) {
        notes.say(place, "ha_suspend with a fwmark: keepalived clears it");
    } else if let (Some(place), true) = (&server.ha_suspend, !checked) {
        notes.say(place, "ha_suspend without checkers does nothing");
    }
    keys
}

/// Not above what the weights come to.
fn quorum(server: &VirtualServer, total: u64, notes: &mut Notes) -> Option<u64> {
    let (quorum, place) = server.quorum.as_ref()?;
    if *quorum > total {
        let text =
            format!("quorum {quorum} is more than all weights: keepalived lowers it to {total}");
        notes.say(place, text);
    }
    Some((*quorum).min(total).min(1 << 30))
}

/// Below the quorum, and so that a quorum that was lost can be met again.
fn hysteresis(server: &VirtualServer, quorum: u64, total: u64, notes: &mut Notes) -> u64 {
    let Some((hysteresis, place)) = &server.hysteresis else { return 0 };
    let below = (*hysteresis).min(quorum.saturating_sub(1));
    if below < *hysteresis {
        let text =
            format!("hysteresis {hysteresis} is not below the quorum: keepalived makes it {below}");
        notes.say(place, text);
    }
    let reachable = below.min(total.saturating_sub(quorum));
    if reachable < below {
        let text = format!(
            "quorum and hysteresis are more than all weights together: with keepalived a lost quorum \
             never returns; hysteresis is {reachable} here"
        );
        notes.say(place, text);
    }
    reachable
}

/// xlvs has weights up to 65535.
fn weight(server: &VirtualServer, real: &Real) -> u64 {
    real.weight.or(server.weight).unwrap_or(1).min(65_535)
}

fn members(
    server: &VirtualServer,
    taken: &Taken,
    method: &Method,
    global: &Global,
    document: &mut Document,
) -> Vec<Server> {
    let mut members: Vec<Server> = Vec::new();
    for real in &server.servers {
        let mut notes = real.notes.clone();
        let own = real.method.as_ref().unwrap_or(method);
        let port = port(taken, own, real.port, &real.place, &mut notes);
        let twice = |known: &&Server| known.address == real.address && known.port == port;
        if members.iter().find(twice).is_some() {
            let text = format!(
                "real_server {} is there twice: keepalived removes the second",
                real.address
            );
            notes.say(&real.place, text);
            document.notes.append(notes);
            continue;
        }
        if let Some(text) = stranger(real.address, own, taken) {
            notes.lost(&real.place, format!("real_server {}: {text}", real.address));
            document.notes.append(notes);
            continue;
        }
        let checks = checks_of(server, real, taken, port, global, &mut document.checks, &mut notes);
        let keys = server_keys(server, real, own, method, &mut notes);
        members.push(Server {
            address: real.address,
            port,
            place: real.place.clone(),
            keys,
            checks: Some(checks),
            notes,
        });
    }
    members
}

/// A server of the other family, which only a tunnel reaches.
fn stranger(address: IpAddr, method: &Method, taken: &Taken) -> Option<&'static str> {
    let families = taken.listens.iter().map(|(vip, _)| vip.is_ipv6());
    let mut families = families.chain(taken.marks.iter().map(|(_, v6)| *v6));
    let fits = method.forward == "tun" || families.all(|v6| v6 == address.is_ipv6());
    (!fits).then_some("of another family than the virtual server, and only TUN reaches it")
}

/// DR and TUN keep the port, so the server's own does not count.
fn port(
    taken: &Taken,
    method: &Method,
    port: Option<u16>,
    place: &Place,
    notes: &mut Notes,
) -> Option<u16> {
    if !method.keeps_port() {
        return port;
    }
    let ports = || taken.listens.iter().map(|(_, port)| *port);
    let same = taken.marks.is_empty() && ports().all(|other| other == port);
    if let Some(port) = port.filter(|_| !same) {
        let text =
            format!("port {port} does not count with {}: the service's is kept", method.forward);
        notes.say(place, text);
    }
    port.filter(|_| same)
}

fn checks_of(
    server: &VirtualServer,
    real: &Real,
    taken: &Taken,
    port: Option<u16>,
    global: &Global,
    checks: &mut Checks,
    notes: &mut Notes,
) -> Vec<String> {
    let of_service = taken.listens.iter().all(|(_, port)| port.is_some()) && taken.marks.is_empty();
    let single = match taken.listens[..] {
        [(_, port)] if taken.marks.is_empty() => port,
        _ => None,
    };
    let asked = Asked {
        timing: real.timing.over(server.timing),
        virtualhost: real.virtualhost.as_deref().or(server.virtualhost.as_deref()),
        port: real.port,
        same_port: real.port.is_none() || real.port == port.or(single),
        service_port: of_service,
    };
    let mut names = Vec::new();
    for checker in &real.checkers {
        match checks::add(checker, &asked, global, checks) {
            Ok(more) => names.extend(more),
            Err(said) => notes.append(said),
        }
    }
    let mut seen = Vec::new();
    names.retain(|name| {
        !seen.contains(name) && {
            seen.push(name.clone());
            true
        }
    });
    names
}

fn server_keys(
    server: &VirtualServer,
    real: &Real,
    own: &Method,
    method: &Method,
    notes: &mut Notes,
) -> Keys {
    let mut keys = Keys::new();
    if let Some(name) = &real.name {
        let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        keys.push(("name", Yaml::text(name)));
    }
    let written = real.weight.or(server.weight).unwrap_or(1);
    let weight = weight(server, real);
    if weight < written {
        notes.lost(&real.place, format!("weight {written}: xlvs has weights up to 65535"));
    }
    if weight != 1 {
        keys.push(("weight", Yaml::plain(weight)));
    }
    if own != method {
        if own.forward != method.forward {
            keys.push(("forward", Yaml::plain(own.forward)));
        }
        match (&own.tunnel, &method.tunnel) {
            (Some(tunnel), _) => keys.push(("tunnel", tunnel.clone())),
            (None, Some(_)) if own.forward == "tun" => keys.push(("tunnel", Yaml::plain("ipip"))),
            _ => {}
        }
    }
    thresholds(real, &mut keys, notes);
    keys
}

fn thresholds(real: &Real, keys: &mut Keys, notes: &mut Notes) {
    let upper = real.upper.min(u32::MAX.into());
    if upper > 0 {
        keys.push(("max_connections", Yaml::plain(upper)));
    }
    if real.lower == 0 {
        return;
    }
    if upper == 0 {
        notes.say(&real.place, "lthreshold without uthreshold does nothing");
    } else if real.lower > upper {
        let text = "lthreshold above uthreshold: the kernel refuses such a server";
        notes.lost(&real.place, text);
    } else {
        keys.push(("resume_connections", Yaml::plain(real.lower)));
    }
}

fn sorry(
    server: &VirtualServer,
    taken: &Taken,
    method: &Method,
    notes: &mut Notes,
) -> Option<Server> {
    let (address, written, place) = server.sorry.as_ref()?;
    let mut own_notes = Notes::default();
    let own = server.sorry_method.as_ref().unwrap_or(method);
    if let Some(text) = stranger(*address, own, taken) {
        notes.lost(place, format!("sorry_server {address}: {text}"));
        return None;
    }
    let port = port(taken, own, *written, place, &mut own_notes);
    let mut keys = Keys::new();
    if own != method {
        keys.push(("forward", Yaml::plain(own.forward)));
        keys.extend(own.tunnel.clone().map(|tunnel| ("tunnel", tunnel)));
    }
    Some(Server {
        address: *address,
        port,
        place: place.clone(),
        keys,
        checks: None,
        notes: own_notes,
    })
}
