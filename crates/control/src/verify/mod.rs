//! Does it work, from end to end? The configuration against the box, each server asked by the way
//! that clients' packets take, what would become of new clients, and the usual mistakes by name.

mod inquiry;
mod request;
mod rounds;
mod servers;

use std::sync::Arc;

use health::probe::{Net, ServicePath};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use inquiry::Unknown;
pub use request::{Answered, NoRequest, Request};
pub use rounds::Wanted;

use crate::{
    errand::Desk,
    explain::{Explainer, Explanation},
    live,
};

/// Who verifies.
#[derive(Clone)]
pub struct Verifier {
    /// What would happen.
    pub explainer: Explainer,
    /// What checks ask with.
    pub net: Net,
    /// The way through services, if there are probe sources.
    pub way: Option<Arc<dyn ServicePath>>,
    /// Where the configuration is asked for.
    pub desk: Desk,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    /// No errors.
    pub well: bool,
    /// Of this box.
    pub findings: Vec<Finding>,
    /// Of each service.
    pub services: Vec<VerifiedService>,
}

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: String,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Clients notice.
    Error,
    /// Clients may notice.
    Warning,
    /// Good to know.
    Note,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VerifiedService {
    /// Its name.
    pub service: String,
    /// What clients connect to.
    pub listen: String,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Its servers.
    pub servers: Vec<VerifiedServer>,
    /// Where so many new clients would go.
    pub picks: Vec<Pick>,
    /// What would happen to a new client's first packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Explanation>,
    /// What would happen to the server's answer, where it passes this box.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Explanation>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VerifiedServer {
    /// Address and port.
    pub server: String,
    /// How packets reach it.
    pub forward: String,
    /// `up`, `down`, `drained`, `standby`.
    pub state: String,
    /// The next hop towards it; what is in the way, if so.
    pub next_hop: String,
    /// How it was asked: `service`, as clients' packets go, or `direct`, at its own address.
    pub via: String,
    /// It answered.
    pub reached: bool,
    /// What it answered, or did not, and why.
    pub answer: String,
    /// How long that took, in milliseconds.
    pub took_ms: f64,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// How many of the new clients a server would get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pick {
    /// The server.
    pub server: String,
    /// New clients.
    pub clients: u32,
}

impl Finding {
    fn new(severity: Severity, subject: &str, text: impl Into<String>, remedy: &str) -> Self {
        let (text, remedy) = (text.into(), remedy.to_owned());
        Self { severity, subject: subject.to_owned(), text, remedy }
    }
}

impl From<live::Finding> for Finding {
    fn from(found: live::Finding) -> Self {
        let severity = match found.severity {
            live::Severity::Error => Severity::Error,
            live::Severity::Warning => Severity::Warning,
            live::Severity::Note => Severity::Note,
        };
        Self { severity, subject: found.subject, text: found.sentence, remedy: found.remedy }
    }
}
