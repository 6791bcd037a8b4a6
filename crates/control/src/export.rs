//! The running state as files: YAML that `xlvs check` accepts and that gives the same services, or
//! the rules that `ipvsadm-save -n` writes.
//!
//! What the file wrote in other words comes out in its plain form: pools and anchors are written
//! out, checks say at each use how they ask. What cannot stand in a file (a service of a mark that no
//! rule gives) is written as a comment, with the reason.

mod check;
mod node;
mod service;

use dataplane::policy::{Access, Defence, Lifecycle, OnJoin};
use node::{Node, list, map, word};
use sched::{Kind, Plan};

use crate::{
    event::rfc3339,
    file::Timeouts,
    load,
    model::{
        Api, Compat, Hook, Idle, Limits, Metrics, Model, Vip, WhenDown, Workers, XdpMode, ZeroCopy,
    },
    registry::Overrides,
};

/// The model as a file. Overrides are comments beside the configured values, which they replace if
/// `effective`.
pub fn yaml(model: &Model, overrides: &Overrides, effective: bool) -> String {
    let head = head(model);
    let mut entries = service::entries(model, overrides, effective);
    // What the file's reader would refuse stays as a comment: found by reading.
    loop {
        let text = format!("{head}{}", services(&entries));
        let Err(faults) = load::read("export".as_ref(), &text, None) else { return text };
        let mut line = head.lines().count() + 1;
        let mut found = false;
        for entry in &mut entries {
            let end = line + entry.lines();
            let fault = faults.iter().find(|fault| {
                fault.place.is_some_and(|place| place.line > line && place.line <= end)
            });
            if let (Some(fault), None) = (fault, &entry.refused) {
                entry.refused = Some(format!("{}; {}", fault.sentence, fault.remedy));
                found = true;
            }
            line = end;
        }
        if !found {
            let why = faults.to_string().replace('\n', "\n# ");
            return format!("# xlvs check would refuse this file:\n# {why}\n{text}");
        }
    }
}

/// What holds for the box, by key.
pub fn of_box(model: &Model) -> Facts {
    Facts(top(model))
}

/// What is said of a service, by key, and of each of its servers.
pub fn of_service(model: &Model, service: &crate::model::Service) -> (Facts, Vec<Facts>) {
    let (above, servers) = service::facts(model, service);
    (Facts(above), servers.into_iter().map(Facts).collect())
}

/// Keys and their values, as a file has them; defaults are not there.
#[derive(Clone, Debug)]
pub struct Facts(node::Map);

impl Facts {
    /// Each key with its value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.entries().map(|(key, value)| (key, value.flow()))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<String> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// In one line.
    pub fn flow(&self) -> String {
        let words: Vec<String> =
            self.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        words.join(", ")
    }
}

fn services(entries: &[service::Entry]) -> String {
    // Comments alone are no list.
    if entries.iter().all(|entry| entry.refused.is_some()) {
        let comments: String = entries.iter().map(service::Entry::text).collect();
        return format!("services: []\n{comments}");
    }
    let entries: String = entries.iter().map(service::Entry::text).collect();
    format!("services:\n{entries}")
}

/// Everything above the services.
fn head(model: &Model) -> String {
    let now = rfc3339(std::time::SystemTime::now());
    let version = env!("CARGO_PKG_VERSION");
    format!("# xlvs {version}: exported {now}\n{}", top(model).block())
}

fn top(model: &Model) -> node::Map {
    let mut top = map();
    top.put("version", word("1"));
    top.put("interfaces", list(model.interfaces.iter().map(interface)));
    top.put_some("workers", workers(&model.workers));
    let zero_copy = match model.zero_copy {
        ZeroCopy::Auto => None,
        ZeroCopy::Require => Some("require"),
        ZeroCopy::Never => Some("never"),
    };
    top.put_some("zero_copy", zero_copy.map(word));
    top.put_some("chunk_size", (model.chunk_size != 2048).then(|| word(model.chunk_size)));
    top.put_some("limits", limits(&model.limits));
    let lvs = model.compat == Compat::Lvs;
    top.put_some("compat", lvs.then(|| word("lvs")));
    let base = if lvs { Lifecycle::lvs() } else { Lifecycle::default() };
    let mut settings = lifecycle(&model.lifecycle, &base, &mut top);
    defence(&model.defence, &mut settings);
    let expirations = [(Kind::Lblc, model.lblc_expiration), (Kind::Lblcr, model.lblcr_expiration)];
    for (kind, seconds) in expirations {
        if seconds != Plan::new(kind).expiration {
            settings.put(&format!("{}_expiration", kind.name()), word(seconds));
        }
    }
    top.put_some("lvs", settings.if_any());
    top.put_some("on_join", on_join(model.on_join));
    top.put_some("timeouts", timeouts(&Timeouts::beside(&model.timeouts, &Default::default())));
    top.put_some("access", access(&model.access));
    let drop = model.when_down == WhenDown::Drop;
    top.put_some("when_down", drop.then(|| word("drop")));
    let grace = model.stop_grace;
    top.put_some("stop_grace", (!grace.is_zero()).then(|| node::time(grace)));
    top.put_some("autoreload", model.autoreload.then(|| word(true)));
    top.put_some("vips", list(model.vips.iter().map(vip)).if_any());
    let groups = model.local_groups.iter().filter_map(|group| {
        let ports = group.addresses.first()?.ports.clone();
        let mut of = map();
        of.put("addresses", list(group.addresses.iter().map(|local| word(local.address))));
        of.put("ports", word(format!("{}-{}", ports.start(), ports.end())));
        Some((group.name.clone(), of.into()))
    });
    top.put_some("local_addresses", Node::named(groups).if_any());
    let sources = list(model.probe_sources.iter().map(word));
    top.put_some("probe_sources", sources.if_any());
    top.put_some("checks", check::definitions(model).if_any());
    top.put_some("hooks", hooks(model, None).if_any());
    top.put_some("connection_log", model.connection_log.as_ref().map(connection_log));
    top.put_some("api", api(&model.api));
    top.put_some("metrics", metrics(&model.metrics));
    top.put_some("marks", list(model.marks.iter().map(|rule| mark(model, rule))).if_any());
    top
}

