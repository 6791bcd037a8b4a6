//! The file that is made, before it is text.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use crate::{
    Imported, Settings,
    note::{Note, Notes, Place},
    server_address::endpoint,
    yaml::{self, Entry, Item, Yaml},
};

/// Keys and values in one line.
pub(crate) type Keys = Vec<(&'static str, Yaml)>;

/// The file.
#[derive(Default)]
pub(crate) struct Document {
    /// What the file comes from, in a few lines.
    pub(crate) head: Vec<String>,
    /// Interfaces that the source names.
    pub(crate) hints: Vec<String>,
    /// Seconds, by their keys.
    pub(crate) timeouts: Vec<(&'static str, u64)>,
    pub(crate) vips: Vec<Vip>,
    pub(crate) checks: Checks,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) services: Vec<Service>,
    /// About nothing that stands in the file.
    pub(crate) notes: Notes,
}

/// An unmanaged VIP: somebody else adds it.
pub(crate) struct Vip {
    pub(crate) address: IpAddr,
    pub(crate) length: u8,
    pub(crate) interface: Option<String>,
    pub(crate) notes: Notes,
}

/// The checks, each once however many servers are asked.
#[derive(Default)]
pub(crate) struct Checks(Vec<(String, Keys, Notes)>);

impl Checks {
    /// The name of the check with these keys, the first of which is its type.
    pub(crate) fn name(&mut self, keys: Keys, notes: Notes) -> String {
        if let Some((name, _, known)) = self.0.iter_mut().find(|(_, known, _)| *known == keys) {
            known.append(notes);
            return name.clone();
        }
        let kind = match keys.first() {
            Some((_, Yaml::Plain(kind))) => kind.clone(),
            _ => "check".to_owned(),
        };
        let same = self.0.iter().filter(|(_, known, _)| known.first() == keys.first()).count();
        let name = if same == 0 { kind } else { format!("{kind}-{}", same + 1) };
        self.0.push((name.clone(), keys, notes));
        name
    }
}

/// A program that is run when something happens.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) argv: Vec<String>,
    pub(crate) on: Vec<&'static str>,
    pub(crate) user: Option<String>,
    pub(crate) at_start: bool,
    pub(crate) notes: Notes,
}

/// Where `scripts/hooks/mail` is to be copied.
const MAIL: &str = "/usr/local/lib/xlvs/mail";

impl Hook {
    /// A mail for each of these events; `place` is where the addresses stand.
    pub(crate) fn mail(
        to: &[String],
        from: Option<&str>,
        on: Vec<&'static str>,
        place: &Place,
    ) -> Self {
        let mut notes = Notes::default();
        let text = format!(
            "mails: copy scripts/hooks/mail of xlvs to {MAIL}; it sends by this box's sendmail or \
             mail, not by an SMTP server"
        );
        notes.say(place, text);
        let from = from.into_iter().flat_map(|from| ["-f".to_owned(), from.to_owned()]);
        let argv = std::iter::once(MAIL.to_owned()).chain(from).chain(to.iter().cloned());
        Self { argv: argv.collect(), on, user: None, at_start: false, notes }
    }

    fn is_mail(&self) -> bool {
        self.argv.first().is_some_and(|program| program == MAIL)
    }
}

/// Servers that several services share.
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) servers: Vec<Server>,
}

/// A real server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: IpAddr,
    pub(crate) port: Option<u16>,
    /// Where it is written.
    pub(crate) place: Place,
    /// What else is said of it.
    pub(crate) keys: Keys,
    /// Its checks, where they are not those of the service.
    pub(crate) checks: Option<Vec<String>>,
    pub(crate) notes: Notes,
}

/// Which packets a service takes.
pub(crate) enum Takes {
    /// `ADDRESS:PORT/PROTOCOL`.
    Listen(Vec<String>),
    /// A mark of one family.
    Mark { mark: u32, ipv6: bool },
}

/// A service.
pub(crate) struct Service {
    pub(crate) name: String,
    /// Where it is written.
    pub(crate) place: Place,
    pub(crate) takes: Takes,
    /// `forward`, `scheduler` and all that is not named below, in the order of the file.
    pub(crate) keys: Keys,
    pub(crate) checks: Vec<String>,
    pub(crate) sorry: Option<Server>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) servers: Servers,
    pub(crate) notes: Notes,
}

