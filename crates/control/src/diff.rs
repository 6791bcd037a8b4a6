//! What differs between two models, in the words of the file.

use std::fmt;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    export::{self, Facts},
    model::{Model, Service},
};

/// One difference: something came, went, or says something else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The service: its name, address and port; none for what holds for the box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The real server of it: address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The key of the file; none where all of the service or server came or went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What was; none if it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What is; none if it is there no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Change {
    /// What changes, apart from how.
    pub fn place(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        (self.service.as_deref(), self.server.as_deref(), self.key.as_deref())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (&self.key, &self.before, &self.after) {
            (None, None, _) => '+',
            (None, _, None) => '-',
            _ => '~',
        };
        write!(f, "{sign} ")?;
        match (&self.service, &self.server) {
            (Some(service), Some(server)) => write!(f, "server {server} of {service}")?,
            (Some(service), None) => write!(f, "service {service}")?,
            (None, _) => write!(f, "box")?,
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, ": {before} -> {after}"),
            (None, Some(after)) if self.key.is_some() => write!(f, ": {after} (was not set)"),
            (Some(before), None) if self.key.is_some() => write!(f, ": not set (was {before})"),
            (Some(only), None) | (None, Some(only)) => write!(f, " ({only})"),
            (None, None) => Ok(()),
        }
    }
}

/// What differs, the box's first, then by service in the order of `after`, those that went last.
pub fn changes(before: &Model, after: &Model) -> Vec<Change> {
    let mut changes = keys(&export::of_box(before), &export::of_box(after), Change::of_box);
    let known: HashMap<_, &Service> = before.services.iter().map(|old| (old.key, old)).collect();
    for service in &after.services {
        match known.get(&service.key) {
            None => changes.push(Change { after: Some(summary(service)), ..Change::of(service) }),
            Some(old) if *old != service || before.services_differ(after) => {
                changes.extend(within((before, old), (after, service)));
            }
            Some(_) => {}
        }
    }
    let left = before.services.iter().filter(|old| after.service(&old.key).is_none());
    changes.extend(left.map(|old| Change { before: Some(summary(old)), ..Change::of(old) }));
    changes
}

/// What differs within a service.
fn within(before: (&Model, &Service), after: (&Model, &Service)) -> Vec<Change> {
    let (old, new) = (before.1, after.1);
    let of_service = || Change::of(new);
    let (old_facts, old_servers) = export::of_service(before.0, old);
    let (new_facts, new_servers) = export::of_service(after.0, new);
    let mut changes = keys(&old_facts, &new_facts, of_service);
    let known: HashMap<_, usize> =
        old.servers.iter().enumerate().map(|(at, server)| (server.endpoint(), at)).collect();
    for (server, facts) in new.servers.iter().zip(&new_servers) {
        let of_server =
            || Change { server: Some(server.endpoint().to_string()), ..Change::of(new) };
        match known.get(&server.endpoint()) {
            None => changes.push(Change { after: Some(facts.flow()), ..of_server() }),
            Some(at) => changes.extend(keys(&old_servers[*at], facts, of_server)),
        }
    }
    for (server, facts) in old.servers.iter().zip(&old_servers) {
        if !new.servers.iter().any(|other| other.endpoint() == server.endpoint()) {
            let server = Some(server.endpoint().to_string());
            changes.push(Change { server, before: Some(facts.flow()), ..Change::of(new) });
        }
    }
    changes
}

/// The keys that say something else.
fn keys(before: &Facts, after: &Facts, of: impl Fn() -> Change) -> Vec<Change> {
    let change = |key: &str, before: Option<String>, after: Option<String>| Change {
        key: Some(key.to_owned()),
        before,
        after,
        ..of()
    };
    let mut changes = Vec::new();
    for (key, now) in after.iter() {
        let was = before.get(key);
        if was.as_ref() != Some(&now) {
            changes.push(change(key, was, Some(now)));
        }
    }
    for (key, was) in before.iter() {
        if after.get(key).is_none() {
            changes.push(change(key, Some(was), None));
        }
    }
    changes
}

impl Change {
    fn of_box() -> Self {
        Self { service: None, server: None, key: None, before: None, after: None }
    }

    fn of(service: &Service) -> Self {
        let key = service.key.to_string();
        let name = if service.name == key { key } else { format!("{} {key}", service.name) };
        Self { service: Some(name), ..Self::of_box() }
    }
}

impl Model {
    /// What services say depends on the box's settings; true if those differ.
    fn services_differ(&self, other: &Self) -> bool {
        self.lifecycle != other.lifecycle || self.local_groups != other.local_groups
    }
}

fn summary(service: &Service) -> String {
    let (forward, scheduler) = (service.forward.name(), service.policy.scheduler.kind.name());
    let count = service.servers.len();
    format!("{forward}, {scheduler}, {count} server{}", if count == 1 { "" } else { "s" })
}
