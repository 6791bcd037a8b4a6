//! What operators want of single servers for a while, kept apart from what the file says of them,
//! with who wanted it, when and why. Laid over the model whenever it is compiled; they outlive
//! reloads and restarts.
//!
//! Each remembers the file's value that it stands in for. When the file says something else by
//! then, the file wins, and that is said ([`Overrides::settle`]): whoever changed it knew more.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use dataplane::forward::ServiceKey;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::naming;
use crate::{
    compile::ServerKey,
    event,
    model::{AdminState, Model, Server},
};

/// Who wanted something, when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sign {
    /// The user behind the API's connection.
    pub who: String,
    /// When, in UTC.
    #[serde(with = "event::time")]
    #[schema(value_type = String, format = DateTime)]
    pub when: SystemTime,
    /// Why, in the operator's words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl fmt::Display for Sign {
    /// `alice: a new disk`, or `alice`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.why.is_empty() { "" } else { ": " };
        write!(f, "{}{space}{}", self.who, self.why)
    }
}

/// A value in place of the file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<T> {
    /// What holds.
    pub value: T,
    /// What the file said then.
    pub file_value: T,
    /// Who said so.
    pub sign: Sign,
}

/// What holds for one server in place of the file's values; never nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// Its administrative state.
    pub state: Option<Said<AdminState>>,
    /// Its weight.
    pub weight: Option<Said<u32>>,
    /// The server is not there any more, since then.
    pub gone_since: Option<SystemTime>,
}

impl Override {
    const fn is_empty(&self) -> bool {
        self.state.is_none() && self.weight.is_none()
    }
}

/// All that hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Row>", into = "Vec<Row>")]
pub struct Overrides {
    servers: BTreeMap<ServerKey, Override>,
}

/// What an operator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This state.
    State(AdminState),
    /// This weight.
    Weight(u32),
    /// The weight that the file says.
    FileWeight,
}

/// There are as many overrides as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {MOST} overridden servers already; end some of them with xlvs ready")]
pub struct Full;

/// As many servers as `limits.servers` has by default.
const MOST: usize = 16_384;

/// How long the override of a server that left is kept: a deployment takes servers out and puts
/// them back within a day, and what comes later is another machine.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// The value that an override is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// [`Override::state`].
    State,
    /// [`Override::weight`].
    Weight,
}

impl Field {
    /// The key of the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Weight => "weight",
        }
    }
}

/// What became of an override when the configuration changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Whose.
    pub server: ServerKey,
    /// What.
    pub fate: Fate,
}

/// See [`Settled`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The file says something else by now: the override is over.
    FileWins {
        /// About what.
        field: Field,
        /// What was overridden.
        was: String,
        /// What the file says now.
        is: String,
        /// What the override said.
        override_value: String,
        /// Who said so.
        sign: Sign,
    },
    /// The server left the configuration: the override waits a day for it.
    Waits,
    /// The server came back within that day: the override holds again.
    Holds,
    /// The day is over.
    Forgotten,
}

impl fmt::Display for Settled {
    /// A sentence for the operator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServerKey { service, address, port } = self.server;
        write!(f, "{service} {}: ", SocketAddr::new(address, port))?;
        match &self.fate {
            Fate::FileWins { field, was, is, override_value, sign } => write!(
                f,
                "its configured {0} was {was} and is {is} now: that holds; the override \
                 {override_value} by {sign} is over",
                field.name()
            ),
            Fate::Waits => f.write_str(
                "is not in the configuration any more; its override holds again if it comes back within a day",
            ),
            Fate::Holds => f.write_str("is back, and its override holds"),
            Fate::Forgotten => f.write_str("has been away for a day: its override is over"),
        }
    }
}

impl Overrides {
    /// What holds for a server, if anything does.
    pub fn get(&self, server: &ServerKey) -> Option<&Override> {
        self.servers.get(server)
    }

    /// None holds.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The administrative state of a server of which the model is given.
    pub fn state(&self, service: ServiceKey, server: &Server) -> AdminState {
        let said = self.of(service, server).and_then(|known| known.state.as_ref());
        said.map_or(server.state, |said| said.value)
    }

    /// The weight that an operator gave a server, if one did.
    pub fn weight(&self, service: ServiceKey, server: &Server) -> Option<u32> {
        self.of(service, server)?.weight.as_ref().map(|said| said.value)
    }

    fn of(&self, service: ServiceKey, server: &Server) -> Option<&Override> {
        self.get(&ServerKey::of(service, server))
    }

    /// Does what an operator wants of servers that are in the model; those where something changed.
    /// What the file says anyway needs no override.
    ///
    /// # Errors
    /// [`Full`]; then nothing is done.
    pub fn wish(
        &mut self,
        model: &Model,
        servers: &[ServerKey],
        wish: Wish,
        sign: &Sign,
    ) -> Result<Vec<ServerKey>, Full> {
        let configured = by_key(model);
        let new = |key: &&ServerKey| !self.servers.contains_key(*key);
        if self.servers.len() + servers.iter().filter(new).count() > MOST {
            return Err(Full);
        }
        let mut changed = Vec::new();
        for key in servers {
            let Some(server) = configured.get(key) else { continue };
            let mut now = self.servers.remove(key).unwrap_or_default();
            let before = now.clone();
            match wish {
                Wish::State(value) => now.state = said(value, server.state, sign),
                Wish::Weight(value) => now.weight = said(value, server.weight, sign),
                Wish::FileWeight => now.weight = None,
            }
            if values(&now) != values(&before) {
                changed.push(*key);
            }
            if !now.is_empty() {
                self.servers.insert(*key, now);
            }
        }
        Ok(changed)
    }

