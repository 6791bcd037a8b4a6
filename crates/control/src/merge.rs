//! A file that changed, and what commands made of the former one while it ran.
//!
//! Three models meet: `base` is the file as it was applied last, `running` is that with what
//! commands did since, `new` is the file as it is now. What the file says anew holds; where it says
//! what it said before, what commands did stays. So an edit of a weight survives a reload that is
//! about something else, and a service that a command made is left alone.

use std::net::SocketAddr;

use dataplane::forward::ServiceKey;
use hashbrown::{HashMap, HashSet};

use crate::{
    diff::{Change, changes},
    model::{Model, Server, Service},
};

/// What is to run.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The model.
    pub model: Model,
    /// What differs in it from the file, as commands made it.
    pub beside: Vec<Change>,
    /// What commands had made and the file overrules.
    pub overruled: Vec<Change>,
}

/// Puts the three together; if `prune`, the new file is all that there is.
pub fn merge(base: &Model, running: &Model, new: &Model, prune: bool) -> Merged {
    let model = if prune { pruned(running, new) } else { woven(base, running, new) };
    let beside = changes(new, &model);
    let mut overruled = if base == running { Vec::new() } else { changes(base, running) };
    if !overruled.is_empty() {
        let stays: HashSet<_> = beside.iter().map(Change::place).collect();
        // What commands and the file say alike is no loss.
        let alike: HashSet<_> = changes(base, &model).into_iter().collect();
        overruled.retain(|made| !stays.contains(&made.place()) && !alike.contains(made));
    }
    Merged { model, beside, overruled }
}

fn woven(base: &Model, running: &Model, new: &Model) -> Model {
    let mut model = Model { services: Vec::new(), ..new.clone() };
    model.timeouts = three(Some(&base.timeouts), &running.timeouts, &new.timeouts);
    let [bases, runs] = [base, running].map(by_key);
    for service in &new.services {
        match (bases.get(&service.key), runs.get(&service.key)) {
            // A command removed it, and the file says nothing new of it.
            (Some(old), None) if *old == service => {}
            (_, None) => model.services.push(service.clone()),
            (old, Some(run)) => {
                let woven = service_of(old.copied(), run, service, &model);
                model.services.push(woven);
            }
        }
    }
    // Commands made them, before or after the file was applied.
    let made = running.services.iter().filter(|service| !bases.contains_key(&service.key));
    let news: HashSet<ServiceKey> = new.services.iter().map(|service| service.key).collect();
    model.services.extend(made.filter(|service| !news.contains(&service.key)).cloned());
    for service in &mut model.services {
        service.policy.timeouts = service.timeouts.over(&model.timeouts);
    }
    model
}

/// The new file, with what schedulers know servers by.
fn pruned(running: &Model, new: &Model) -> Model {
    let mut model = new.clone();
    let runs = by_key(running);
    for service in &mut model.services {
        let Some(run) = runs.get(&service.key) else { continue };
        let known = servers(&run.servers);
        for server in &mut service.servers {
            if let Some(old) = known.get(&server.endpoint()) {
                server.edition = edition(old, server);
            }
        }
    }
    model
}

/// What `ipvsadm -E` edits is weighed piece by piece; the rest is the file's.
fn service_of(old: Option<&Service>, run: &Service, new: &Service, model: &Model) -> Service {
    let mut service = new.clone();
    let was = old.map(|old| &old.policy);
    let (policy, running) = (&mut service.policy, &run.policy);
    policy.scheduler =
        three(was.map(|was| &was.scheduler), &running.scheduler, &new.policy.scheduler);
    policy.persistence =
        three(was.map(|was| &was.persistence), &running.persistence, &new.policy.persistence);
    policy.one_packet =
        three(was.map(|was| &was.one_packet), &running.one_packet, &new.policy.one_packet);
    policy.local_addresses = three(
        was.map(|was| &was.local_addresses),
        &running.local_addresses,
        &new.policy.local_addresses,
    );
    policy.on_join = model.joining(new.on_join, policy.scheduler.kind);
    let olds = old.map(|old| servers(&old.servers)).unwrap_or_default();
    let runs = servers(&run.servers);
    let news = servers(&new.servers);
    service.servers = new
        .servers
        .iter()
        .filter_map(|server| {
            let key = server.endpoint();
            match (olds.get(&key), runs.get(&key)) {
                // A command removed it, and the file says nothing new of it.
                (Some(old), None) if *old == server => None,
                (_, None) => Some(server.clone()),
                (old, Some(run)) => Some(server_of(old.copied(), run, server)),
            }
        })
        .collect();
    let made = run.servers.iter().filter(|server| {
        let key = server.endpoint();
        !olds.contains_key(&key) && !news.contains_key(&key)
    });
    service.servers.extend(made.cloned());
    service
}

/// What `ipvsadm -e` edits is weighed piece by piece; the rest is the file's.
fn server_of(old: Option<&Server>, run: &Server, new: &Server) -> Server {
    let mut server = new.clone();
    server.weight = three(old.map(|old| &old.weight), &run.weight, &new.weight);
    server.upper = three(old.map(|old| &old.upper), &run.upper, &new.upper);
    server.lower = three(old.map(|old| &old.lower), &run.lower, &new.lower);
    let way = |server: &Server| (server.forward, server.tunnel, server.remote_checksum);
    let way = three(old.map(way).as_ref(), &way(run), &way(new));
    (server.forward, server.tunnel, server.remote_checksum) = way;
    server.edition = edition(run, &server);
    server
}

/// It rises with every edit that changes something.
fn edition(run: &Server, new: &Server) -> u32 {
    let same = Server { edition: run.edition, ..new.clone() } == *run;
    if same { run.edition } else { run.edition + 1 }
}

/// What is new, if it is; else what runs.
fn three<T: Clone + PartialEq>(base: Option<&T>, running: &T, new: &T) -> T {
    if base == Some(new) { running.clone() } else { new.clone() }
}

fn by_key(model: &Model) -> HashMap<ServiceKey, &Service> {
    model.services.iter().map(|service| (service.key, service)).collect()
}

fn servers(servers: &[Server]) -> HashMap<SocketAddr, &Server> {
    servers.iter().map(|server| (server.endpoint(), server)).collect()
}