/// Where the servers stand.
pub(crate) enum Servers {
    Here(Vec<Server>),
    Pool(String),
}

impl Document {
    /// A name that no service has yet, at most 64 letters as xlvs has them.
    pub(crate) fn service_name(&self, wanted: &str) -> String {
        let clean: String = wanted.chars().filter(|c| !c.is_control()).take(56).collect();
        let clean = if clean.trim().is_empty() { "service".to_owned() } else { clean };
        let taken = |name: &str| self.services.iter().any(|service| service.name == name);
        let mut name = clean.clone();
        let mut number = 2;
        while taken(&name) {
            name = format!("{clean}-{number}");
            number += 1;
        }
        name
    }

    /// A mail that all services have alike is the box's.
    pub(crate) fn lift_mails(&mut self) {
        let first = self.services.first().into_iter().flat_map(|service| &service.hooks);
        let Some(mut lifted) = first.clone().find(|hook| hook.is_mail()).cloned() else { return };
        let (argv, on) = (lifted.argv.clone(), lifted.on.clone());
        let same = |hook: &Hook| hook.argv == argv && hook.on == on;
        if !self.services.iter().all(|service| service.hooks.iter().any(same)) {
            return;
        }
        for service in &mut self.services {
            let (mails, rest) = std::mem::take(&mut service.hooks).into_iter().partition(same);
            service.hooks = rest;
            mails.into_iter().for_each(|mail: Hook| lifted.notes.append(mail.notes));
        }
        self.hooks.push(lifted);
    }

    /// The text and the notes.
    pub(crate) fn finish(mut self, settings: &Settings) -> Imported {
        self.drop_taken();
        self.drop_own();
        self.drop_twins();
        self.lower_quorums();
        let marks = self.marks(settings);
        let mut text = String::new();
        self.head.iter().for_each(|line| yaml::comment(&mut text, line, 0));
        let all = self.all_notes();
        let lost = all.iter().filter(|note| note.lost).count();
        if lost > 0 {
            let line =
                format!("{lost} of it could not be translated; look for \"not translated\".");
            yaml::comment(&mut text, &line, 0);
        }
        self.notes.comments().iter().for_each(|line| yaml::comment(&mut text, line, 0));
        text.push_str(&yaml::document(&self.entries(settings, marks)));
        Imported { yaml: text, notes: all }
    }

    /// What another service takes already.
    fn drop_taken(&mut self) {
        let mut taken = BTreeSet::new();
        let notes = &mut self.notes;
        let mut once = |what: String, place: &Place| {
            let new = taken.insert(what.clone());
            if !new {
                notes.lost(place, format!("{what}: another service takes it already"));
            }
            new
        };
        self.services.retain_mut(|service| {
            let place = service.place.clone();
            match &mut service.takes {
                Takes::Listen(listen) => {
                    listen.retain(|one| once(one.clone(), &place));
                    !listen.is_empty()
                }
                Takes::Mark { mark, ipv6 } => once(format!("mark {mark}, IPv6 {ipv6}"), &place),
            }
        });
        let used = |pool: &Pool| {
            let of = |service: &Service| matches!(&service.servers, Servers::Pool(name) if *name == pool.name);
            self.services.iter().any(of)
        };
        self.pools.retain(used);
    }

    /// A server that is a VIP here gets its packets from itself: xlvs refuses it.
    fn drop_own(&mut self) {
        let listens = self.services.iter().filter_map(|service| match &service.takes {
            Takes::Listen(listen) => Some(listen),
            Takes::Mark { .. } => None,
        });
        let address = |text: &String| {
            let (endpoint, _) = text.rsplit_once('/')?;
            endpoint.parse::<SocketAddr>().ok().map(|endpoint| endpoint.ip())
        };
        let own: BTreeSet<IpAddr> = listens
            .flatten()
            .filter_map(address)
            .chain(self.vips.iter().map(|vip| vip.address))
            .collect();
        let notes = &mut self.notes;
        let mut stays = |server: &Server| {
            let stays = !own.contains(&server.address);
            if !stays {
                notes.append(server.notes.clone());
                let text = "is a VIP, too: packets would come back to this box";
                notes.lost(&server.place, format!("server {} {text}", server.address));
            }
            stays
        };
        self.pools.iter_mut().for_each(|pool| pool.servers.retain(&mut stays));
        for service in &mut self.services {
            if let Servers::Here(servers) = &mut service.servers {
                servers.retain(&mut stays);
            }
            service.sorry = service.sorry.take().filter(&mut stays);
        }
    }

