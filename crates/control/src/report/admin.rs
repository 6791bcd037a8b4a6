//! What operators want of servers for a while, in the report's shapes.

use dataplane::snapshot::{ServerId, Services};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    event::time,
    model::{AdminState, Model, Service},
    registry::{Overrides, Said, seated},
};

/// What holds for a server in place of the file's values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Override {
    /// Its administrative state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Overridden<String>>,
    /// Its weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Overridden<u32>>,
}

/// A value in place of the file's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Overridden<T> {
    /// What holds: a weight; `ready`, `drain`, `drain_persistent` or `maint`.
    pub value: T,
    /// What the file says.
    pub file_value: T,
    /// Who wanted it.
    pub who: String,
    /// When, as RFC 3339 has it, in UTC.
    pub when: String,
    /// Why; may be empty.
    pub why: String,
}

impl<T> Overridden<T> {
    fn of<S: Copy>(said: &Said<S>, shown: impl Fn(S) -> T) -> Self {
        Self {
            value: shown(said.value),
            file_value: shown(said.file_value),
            who: said.sign.who.clone(),
            when: time::text(said.sign.when),
            why: said.sign.why.clone(),
        }
    }
}

/// How operators want a server.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// Its administrative state.
    pub state: AdminState,
    /// Where that, or its weight, is not the file's.
    pub overridden: Option<Override>,
}

/// The servers that are not simply as the file says, and ready.
pub fn admins(
    model: &Model,
    overrides: &Overrides,
    services: &Services,
) -> HashMap<ServerId, Admin> {
    let mut admins = HashMap::new();
    let by_file =
        |service: &&Service| service.servers.iter().any(|server| server.state != AdminState::Ready);
    let concerned = !overrides.is_empty();
    for service in model.services.iter().filter(|service| concerned || by_file(service)) {
        for (server, id) in seated(service, services) {
            let key = crate::compile::ServerKey::of(service.key, server);
            let overridden = overrides.get(&key).map(|known| Override {
                state: known.state.as_ref().map(|s| Overridden::of(s, |s| s.name().to_owned())),
                weight: known.weight.as_ref().map(|weight| Overridden::of(weight, |w| w)),
            });
            let state = overrides.state(service.key, server);
            if overridden.is_some() || state != AdminState::Ready {
                admins.insert(id, Admin { state, overridden });
            }
        }
    }
    admins
}
