//! The entries of `services:`: neighbours of one name that say the same are one entry, as they were
//! in the file.

use dataplane::{
    forward::{ServiceKey, Tunnel},
    policy::{Gone, Lifecycle, MssClamp, Persistence},
    snapshot::LocalAddress,
};
use hashbrown::HashMap;
use health::{check::Require, pool::AllDown};
use sched::Plan;

use super::{
    check, hooks, lifecycle,
    node::{self, Map, Node, list, map, word},
    on_join, timeouts,
};
use crate::{
    compile::ServerKey,
    event::rfc3339,
    model::{AdminState, Hints, Model, OnDown, Server, Service},
    registry::{Overrides, Said},
};

/// One entry.
pub(super) struct Entry {
    /// The keys but `servers`.
    above: Map,
    /// What is to be known of it.
    notes: Vec<String>,
    /// Each with its comments.
    servers: Vec<(Vec<String>, Node)>,
    /// Why it cannot stand in a file.
    pub(super) refused: Option<String>,
}

impl Entry {
    /// How many lines [`Entry::text`] has.
    pub(super) fn lines(&self) -> usize {
        self.text().lines().count()
    }

    pub(super) fn text(&self) -> String {
        let mut lines: Vec<String> = self.notes.iter().map(|note| format!("  # {note}")).collect();
        let first = |at: usize| if at == 0 { "  - " } else { "    " };
        for (at, line) in self.above.lines().into_iter().enumerate() {
            lines.push(format!("{}{line}", first(at)));
        }
        if self.servers.is_empty() {
            lines.push("    servers: []".to_owned());
        } else {
            lines.push("    servers:".to_owned());
        }
        for (comments, server) in &self.servers {
            lines.extend(comments.iter().map(|comment| format!("      # {comment}")));
            lines.push(format!("      - {}", server.flow()));
        }
        if let Some(why) = &self.refused {
            lines = lines.iter().map(|line| format!("#{line}")).collect();
            lines.insert(0, format!("# This one cannot stand in a file: {why}"));
        }
        lines.into_iter().map(|line| line + "\n").collect()
    }
}

/// How overrides are written.
struct Writer<'a> {
    model: &'a Model,
    overrides: &'a Overrides,
    effective: bool,
}

pub(super) fn entries(model: &Model, overrides: &Overrides, effective: bool) -> Vec<Entry> {
    let writer = Writer { model, overrides, effective };
    let mut groups: Vec<Vec<&Service>> = Vec::new();
    for service in &model.services {
        match groups.last_mut().filter(|group| writer.together(group, service)) {
            Some(group) => group.push(service),
            None => groups.push(vec![service]),
        }
    }
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut entries = Vec::new();
    for group in &groups {
        let seen = names.entry(&group[0].name).or_default();
        *seen += 1;
        entries.push(writer.entry(group, *seen));
    }
    entries
}

/// The keys of one service, and those of its servers, as they are configured.
pub(super) fn facts(model: &Model, service: &Service) -> (Map, Vec<Map>) {
    let overrides = Overrides::default();
    let writer = Writer { model, overrides: &overrides, effective: false };
    let Entry { above, servers, .. } = writer.entry(&[service], 1);
    (above, servers.into_iter().filter_map(|(_, server)| server.into_map()).collect())
}

