//! Servers and services as operators name them, `web/10.0.2.11:80`, and what to say of a name that
//! nobody has.

use std::net::{IpAddr, SocketAddr};

use dataplane::forward::{Endpoint, Protocol, ServiceKey};

use crate::{
    compile::ServerKey,
    model::{Model, Server, Service},
    words,
};

/// A name that fits nothing; says what there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}; {remedy}")]
pub struct Unknown {
    /// As it was written.
    pub name: String,
    /// What is wrong with it.
    pub what: &'static str,
    /// What to do.
    pub remedy: String,
}

/// How many names a remedy lists.
const SHOWN: usize = 12;

/// What a service takes, as in the file and in listings: `203.0.113.10:80/tcp`,
/// `[2001:db8::10]:80/udp`, `mark:7`, `mark:7/ipv6`, or `mark 7`, `mark 7 IPv6`.
pub fn service_key(text: &str) -> Option<ServiceKey> {
    if let Some(mark) = text.strip_prefix("mark:").or_else(|| text.strip_prefix("mark ")) {
        let (mark, ipv6) = match mark.split_once(['/', ' ']) {
            Some((mark, family)) if family.eq_ignore_ascii_case("ipv6") => (mark, true),
            Some(_) => return None,
            None => (mark, false),
        };
        let mark = mark.parse().ok().filter(|mark| *mark > 0)?;
        return Some(ServiceKey::Mark { mark, ipv6 });
    }
    let (endpoint, over) = text.rsplit_once('/')?;
    let endpoint: SocketAddr = endpoint.parse().ok()?;
    let is = |protocol: &&Protocol| protocol.name().eq_ignore_ascii_case(over);
    let protocol = *Protocol::ALL.iter().find(is)?;
    let (address, port) = (endpoint.ip(), endpoint.port());
    Some(Endpoint { protocol, address, port }.into())
}

/// The services of a name, or the one that takes what the text says.
///
/// # Errors
/// [`Unknown`].
pub fn services<'m>(model: &'m Model, name: &str) -> Result<Vec<&'m Service>, Unknown> {
    let key = service_key(name);
    let fits = |service: &&Service| service.name == name || key == Some(service.key);
    let found: Vec<&Service> = model.services.iter().filter(fits).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let mut known: Vec<&str> = model.services.iter().map(|s| s.name.as_str()).collect();
    known.dedup();
    Err(unknown(name, name, "no such service", "services", &known, "there is no service"))
}

/// The servers that a text names: `SERVICE/SERVER`, or with `all` a `SERVER` of any service.
/// `SERVER` is its address, with or without its port, or its name in the file.
///
/// # Errors
/// [`Unknown`].
pub fn servers(model: &Model, text: &str, all: bool) -> Result<Vec<ServerKey>, Unknown> {
    let (services, server) = match text.rsplit_once('/') {
        Some((_, server)) if all => {
            return Err(Unknown {
                name: text.to_owned(),
                what: "--all takes a server of every service",
                remedy: format!("write {server}, or leave out --all"),
            });
        }
        Some((service, server)) => (self::services(model, service)?, server),
        None if all => (model.services.iter().collect(), text),
        None => return Err(which_service(model, text)),
    };
    let of = |service: &&Service| -> Vec<ServerKey> {
        let own = service.servers.iter().filter(|known| fits(known, server));
        own.map(|known| ServerKey::of(service.key, known)).collect()
    };
    let found: Vec<ServerKey> = services.iter().flat_map(of).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let known: Vec<String> = services.iter().flat_map(|s| &s.servers).map(shown).collect();
    let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
    known.sort_unstable();
    known.dedup();
    Err(unknown(text, server, "no such server", "servers", &known, "there are no servers"))
}

/// A server alone, without its service.
fn which_service(model: &Model, text: &str) -> Unknown {
    let has = |service: &&Service| service.servers.iter().any(|server| fits(server, text));
    let with: Vec<&str> =
        model.services.iter().filter(has).map(|service| service.name.as_str()).collect();
    let remedy = match with.first() {
        Some(name) => format!("write {name}/{text}, or {text} --all"),
        None => format!("write SERVICE/{text}"),
    };
    Unknown { name: text.to_owned(), what: "of which service?", remedy }
}

fn fits(server: &Server, text: &str) -> bool {
    if server.name.as_deref() == Some(text) {
        return true;
    }
    if let Ok(endpoint) = text.parse::<SocketAddr>() {
        return (endpoint.ip(), endpoint.port()) == (server.address, server.port);
    }
    text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() == Ok(server.address)
}

/// A server that keeps the client's port has none to show.
fn shown(server: &Server) -> String {
    match server.port {
        0 => server.address.to_string(),
        port => SocketAddr::new(server.address, port).to_string(),
    }
}

fn unknown(
    name: &str,
    word: &str,
    what: &'static str,
    nouns: &str,
    known: &[&str],
    none: &str,
) -> Unknown {
    let remedy = match (words::nearest(word, known), known) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, []) => none.to_owned(),
        (None, known) => {
            let more = known.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let shown: Vec<&str> = known.iter().take(SHOWN).copied().collect();
            format!("the {nouns} are {}{more}", shown.join(", "))
        }
    };
    Unknown { name: name.to_owned(), what, remedy }
}