    /// A server without a port is the same as one with the service's.
    fn drop_twins(&mut self) {
        let ports = |takes: &Takes| -> Vec<u16> {
            let Takes::Listen(listen) = takes else { return vec![0] };
            let port = |text: &String| {
                let (endpoint, _) = text.rsplit_once('/')?;
                endpoint.rsplit_once(':')?.1.parse().ok()
            };
            listen.iter().filter_map(port).collect()
        };
        for pool in &mut self.pools {
            let of = |service: &&Service| matches!(&service.servers, Servers::Pool(name) if *name == pool.name);
            let ports: Vec<u16> =
                self.services.iter().filter(of).flat_map(|service| ports(&service.takes)).collect();
            twins(&mut pool.servers, &ports, &mut self.notes);
        }
        for service in &mut self.services {
            let ports = ports(&service.takes);
            if let Servers::Here(servers) = &mut service.servers {
                twins(servers, &ports, &mut self.notes);
            }
        }
    }

    /// A quorum that servers, after some are not there, cannot reach.
    fn lower_quorums(&mut self) {
        for service in &mut self.services {
            let servers = match &service.servers {
                Servers::Here(servers) => servers.as_slice(),
                Servers::Pool(name) => {
                    let pool = self.pools.iter().find(|pool| pool.name == *name);
                    pool.map_or(&[][..], |pool| pool.servers.as_slice())
                }
            };
            let total: u64 = servers.iter().map(|s| number(&s.keys, "weight").unwrap_or(1)).sum();
            let Some(quorum) = number(&service.keys, "quorum").filter(|n| *n > total) else {
                continue;
            };
            if let Some(server) = servers.first() {
                let text = format!(
                    "quorum {quorum} is more than the weights of the servers that are left"
                );
                service.notes.lost(&server.place, text);
            }
            service.keys.retain(|(key, _)| !matches!(*key, "quorum" | "hysteresis"));
            if total > 0 {
                service.keys.push(("quorum", Yaml::plain(total)));
            }
        }
    }

    fn entries(self, settings: &Settings, marks: Option<Entry>) -> Vec<Entry> {
        let mut entries = vec![Entry::new("version", Yaml::plain(1))];
        entries.push(interfaces(settings, &self.hints));
        entries.extend(limits(&self.services));
        entries.push(compat());
        if !self.timeouts.is_empty() {
            let time = |(key, seconds)| (key, Yaml::time(seconds * 1000));
            let times = self.timeouts.into_iter().map(time).collect();
            entries.push(Entry::new("timeouts", Yaml::Map(times)));
        }
        if !self.vips.is_empty() {
            let comment = "Not managed: keepalived adds, announces and removes them.".to_owned();
            let value = Yaml::Items(self.vips.into_iter().map(vip).collect());
            entries.push(Entry { comments: vec![comment], ..Entry::new("vips", value) });
        }
        if !self.checks.0.is_empty() {
            let check = |(name, keys, notes): (String, Keys, Notes)| Entry {
                comments: notes.comments(),
                ..Entry::new(&name, Yaml::Block(block(keys)))
            };
            let checks = self.checks.0.into_iter().map(check).collect();
            entries.push(Entry::new("checks", Yaml::Block(checks)));
        }
        if !self.hooks.is_empty() {
            let hooks = self.hooks.into_iter().map(hook).collect();
            entries.push(Entry::new("hooks", Yaml::Items(hooks)));
        }
        entries.extend(marks);
        if !self.pools.is_empty() {
            let pool = |pool: Pool| Entry::new(&pool.name, servers(pool.servers));
            let pools = self.pools.into_iter().map(pool).collect();
            entries.push(Entry::new("pools", Yaml::Block(pools)));
        }
        let services = self.services.into_iter().map(service).collect();
        entries.push(Entry::new("services", Yaml::Items(services)));
        entries
    }