impl Writer<'_> {
    /// The service says the same as those of the group, so that one entry stands for them all.
    fn together(&self, group: &[&Service], service: &Service) -> bool {
        let Some(first) = group.first() else { return false };
        if first.name != service.name || service.key.endpoint().is_none() {
            return false;
        }
        let all: Vec<&Service> = group.iter().copied().chain([service]).collect();
        let (one, other) = (self.entry(group, 1), self.entry(&[service], 1));
        let said = |entry: &Entry| {
            let servers: Vec<String> = entry.servers.iter().map(|(_, s)| s.flow()).collect();
            let above: Vec<String> = entry.above.lines();
            let above = above.into_iter().filter(|line| !line.starts_with("listen"));
            (above.collect::<Vec<_>>(), servers)
        };
        said(&one) == said(&other) && mask(&all).is_some()
    }

    fn entry(&self, group: &[&Service], nth: usize) -> Entry {
        let service = group[0];
        let mut above = map();
        let mut notes = Vec::new();
        let name = if nth == 1 { service.name.clone() } else { format!("{}-{nth}", service.name) };
        if nth > 1 {
            notes.push(format!("runs as {}, beside another one of that name", service.name));
        }
        above.put("name", word(name));
        takes(group, &mut above);
        let except = &service.policy.except_ports;
        above.put_some("except_ports", list(except.iter().map(super::ports)).if_any());
        above.put("forward", word(service.forward.name()));
        let tunnel = shared_tunnel(service);
        above.put_some("tunnel", tunnel.and_then(tunnel_of));
        above.put("scheduler", scheduler(service.policy.scheduler, self.model));
        above.put_some("persistence", persistence(group));
        above.put_some("one_packet", service.policy.one_packet.then(|| word(true)));
        above.put_some(
            "on_join",
            service.on_join.map(|own| on_join(own).unwrap_or(word("nothing"))),
        );
        above.put_some("access", super::access(&service.policy.access));
        above.put_some("local_addresses", self.local_group(group).map(word));
        let clamp = match service.policy.mss_clamp {
            MssClamp::Off => None,
            MssClamp::Path => Some(word("path")),
            MssClamp::Octets(octets) => Some(word(octets)),
        };
        above.put_some("mss_clamp", clamp);
        above.put_some("timeouts", timeouts(&service.timeouts));
        self.lifecycle(service, &mut above);
        let shared = self.shared_checks(service);
        above.put_some("checks", shared.clone());
        health(service, &mut above, &mut notes);
        let sorry = service.health.sorry.as_ref();
        above.put_some("sorry", sorry.map(|server| self.server(service, server, tunnel, &None)));
        let first = nth == 1;
        above.put_some(
            "hooks",
            first.then(|| hooks(self.model, Some(&service.name))).and_then(Node::if_any),
        );
        let server = |server: &Server| {
            (self.comments(service, server), self.server(service, server, tunnel, &shared))
        };
        let servers = service.servers.iter().map(server).collect();
        Entry { above, notes, servers, refused: None }
    }

    /// The group whose addresses its FullNAT servers take.
    fn local_group(&self, services: &[&Service]) -> Option<&str> {
        let all = services.iter().all(|service| service.policy.local_addresses.is_empty());
        let fits = |group: &&crate::model::LocalGroup| {
            services.iter().all(|service| {
                let of = |local: &&LocalAddress| local.address.is_ipv6() == service.key.is_ipv6();
                let own = group.addresses.iter().filter(of);
                own.eq(service.policy.local_addresses.iter())
            })
        };
        let group = self.model.local_groups.iter().find(fits).filter(|_| !all)?;
        Some(&group.name)
    }

    fn lifecycle(&self, service: &Service, above: &mut Map) {
        let now = &service.policy.lifecycle;
        let base = Lifecycle { down: None, ..self.model.lifecycle };
        let settings = lifecycle(now, &base, above);
        above.put_some("lvs", settings.if_any());
        let existing = match now.down {
            Some(Gone::Reset) => Some("reset"),
            Some(_) => Some("reschedule"),
            None => service.health.keeps.then_some("keep"),
        };
        above.put_some("existing", existing.map(word));
    }

    /// The checks that all servers have, if they have some.
    fn shared_checks(&self, service: &Service) -> Option<Node> {
        let mut all = service.servers.iter().map(|server| check::uses(service, server));
        let first = all.next()?.if_any()?;
        all.all(|other| other == first).then_some(first)
    }

    fn server(
        &self,
        service: &Service,
        server: &Server,
        shared_tunnel: Option<Tunnel>,
        shared_checks: &Option<Node>,
    ) -> Node {
        let mut of = map();
        let address = match server.port {
            port if port == service.key.port() => server.address.to_string(),
            port => std::net::SocketAddr::new(server.address, port).to_string(),
        };
        of.put("address", word(address));
        of.put_some("name", server.name.as_ref().map(word));
        let weight = self.overrides.weight(service.key, server).filter(|_| self.effective);
        let weight = weight.unwrap_or(server.weight);
        of.put_some("weight", (weight != 1).then(|| word(weight)));
        of.put_some("mac", server.mac.map(word));
        let forward = server.forward;
        of.put_some("forward", (forward != service.forward).then(|| word(forward.name())));
        let own = forward == dataplane::forward::Forward::Tun
            && server.tunnel != shared_tunnel.unwrap_or_default();
        let tunnel = own.then(|| tunnel_of(server.tunnel).unwrap_or(word("ipip")));
        of.put_some("tunnel", tunnel);
        of.put_some("max_connections", (server.upper > 0).then(|| word(server.upper)));
        of.put_some("resume_connections", (server.lower > 0).then(|| word(server.lower)));
        of.put_some("tier", (server.tier > 0).then(|| word(server.tier)));
        let state = match self.effective {
            true => self.overrides.state(service.key, server),
            false => server.state,
        };
        of.put_some("state", (state != AdminState::Ready).then(|| word(state.name())));
        if shared_checks.is_none() {
            of.put_some("checks", check::uses(service, server).if_any());
        }
        of.into()
    }

    /// Its overrides, in words.
    fn comments(&self, service: &Service, server: &Server) -> Vec<String> {
        let Some(known) = self.overrides.get(&ServerKey::of(service.key, server)) else {
            return Vec::new();
        };
        let state = known
            .state
            .as_ref()
            .map(|said| comment("state", said, |state| state.name().to_owned()));
        let weight = known.weight.as_ref().map(|said| comment("weight", said, |w| w.to_string()));
        [state, weight].into_iter().flatten().collect()
    }
}

