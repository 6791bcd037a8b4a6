//! What operators order while the box runs, done to the registry: server states and weights, denied
//! sources. Who calls publishes what came of it and keeps it for a restart.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use dataplane::{forward::ServiceKey, prefix::Prefix};

use crate::{
    compile::ServerKey,
    model::{AdminState, Model, Service},
    registry::{
        Denial, Full, NoRoomToDeny, Overrides, Registry, Sign, Wish,
        naming::{self, Unknown},
        source,
    },
};

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody has that name.
    #[error("{0}")]
    Unknown(#[from] Unknown),
    /// It cannot be.
    #[error("{0}")]
    Wrong(String),
    /// There is no room.
    #[error("{0}")]
    Full(String),
}

impl From<Full> for Refused {
    fn from(full: Full) -> Self {
        Self::Full(full.to_string())
    }
}

impl From<NoRoomToDeny> for Refused {
    fn from(full: NoRoomToDeny) -> Self {
        Self::Full(full.to_string())
    }
}

/// Octets of a reason at most: a line of a listing.
pub const LONGEST_REASON: usize = 256;

/// Servers are to be as somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOrder {
    /// Which, as [`naming::servers`] reads them; all or none of them.
    pub servers: Vec<String>,
    /// Of every service that has them.
    pub all: bool,
    /// How they are to be.
    pub wish: Wish,
    /// Who orders it.
    pub sign: Sign,
}

/// What came of a [`ServerOrder`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerOutcome {
    /// All servers that were named, each once.
    pub servers: Vec<ServerKey>,
    /// Those that were not so before.
    pub changed: Vec<ServerKey>,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Does what is ordered of servers.
///
/// # Errors
/// [`Refused`]; then nothing is done.
pub fn servers(registry: &mut Registry, order: &ServerOrder) -> Result<ServerOutcome, Refused> {
    check_reason(&order.sign)?;
    if let Wish::Weight(weight) = order.wish
        && weight > WEIGHT_MOST
    {
        return Err(Refused::Wrong(format!("{weight}: no weight; write 0 to {WEIGHT_MOST}")));
    }
    let named = find(&registry.model, &order.servers, order.all)?;
    let changed = registry.overrides.wish(&registry.model, &named, order.wish, &order.sign)?;
    let warnings = warnings(&registry.model, &registry.overrides, &named, order.wish);
    Ok(ServerOutcome { servers: named, changed, warnings })
}

/// The servers that these texts name, of every service with `all`; each once.
///
/// # Errors
/// [`Refused::Unknown`].
pub fn find(model: &Model, texts: &[String], all: bool) -> Result<Vec<ServerKey>, Refused> {
    let mut named = Vec::new();
    for text in texts {
        named.extend(naming::servers(model, text, all)?);
    }
    named.sort_unstable();
    named.dedup();
    Ok(named)
}

/// ipvsadm's range.
const WEIGHT_MOST: u32 = 65_535;

fn check_reason(sign: &Sign) -> Result<(), Refused> {
    if sign.why.len() > LONGEST_REASON || sign.why.chars().any(char::is_control) {
        let text = format!("the reason is one line of at most {LONGEST_REASON} octets");
        return Err(Refused::Wrong(text));
    }
    Ok(())
}

/// Services that nobody serves any more by what operators said, and weights that stay.
fn warnings(
    model: &Model,
    overrides: &Overrides,
    servers: &[ServerKey],
    wish: Wish,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let touched = |service: &&Service| servers.iter().any(|key| key.service == service.key);
    for service in model.services.iter().filter(touched) {
        let open = |server: &&crate::model::Server| {
            let weight = overrides.weight(service.key, server).unwrap_or(server.weight);
            weight > 0 && overrides.state(service.key, server) == AdminState::Ready
        };
        if !service.servers.iter().any(|server| open(&server)) {
            let whom = match service.health.sorry {
                Some(_) => "its sorry server takes new connections",
                None => "new connections are refused",
            };
            warnings.push(format!(
                "{} {}: no server is left that takes new connections: {whom}",
                service.name, service.key
            ));
        }
    }
    if wish == Wish::State(AdminState::Ready) {
        for key in servers {
            let weight = overrides.get(key).and_then(|known| known.weight.as_ref());
            if let Some(weight) = weight {
                let server = SocketAddr::new(key.address, key.port);
                warnings.push(format!(
                    "{} {server}: keeps its weight {} in place of the file's {}; end that with \
                     xlvs weight ... file",
                    key.service, weight.value, weight.file_value
                ));
            }
        }
    }
    warnings
}

/// A source is to be denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenyOrder {
    /// Who: a network.
    pub source: String,
    /// The service's name, or what it takes; `None`: all services.
    pub service: Option<String>,
    /// For how long; `None`: until it is deleted.
    pub lasts: Option<Duration>,
    /// Who orders it.
    pub sign: Sign,
}

/// Denies a source; gives the entries, one for each LVS service of the name.
///
/// # Errors
/// [`Refused`]; then nothing is done.
pub fn deny(registry: &mut Registry, order: &DenyOrder) -> Result<Vec<Denial>, Refused> {
    check_reason(&order.sign)?;
    let (source, services) = scope(&registry.model, &order.source, order.service.as_deref())?;
    if source.length() == 0 {
        let text = format!("{source}: is everybody; take the servers out instead: xlvs drain");
        return Err(Refused::Wrong(text));
    }
    let until = order.lasts.map(|lasts| order.sign.when.checked_add(lasts));
    let until = match until {
        Some(None) => {
            return Err(Refused::Wrong("so long is for ever: leave --for out".to_owned()));
        }
        Some(until) => until,
        None => None,
    };
    let denial = |service| Denial { source, service, until, sign: order.sign.clone() };
    let denials: Vec<Denial> = match &services {
        Some(keys) => keys.iter().map(|key| denial(Some(*key))).collect(),
        None => vec![denial(None)],
    };
    registry.denials.add(&denials)?;
    Ok(denials)
}

/// Denies a source no more; gives the entries that were there.
///
/// # Errors
/// [`Refused`]: also if there is none.
pub fn allow(
    registry: &mut Registry,
    source: &str,
    service: Option<&str>,
) -> Result<Vec<Denial>, Refused> {
    let (source, services) = scope(&registry.model, source, service)?;
    let removed = registry.denials.remove(source, services.as_deref());
    if removed.is_empty() {
        return Err(Refused::Unknown(Unknown {
            name: source.to_string(),
            what: "is not denied by xlvs deny",
            remedy: "xlvs deny list has those that are; access: of the file others".to_owned(),
        }));
    }
    Ok(removed)
}

fn scope(
    model: &Model,
    text: &str,
    service: Option<&str>,
) -> Result<(Prefix, Option<Vec<ServiceKey>>), Refused> {
    let source = source(text).map_err(Refused::Wrong)?;
    let Some(name) = service else { return Ok((source, None)) };
    let keys: Vec<ServiceKey> =
        naming::services(model, name)?.iter().map(|service| service.key).collect();
    let same = |key: &ServiceKey| key.is_ipv6() == source.address().is_ipv6();
    let keys: Vec<ServiceKey> = keys.into_iter().filter(same).collect();
    if keys.is_empty() {
        let text = format!("{name} takes nothing of the family of {source}");
        return Err(Refused::Wrong(text));
    }
    Ok((source, Some(keys)))
}

/// For how long an entry goes on.
pub fn left(denial: &Denial, now: SystemTime) -> Option<Duration> {
    denial.until.map(|until| until.duration_since(now).unwrap_or_default())
}