    /// The rules for marks, which stand in netfilter.
    fn marks(&self, settings: &Settings) -> Option<Entry> {
        let marked = |service: &Service| matches!(service.takes, Takes::Mark { .. });
        if !self.services.iter().any(marked) {
            return None;
        }
        let Some(rules) = settings.marks.as_ref().filter(|rules| !rules.trim().is_empty()) else {
            let comments = [
                "Which packets have a mark stands in the rules of netfilter, not in the source:",
                "iptables-save | xlvs import iptables prints what belongs here, and --marks RULES",
                "of this command puts it here. Until then xlvs check refuses the marks' services.",
            ];
            let comments = comments.map(str::to_owned).to_vec();
            return Some(Entry { comments, ..Entry::new("marks", Yaml::Items(Vec::new())) });
        };
        Some(Entry::new("marks", Yaml::Lines(rules.trim_end().to_owned())))
    }

    /// Everything that was said, in the order of the lines.
    fn all_notes(&self) -> Vec<Note> {
        let mut all = self.notes.clone();
        let of_servers = |servers: &[Server], all: &mut Notes| {
            servers.iter().for_each(|server| all.append(server.notes.clone()));
        };
        self.vips.iter().for_each(|vip| all.append(vip.notes.clone()));
        self.checks.0.iter().for_each(|(_, _, notes)| all.append(notes.clone()));
        self.hooks.iter().for_each(|hook| all.append(hook.notes.clone()));
        self.pools.iter().for_each(|pool| of_servers(&pool.servers, &mut all));
        for service in &self.services {
            all.append(service.notes.clone());
            service.hooks.iter().for_each(|hook| all.append(hook.notes.clone()));
            service.sorry.iter().for_each(|sorry| all.append(sorry.notes.clone()));
            if let Servers::Here(servers) = &service.servers {
                of_servers(servers, &mut all);
            }
        }
        all.0.sort_by(|one, other| one.places.first().cmp(&other.places.first()));
        all.0
    }
}

fn number(keys: &Keys, name: &str) -> Option<u64> {
    let value = keys.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let Some(Yaml::Plain(text)) = value else { return None };
    text.parse().ok()
}

/// Drops servers that are another one with one of these ports for theirs.
fn twins(servers: &mut Vec<Server>, ports: &[u16], notes: &mut Notes) {
    let mut seen = BTreeSet::new();
    servers.retain(|server| {
        let own = |port: &u16| (server.address, server.port.unwrap_or(*port));
        let all: Vec<_> = ports.iter().map(own).collect();
        if all.iter().any(|one| seen.contains(one)) {
            notes.append(server.notes.clone());
            let text = format!("server {} is there twice, with the service's port", server.address);
            notes.lost(&server.place, text);
            return false;
        }
        seen.extend(all);
        true
    });
}

/// Checks that all servers have are the service's.
pub(crate) fn lift(servers: &mut [Server], service: &mut Vec<String>) {
    let Some(first) = servers.first().and_then(|server| server.checks.clone()) else { return };
    if servers.iter().all(|server| server.checks.as_ref() == Some(&first)) {
        *service = first;
        servers.iter_mut().for_each(|server| server.checks = None);
    }
}

fn interfaces(settings: &Settings, hints: &[String]) -> Entry {
    let names = settings.interfaces.iter().map(|name| Yaml::text(name.as_str())).collect();
    let mut comments = Vec::new();
    if settings.interfaces.is_empty() {
        comments.push(
            "Name every interface by which packets of services come or go, also those".to_owned(),
        );
        comments.push(
            "towards the servers: nothing in the source tells them. xlvs check refuses".to_owned(),
        );
        comments.push(
            "this file until then; --interface NAME of this command writes them here.".to_owned(),
        );
        if !hints.is_empty() {
            comments.push(format!("The source names {}.", hints.join(", ")));
        }
    }
    Entry { comments, ..Entry::new("interfaces", Yaml::List(names)) }
}

/// Room for what the file has, where the defaults have too little.
fn limits(services: &[Service]) -> Option<Entry> {
    let elements = |service: &Service| match &service.takes {
        Takes::Listen(listen) => listen.len(),
        Takes::Mark { .. } => 1,
    };
    let count: usize = services.iter().map(elements).sum();
    let servers = |service: &Service| match &service.servers {
        Servers::Here(servers) => servers.len() * elements(service),
        // Counted by who has the pool: never more than this.
        Servers::Pool(_) => 64 * elements(service),
    };
    let total: usize = services.iter().map(servers).sum();
    let mut keys = Keys::new();
    if count > 1024 {
        keys.push(("services", Yaml::plain(count)));
    }
    if total > 16_384 {
        keys.push(("servers", Yaml::plain(total)));
    }
    (!keys.is_empty()).then(|| Entry::new("limits", Yaml::Map(keys)))
}