fn metrics(metrics: &Metrics) -> Option<Node> {
    let mut of = map();
    of.put_some("listen", list(metrics.listen.iter().map(word)).if_any());
    of.put_some("node_ipvs", metrics.node_ipvs.then(|| word(true)));
    of.if_any()
}

fn interface(interface: &crate::model::Interface) -> Node {
    let mode = match interface.mode {
        XdpMode::Auto => return word(&interface.name),
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    };
    let mut of = map();
    of.put("name", word(&interface.name));
    of.put("mode", word(mode));
    of.into()
}

fn workers(workers: &Workers) -> Option<Node> {
    let mut of = map();
    of.put_some("cores", workers.cores.as_ref().map(|cores| list(cores.iter().map(word))));
    of.put_some("idle", (workers.idle == Idle::Poll).then(|| word("poll")));
    of.if_any()
}

fn limits(limits: &Limits) -> Option<Node> {
    let usual = Limits::beside(limits.connections);
    let all = [
        ("connections", limits.connections, Limits::CONNECTIONS),
        ("connections_ipv6", limits.connections_ipv6, usual.connections_ipv6),
        ("half_open", limits.half_open, usual.half_open),
        ("templates", limits.templates, usual.templates),
        ("templates_ipv6", limits.templates_ipv6, usual.templates_ipv6),
        ("sources", limits.sources, usual.sources),
        ("fragments", limits.fragments, usual.fragments),
        ("held_frames", limits.held_frames, usual.held_frames),
        ("routes", limits.routes, usual.routes),
        ("neighbours", limits.neighbours, usual.neighbours),
        ("punt_rate", limits.punt_rate, usual.punt_rate),
        ("icmp_rate", limits.icmp_rate, usual.icmp_rate),
        ("services", limits.services, usual.services),
        ("servers", limits.servers, usual.servers),
    ];
    // Some defaults follow others: what is written is always right.
    let derived = ["connections_ipv6", "half_open", "templates", "templates_ipv6"];
    let plain = limits.connections == Limits::CONNECTIONS;
    let mut of = map();
    for (key, now, usual) in all {
        if now != usual || (!plain && derived.contains(&key)) {
            of.put(key, word(now));
        }
    }
    of.if_any()
}

/// What differs from `base`; `on_gone` and `on_idle` go into `above`, the others are for `lvs:`.
fn lifecycle(now: &Lifecycle, base: &Lifecycle, above: &mut node::Map) -> node::Map {
    let gone = (now.gone != base.gone).then(|| word(ends(now.gone)));
    above.put_some("on_gone", gone);
    let idle = if now.reset_idle { "reset" } else { "silent" };
    above.put_some("on_idle", (now.reset_idle != base.reset_idle).then(|| word(idle)));
    let mut of = map();
    let switches = [
        (
            "expire_quiescent_template",
            now.expire_quiescent_template,
            base.expire_quiescent_template,
        ),
        ("sloppy_tcp", now.sloppy_tcp, base.sloppy_tcp),
        ("sloppy_sctp", now.sloppy_sctp, base.sloppy_sctp),
        ("schedule_icmp", now.schedule_icmp, base.schedule_icmp),
        ("nat_icmp_send", now.nat_icmp_send, base.nat_icmp_send),
        ("pmtu_disc", now.pmtu_disc, base.pmtu_disc),
        ("cache_bypass", now.cache_bypass, base.cache_bypass),
    ];
    for (key, now, base) in switches {
        of.put_some(key, (now != base).then(|| word(u8::from(now))));
    }
    let (mode, before) = (now.conn_reuse_mode, base.conn_reuse_mode);
    of.put_some("conn_reuse_mode", (mode != before).then(|| word(mode)));
    of
}