fn comment<T: Copy>(field: &str, said: &Said<T>, shown: impl Fn(T) -> String) -> String {
    let (value, file_value) = (shown(said.value), shown(said.file_value));
    let when = rfc3339(said.sign.when);
    format!("override: {field} {value} in place of {file_value}, since {when} by {}", said.sign)
}

fn takes(group: &[&Service], of: &mut Map) {
    match group[0].key {
        ServiceKey::Mark { mark, ipv6 } => {
            of.put("mark", word(mark));
            of.put_some("family", ipv6.then(|| word("ipv6")));
        }
        ServiceKey::Endpoint(_) => {
            let keys = || group.iter().map(|service| word(service.key));
            let one = keys().next().filter(|_| group.len() == 1);
            of.put("listen", one.unwrap_or_else(|| list(keys())));
        }
    }
}

/// What servers have that are not in TUN can only come from their service.
fn shared_tunnel(service: &Service) -> Option<Tunnel> {
    let not_tun = |server: &&Server| server.forward != dataplane::forward::Forward::Tun;
    let all = || service.servers.iter().chain(&service.health.sorry);
    let said = all().filter(not_tun).map(|server| server.tunnel).find(|t| *t != Tunnel::Ipip);
    let is_tun = service.forward == dataplane::forward::Forward::Tun;
    let of_first = || all().map(|server| server.tunnel).find(|t| *t != Tunnel::Ipip);
    said.or_else(|| of_first().filter(|_| is_tun))
}

fn tunnel_of(tunnel: Tunnel) -> Option<Node> {
    let (kind, port, checksum) = match tunnel {
        Tunnel::Ipip => return None,
        Tunnel::Gre { checksum } => ("gre", None, checksum),
        Tunnel::Gue { port, checksum } => ("gue", Some(port), checksum),
    };
    let mut of = map();
    of.put("type", word(kind));
    of.put_some("port", port.map(word));
    of.put_some("checksum", checksum.then(|| word(true)));
    Some(of.into())
}