fn compat() -> Entry {
    let comments = [
        "The kernel's choices, so that all goes on as it was: connections of a server that is gone",
        "are dropped in silence, for instance. Without this line xlvs has choices of its own, see",
        "\"Behaviour\" in its README.",
    ];
    let comments = comments.map(str::to_owned).to_vec();
    Entry { comments, ..Entry::new("compat", Yaml::plain("lvs")) }
}

fn block(keys: Keys) -> Vec<Entry> {
    keys.into_iter().map(|(key, value)| Entry::new(key, value)).collect()
}

fn vip(vip: Vip) -> Item {
    let mut keys = vec![("address", Yaml::text(format!("{}/{}", vip.address, vip.length)))];
    keys.extend(vip.interface.map(|name| ("interface", Yaml::text(name))));
    Item { comments: vip.notes.comments(), value: Yaml::Map(keys) }
}

fn hook(hook: Hook) -> Item {
    let argv = hook.argv.into_iter().map(Yaml::Text).collect();
    let on = hook.on.into_iter().map(Yaml::plain).collect();
    let mut keys = vec![("argv", Yaml::List(argv)), ("on", Yaml::List(on))];
    keys.extend(hook.user.map(|user| ("user", Yaml::text(user))));
    if hook.at_start {
        keys.push(("at_start", Yaml::plain(true)));
    }
    Item { comments: hook.notes.comments(), value: Yaml::Map(keys) }
}

fn server_keys(server: &Server) -> Yaml {
    let mut keys = vec![("address", Yaml::text(endpoint(server.address, server.port)))];
    keys.extend(server.keys.iter().cloned());
    keys.extend(server.checks.as_deref().map(|names| ("checks", self::names(names))));
    Yaml::Map(keys)
}

fn names(names: &[String]) -> Yaml {
    Yaml::List(names.iter().map(|name| Yaml::text(name.as_str())).collect())
}

fn servers(servers: Vec<Server>) -> Yaml {
    let item =
        |server: Server| Item { comments: server.notes.comments(), value: server_keys(&server) };
    Yaml::Items(servers.into_iter().map(item).collect())
}

fn service(service: Service) -> Item {
    let mut entries = vec![Entry::new("name", Yaml::text(service.name.as_str()))];
    match &service.takes {
        Takes::Listen(listen) => entries.push(Entry::new("listen", one_or_more(listen))),
        Takes::Mark { mark, ipv6 } => {
            entries.push(Entry::new("mark", Yaml::plain(mark)));
            let family = if *ipv6 { "ipv6" } else { "ipv4" };
            entries.push(Entry::new("family", Yaml::plain(family)));
        }
    }
    entries.extend(block(service.keys));
    if !service.checks.is_empty() {
        entries.push(Entry::new("checks", names(&service.checks)));
    }
    if let Some(sorry) = &service.sorry {
        let comments = sorry.notes.comments();
        entries.push(Entry { comments, ..Entry::new("sorry", server_keys(sorry)) });
    }
    if !service.hooks.is_empty() {
        let hooks = service.hooks.into_iter().map(hook).collect();
        entries.push(Entry::new("hooks", Yaml::Items(hooks)));
    }
    entries.push(match service.servers {
        Servers::Here(list) => Entry::new("servers", servers(list)),
        Servers::Pool(name) => Entry::new("pool", Yaml::text(name)),
    });
    Item { comments: service.notes.comments(), value: Yaml::Block(entries) }
}

/// One, two in a line, or a list.
fn one_or_more(texts: &[String]) -> Yaml {
    match texts {
        [one] => Yaml::text(one.as_str()),
        [_, _] => Yaml::List(texts.iter().map(|text| Yaml::text(text.as_str())).collect()),
        many => {
            let item =
                |text: &String| Item { comments: Vec::new(), value: Yaml::text(text.as_str()) };
            Yaml::Items(many.iter().map(item).collect())
        }
    }
}