const fn ends(gone: dataplane::policy::Gone) -> &'static str {
    use dataplane::policy::Gone;
    match gone {
        Gone::Reset => "reset",
        Gone::Hold => "hold",
        Gone::Expire => "expire",
    }
}

fn defence(now: &Defence, of: &mut node::Map) {
    let base = Defence::default();
    let all = [
        ("drop_packet", now.drop_packet.into(), base.drop_packet.into()),
        ("drop_entry", now.drop_entry.into(), base.drop_entry.into()),
        ("secure_tcp", now.secure_tcp.into(), base.secure_tcp.into()),
        ("am_droprate", now.am_droprate, base.am_droprate),
        ("amemthresh", now.amemthresh, base.amemthresh),
    ];
    for (key, now, base) in all {
        of.put_some(key, (now != base).then(|| word(now)));
    }
}

fn on_join(on_join: OnJoin) -> Option<Node> {
    match on_join {
        OnJoin::Nothing => None,
        OnJoin::ResetCounts => Some(word("reset_counts")),
        OnJoin::SlowStart(seconds) => {
            let mut of = map();
            of.put("slow_start", node::seconds(seconds));
            Some(of.into())
        }
    }
}

fn timeouts(timeouts: &Timeouts) -> Option<Node> {
    let mut of = map();
    for (key, seconds) in timeouts.written() {
        of.put(key, node::seconds(seconds));
    }
    of.if_any()
}

fn access(access: &Access) -> Option<Node> {
    let mut of = map();
    of.put_some("allow", list(access.allow.iter().map(word)).if_any());
    of.put_some("deny", list(access.deny.iter().map(word)).if_any());
    of.put_some("new_connections", access.new_connections.map(word));
    of.if_any()
}

fn vip(vip: &Vip) -> Node {
    let mut of = map();
    of.put("address", word(format!("{}/{}", vip.address, vip.prefix)));
    of.put_some("interface", vip.interface.as_ref().map(word));
    of.put_some("managed", vip.managed.then(|| word(true)));
    of.put_some("withdraw", vip.withdraw_any.then(|| word("any")));
    of.into()
}

/// Those of the box, or of a service.
fn hooks(model: &Model, service: Option<&str>) -> Node {
    let of = model.hooks.iter().filter(|hook| hook.service.as_deref() == service);
    list(of.map(hook))
}

fn hook(hook: &Hook) -> Node {
    let mut of = map();
    of.put("argv", list(hook.argv.iter().map(word)));
    let topic = |topic: &crate::event::Topic| {
        let state = topic.state.map(|state| format!(".{state}")).unwrap_or_default();
        word(format!("{}{state}", topic.kind.name()))
    };
    of.put("on", list(hook.on.iter().map(topic)));
    of.put("user", word(&hook.user));
    of.put("timeout", node::time(hook.timeout));
    of.put_some("at_start", hook.at_start.then(|| word(true)));
    of.into()
}

fn api(api: &Api) -> Option<Node> {
    let mut of = map();
    of.put_some("group", api.group.as_ref().map(word));
    of.put_some("listen", list(api.listen.iter().map(word)).if_any());
    of.put_some(
        "tls",
        api.tls.as_ref().map(|tls| {
            let mut of = map();
            of.put("certificate", word(tls.certificate.display()));
            of.put("key", word(tls.key.display()));
            of.into()
        }),
    );
    of.put_some("tokens", api.tokens.as_ref().map(|tokens| word(tokens.display())));
    of.if_any()
}

fn connection_log(log: &crate::model::ConnectionLog) -> Node {
    let mut of = map();
    of.put("file", word(log.file.display()));
    of.put("rate", word(log.rate));
    of.put("size", word(log.size));
    of.put_some("services", log.services.as_ref().map(|names| list(names.iter().map(word))));
    of.into()
}

fn mark(model: &Model, rule: &dataplane::mark::MarkRule) -> Node {
    let mut of = map();
    of.put("mark", word(rule.mark));
    of.put_some("mask", (rule.mask != u32::MAX).then(|| word(format!("{:#x}", rule.mask))));
    of.put("destination", word(rule.destination));
    of.put_some("source", rule.source.map(word));
    of.put_some("protocol", rule.protocol.map(|protocol| word(protocol.name())));
    of.put_some("ports", list(rule.ports.iter().map(ports)).if_any());
    let interface = rule.interface.and_then(|port| model.interfaces.get(usize::from(port)));
    of.put_some("interface", interface.map(|interface| word(&interface.name)));
    of.into()
}

/// A port, or a range of them.
fn ports(range: &std::ops::RangeInclusive<u16>) -> Node {
    match (range.start(), range.end()) {
        (start, end) if start == end => word(start),
        (start, end) => word(format!("{start}-{end}")),
    }
}
