//! What ipvsadm prints on standard error, and its exit codes.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A command that is not done: what to print on standard error, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Without the line end that follows it.
    pub text: String,
    /// 2 for most faults of a command line, 255 for what popt or the director refuse, 1 for a
    /// listing that fails.
    pub code: u8,
    /// The line of the rules at fault, from 1, when rules are restored.
    pub line: Option<usize>,
}

impl Refusal {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { text: text.into(), code, line: None }
    }

    /// A fault of the command line.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(2, text)
    }

    /// A command line that is not understood at all.
    pub(crate) fn try_help(name: &str) -> Self {
        Self::new(u8::MAX, format!("Try `{name} -h' or '{name} --help' for more information."))
    }

    /// What ipvsadm says when the director refuses a change.
    pub fn denied(denial: &Denial) -> Self {
        Self::new(u8::MAX, denial.to_string())
    }

    /// What ipvsadm says when the director refuses a listing.
    pub fn unlisted(denial: &Denial) -> Self {
        Self::new(1, denial.to_string())
    }

    /// What ipvsadm says, before it looks at its command line, when there is no director to talk
    /// to ([`Denial::NoProtocol`]) or the caller may not ([`Denial::NotPermitted`]).
    pub fn unreachable(denial: &Denial) -> Self {
        Self::usage(format!(
            "Can't initialize ipvs: {denial}\n\
             Are you sure that IP Virtual Server is built in the kernel or as module?"
        ))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

/// A director's refusal, in the words of ipvsadm. It travels as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IpvsadmDenial)]
pub enum Denial {
    /// `-A` of a service that is there.
    ServiceExists,
    /// `-A` or `-E` with a scheduler or engine that is not there.
    SchedulerNotFound,
    /// `-E`, `-D`, `-Z` or `-L` of a service that is not there.
    NoSuchService,
    /// `-a`, `-e` or `-d` in a service that is not there.
    ServiceNotDefined,
    /// `-a` of a server that is there.
    DestinationExists,
    /// `-e` or `-d` of a server that is not there.
    NoSuchDestination,
    /// `--start-daemon` of one that runs.
    DaemonRuns,
    /// `--stop-daemon` of one that does not.
    NoDaemon,
    /// EPERM.
    NotPermitted,
    /// EINVAL: a wrong address, mask, tunnel port.
    Invalid,
    /// ERANGE: the lower threshold above the upper one.
    OutOfRange,
    /// ENOMEM.
    NoMemory,
    /// ENOPROTOOPT: the director is not there.
    NoProtocol,
    /// EOPNOTSUPP.
    NotWithIpv6,
    /// EAFNOSUPPORT.
    FamilyNotSupported,
    /// A text of our own, for what the kernel would do and this director does not.
    Other(String),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceExists => "Service already exists",
            Self::SchedulerNotFound => "Scheduler or persistence engine not found",
            Self::NoSuchService => "No such service",
            Self::ServiceNotDefined => "Service not defined",
            Self::DestinationExists => "Destination already exists",
            Self::NoSuchDestination => "No such destination",
            Self::DaemonRuns => "Daemon has already run",
            Self::NoDaemon => "No daemon is running",
            Self::NotPermitted => "Permission denied (you must be root)",
            Self::Invalid => {
                "Invalid operation.  Possibly wrong module version, address not unicast, ..."
            }
            Self::OutOfRange => "Numerical result out of range",
            Self::NoMemory => "Memory allocation problem",
            Self::NoProtocol => "Protocol not available",
            Self::NotWithIpv6 => "Operation not supported with IPv6",
            Self::FamilyNotSupported => "Operation not supported with specified address family",
            Self::Other(text) => text,
        })
    }
}

impl std::error::Error for Denial {}