fn scheduler(plan: Plan, model: &Model) -> Node {
    let base = model.plan(plan.kind);
    let mut of = map();
    of.put("name", word(plan.kind.name()));
    of.put_some("port", plan.port.then(|| word(true)));
    of.put_some("fallback", plan.fallback.then(|| word(true)));
    let expiration = plan.expiration;
    of.put_some("expiration", (expiration != base.expiration).then(|| node::seconds(expiration)));
    let destinations = plan.destinations;
    of.put_some("destinations", (destinations != base.destinations).then(|| word(destinations)));
    of.put_some("slots", (plan.slots != base.slots).then(|| word(plan.slots)));
    match Node::from(of) {
        Node::Map(entries) if entries.len() == 1 => word(plan.kind.name()),
        options => options,
    }
}

/// The mask that all services of a group have: none, or the same; `None` if it is neither.
fn mask(group: &[&Service]) -> Option<Option<u8>> {
    let all: Vec<(u8, u8)> = group
        .iter()
        .filter_map(|service| {
            let full = if service.key.is_ipv6() { 128 } else { 32 };
            service.policy.persistence.map(|Persistence { prefix, .. }| (prefix, full))
        })
        .collect();
    if all.iter().all(|(prefix, full)| prefix == full) {
        return Some(None);
    }
    let first = all.first()?.0;
    all.iter().all(|(prefix, _)| *prefix == first).then_some(Some(first))
}

fn persistence(group: &[&Service]) -> Option<Node> {
    let Persistence { timeout, .. } = group[0].policy.persistence?;
    let Some(mask) = mask(group).flatten() else { return Some(node::seconds(timeout)) };
    let mut of = map();
    of.put("timeout", node::seconds(timeout));
    of.put("mask", word(mask));
    Some(of.into())
}

fn health(service: &Service, above: &mut Map, notes: &mut Vec<String>) {
    let health = &service.health;
    // Without checks these would do nothing, and the file's reader says so.
    if service.servers.iter().any(|server| !server.checks.is_empty()) {
        let require = match health.require {
            Require::All => None,
            Require::Any => Some(word("any")),
            Require::AtLeast(count) => Some(word(count)),
        };
        above.put_some("require", require);
        let on_down = match health.on_down {
            OnDown::Leave => None,
            OnDown::Weight0 => Some("weight0"),
            OnDown::Remove => Some("remove"),
        };
        above.put_some("on_down", on_down.map(word));
        let all_down = match health.pool.all_down {
            AllDown::Refuse => None,
            AllDown::KeepLast => Some("keep_last"),
            AllDown::AllUp => Some("all_up"),
        };
        above.put_some("all_down", all_down.map(word));
        above.put_some(
            "damping",
            health.damping.map(|damping| {
                let mut of = map();
                of.put("changes", word(damping.changes));
                of.put("within", node::time(damping.within));
                of.put("hold", node::time(damping.hold));
                of.into()
            }),
        );
        above.put_some("hints", hints(health.hints));
        above.put_some("pause_without_vip", health.pause_without_vip.then(|| word(true)));
    }
    let (quorum, hysteresis) = (health.pool.quorum, health.pool.hysteresis);
    let total: u64 = service.servers.iter().map(|server| u64::from(server.weight)).sum();
    if (quorum, hysteresis) != (1, 0) && quorum + hysteresis > total {
        notes.push(format!(
            "quorum: {quorum}, hysteresis: {hysteresis} are more than the weights of all servers, {total}"
        ));
    } else if (quorum, hysteresis) != (1, 0) {
        above.put("quorum", word(quorum));
        above.put_some("hysteresis", (hysteresis > 0).then(|| word(hysteresis)));
    }
    above.put_some("withdraw", health.withdraw.then(|| word(true)));
}

fn hints(hints: Hints) -> Option<Node> {
    let mut of = map();
    of.put("failures", word(hints.failures));
    of.put_some("suspect", hints.suspect.map(node::time));
    (hints != Hints::default()).then(|| of.into())
}