    /// To be called when the configuration changes: what it says anew wins, and what becomes of the
    /// overrides of servers that left or came back. Also at the start, with the same model twice.
    pub fn settle(&mut self, before: &Model, after: &Model) -> Vec<Settled> {
        let mut settled = Vec::new();
        if self.servers.is_empty() {
            return settled;
        }
        let (was, is) = (by_key(before), by_key(after));
        self.servers.retain(|key, known| {
            let mut tell = |fate| settled.push(Settled { server: *key, fate });
            let Some(server) = is.get(key) else {
                if was.contains_key(key) {
                    tell(Fate::Waits);
                }
                return true;
            };
            let shown = |state: AdminState| state.name().to_owned();
            let state = overruled(&mut known.state, server.state, Field::State, shown);
            let weight = overruled(&mut known.weight, server.weight, Field::Weight, |weight| {
                weight.to_string()
            });
            [state, weight].into_iter().flatten().for_each(&mut tell);
            if known.gone_since.take().is_some() && !known.is_empty() {
                tell(Fate::Holds);
            }
            !known.is_empty()
        });
        settled
    }

    /// Notes which servers are gone, and forgets what waited for a day. To be called now and then.
    pub fn age(&mut self, model: &Model, now: SystemTime) -> Vec<Settled> {
        let mut forgotten = Vec::new();
        if self.servers.is_empty() {
            return forgotten;
        }
        let there = by_key(model);
        self.servers.retain(|key, known| {
            if there.contains_key(key) {
                known.gone_since = None;
                return true;
            }
            let since = *known.gone_since.get_or_insert(now);
            let kept = now.duration_since(since).is_ok_and(|away| away >= KEPT);
            if kept {
                forgotten.push(Settled { server: *key, fate: Fate::Forgotten });
            }
            !kept
        });
        forgotten
    }
}

impl ServerKey {
    /// That of a server of a service.
    pub const fn of(service: ServiceKey, server: &Server) -> Self {
        Self { service, address: server.address, port: server.port }
    }
}

/// What differs from the file's value.
fn said<T: Copy + PartialEq>(value: T, file_value: T, sign: &Sign) -> Option<Said<T>> {
    (value != file_value).then(|| Said { value, file_value, sign: sign.clone() })
}

/// Without who and why.
fn values(of: &Override) -> (Option<AdminState>, Option<u32>) {
    (of.state.as_ref().map(|said| said.value), of.weight.as_ref().map(|said| said.value))
}

/// Ends what the file overrules.
fn overruled<T: Copy + PartialEq>(
    said: &mut Option<Said<T>>,
    is: T,
    field: Field,
    shown: impl Fn(T) -> String,
) -> Option<Fate> {
    let over = said.take_if(|said| said.file_value != is)?;
    Some(Fate::FileWins {
        field,
        was: shown(over.file_value),
        is: shown(is),
        override_value: shown(over.value),
        sign: over.sign,
    })
}

fn by_key(model: &Model) -> HashMap<ServerKey, &Server> {
    let servers = model.services.iter().flat_map(|service| {
        service.servers.iter().map(|server| (ServerKey::of(service.key, server), server))
    });
    servers.collect()
}

/// An override as it is kept in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    service: String,
    address: IpAddr,
    port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Kept<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<Kept<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "event::maybe_time")]
    gone_since: Option<SystemTime>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept<T> {
    value: T,
    file_value: T,
    #[serde(flatten)]
    sign: Sign,
}

impl From<Overrides> for Vec<Row> {
    fn from(overrides: Overrides) -> Self {
        let row = |(key, known): (ServerKey, Override)| Row {
            service: key.service.to_string(),
            address: key.address,
            port: key.port,
            state: known.state.map(|said| Kept {
                value: said.value.name().to_owned(),
                file_value: said.file_value.name().to_owned(),
                sign: said.sign,
            }),
            weight: known.weight.map(|said| Kept {
                value: said.value,
                file_value: said.file_value,
                sign: said.sign,
            }),
            gone_since: known.gone_since,
        };
        overrides.servers.into_iter().map(row).collect()
    }
}

impl TryFrom<Vec<Row>> for Overrides {
    type Error = String;

    fn try_from(rows: Vec<Row>) -> Result<Self, String> {
        let state = |word: &str| {
            AdminState::from_name(word).ok_or_else(|| format!("{word}: no state of a server"))
        };
        let mut servers = BTreeMap::new();
        for Row { service, address, port, state: kept, weight, gone_since } in rows {
            let service = naming::service_key(&service)
                .ok_or_else(|| format!("{service}: not what a service takes"))?;
            let known = Override {
                state: match kept {
                    Some(Kept { value, file_value, sign }) => {
                        let (value, file_value) = (state(&value)?, state(&file_value)?);
                        Some(Said { value, file_value, sign })
                    }
                    None => None,
                },
                weight: weight.map(|Kept { value, file_value, sign }| Said {
                    value,
                    file_value,
                    sign,
                }),
                gone_since,
            };
            if !known.is_empty() {
                servers.insert(ServerKey { service, address, port }, known);
            }
        }
        Ok(Self { servers })
    }
}
