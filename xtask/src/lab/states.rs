//! What the director says of a service's servers.
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Director;
use crate::failure::{Outcome, fail};

/// How long a change may take that checks have to find.
const PATIENCE: Duration = Duration::from_secs(10);

impl Director<'_> {
    /// A service of `xlvs list --json`.
    ///
    /// # Errors
    /// As [`Director::json`], and when there is no such service.
    pub fn service(&self, name: &str) -> Outcome<Value> {
        let mut json = self.json()?;
        let services = json["services"].as_array_mut();
        let found = services.and_then(|all| all.iter_mut().find(|one| one["name"] == name));
        match found {
            Some(service) => Ok(service.take()),
            None => fail(format!("no service {name} in {json}")),
        }
    }

    /// The states of its servers, in the file's order; a sorry server is the last.
    ///
    /// # Errors
    /// As [`Director::service`].
    pub fn states(&self, service: &str) -> Outcome<Vec<String>> {
        let service = self.service(service)?;
        let servers = service["servers"].as_array();
        let states = servers.into_iter().flatten().map(|server| server["state"].as_str());
        Ok(states.map(|state| state.unwrap_or("none").to_owned()).collect())
    }

    /// Waits until they are these; gives how long that took.
    ///
    /// # Errors
    /// When they are not within 10 s.
    pub fn until(&self, service: &str, wanted: &[&str]) -> Outcome<Duration> {
        let started = Instant::now();
        loop {
            let now = self.states(service)?;
            if now == wanted {
                return Ok(started.elapsed());
            }
            if started.elapsed() > PATIENCE {
                return fail(format!("{service}: {now:?} instead of {wanted:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
