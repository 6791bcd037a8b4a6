//! Sources that operators deny for a while: a list in front of `access:`, each with who denied it,
//! when, why and until when. It outlives reloads and restarts.

use std::{borrow::Cow, time::SystemTime};

use dataplane::{forward::ServiceKey, prefix::Prefix, snapshot};
use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use super::{naming, overrides::Sign};
use crate::event;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Row", into = "Row")]
pub struct Denial {
    /// Who may not connect.
    pub source: Prefix,
    /// To what; `None`: to no service.
    pub service: Option<ServiceKey>,
    /// Until when; `None`: until it is deleted.
    pub until: Option<SystemTime>,
    /// Who denies it.
    pub sign: Sign,
}

impl Denial {
    fn is_over(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    fn same(&self, other: &Self) -> bool {
        (self.source, self.service) == (other.source, other.service)
    }
}

/// All of them, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Denials(Vec<Denial>);

/// There are as many as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{MOST} sources are denied already, which is all that fit; join some by wider prefixes, or write lasting ones under access: in the file"
)]
pub struct Full;

/// A list that the workers search with each new connection, and that people can read.
const MOST: usize = 4096;

impl Denials {
    /// All of them.
    pub fn all(&self) -> &[Denial] {
        &self.0
    }

    /// Adds these, each in place of one of the same source and service.
    ///
    /// # Errors
    /// [`Full`]; then nothing is added.
    pub fn add(&mut self, new: &[Denial]) -> Result<(), Full> {
        let more = new.iter().filter(|new| !self.0.iter().any(|known| known.same(new))).count();
        if self.0.len() + more > MOST {
            return Err(Full);
        }
        for new in new {
            self.0.retain(|known| !known.same(new));
            self.0.push(new.clone());
        }
        Ok(())
    }

    /// Ends those that a source has, to any service or to one; gives them.
    pub fn remove(&mut self, source: Prefix, services: Option<&[ServiceKey]>) -> Vec<Denial> {
        let named = |denial: &Denial| {
            let fits = |keys: &[ServiceKey]| denial.service.is_some_and(|key| keys.contains(&key));
            denial.source == source && services.is_none_or(fits)
        };
        self.0.extract_if(.., |denial| named(denial)).collect()
    }

    /// Ends those whose time is over; gives them.
    pub fn expire(&mut self, now: SystemTime) -> Vec<Denial> {
        self.0.extract_if(.., |denial| denial.is_over(now)).collect()
    }

    /// In the datapath's words.
    pub(super) fn compiled(&self, services: &snapshot::Services) -> Vec<snapshot::Denial> {
        let compiled = |denial: &Denial| {
            let service = match &denial.service {
                // A service that is not there now has nobody to deny.
                Some(key) => Some(*services.by_key.get(key)?),
                None => None,
            };
            Some(snapshot::Denial { source: denial.source, service })
        };
        self.0.iter().filter_map(compiled).collect()
    }
}

/// A network as it is written: `192.0.2.0/24`, or an address alone.
///
/// # Errors
/// What is wrong with it.
pub fn source(text: &str) -> Result<Prefix, String> {
    let wrong =
        || format!("{text}: no network; write it as 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32");
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let address: std::net::IpAddr = address.parse().map_err(|_| wrong())?;
    let Some(length) = length else { return Ok(Prefix::host(address)) };
    let prefix = Prefix::new(address, length).ok_or_else(wrong)?;
    if prefix.address() != address {
        return Err(format!("{text}: has bits behind its length; did you mean {prefix}?"));
    }
    Ok(prefix)
}

/// One as it is kept and told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct Row {
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "event::maybe_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<SystemTime>,
    #[serde(flatten)]
    sign: Sign,
}

impl PartialSchema for Denial {
    fn schema() -> RefOr<Schema> {
        Row::schema()
    }
}

impl ToSchema for Denial {
    fn name() -> Cow<'static, str> {
        "Denial".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Row::schemas(schemas);
    }
}

impl From<Denial> for Row {
    fn from(Denial { source, service, until, sign }: Denial) -> Self {
        let service = service.map(|key| key.to_string());
        Self { source: source.to_string(), service, until, sign }
    }
}

impl TryFrom<Row> for Denial {
    type Error = String;

    fn try_from(Row { source, service, until, sign }: Row) -> Result<Self, String> {
        let key = |text: String| {
            let key = naming::service_key(&text);
            key.ok_or_else(|| format!("{text}: not what a service takes"))
        };
        let service = service.map(key).transpose()?;
        Ok(Self { source: self::source(&source)?, service, until, sign })
    }
}
