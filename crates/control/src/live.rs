//! This box, before anything is attached: what the file is checked against
//! ([`surroundings`]), and what an operator should know of the box beyond the file ([`check`]).
//!
//! Each submodule reads one corner of the kernel into plain values and judges them by pure
//! functions, so that the judgements are tables in tests.

mod firewall;
mod interfaces;
mod marks;
mod process;
mod programs;
mod reach;
mod settings;
mod sockets;

use std::{fmt, io, net::IpAddr};

use dataplane::{forward::ServiceKey, topology::Topology};
use hashbrown::HashSet;
use nix::{ifaddrs::getifaddrs, net::if_::if_nameindex};

use crate::{
    front::Sockets,
    kernel::sysctl::{SysctlError, ephemeral_ports},
    model::Model,
    report,
    resolve::{Link, Surroundings},
    topology::{self, Mirror, MirrorError},
};
use interfaces::Nic;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// xlvs cannot run like this.
    Error,
    /// It runs, and something will not work.
    Warning,
    /// Good to know.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Something about this box. Displayed as `SEVERITY: SUBJECT: SENTENCE; REMEDY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: an interface, a server, a setting.
    pub subject: String,
    /// What is so.
    pub sentence: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    fn error(subject: &str, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Error, subject, sentence.into(), remedy.into())
    }

    fn warning(subject: &str, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warning, subject, sentence.into(), remedy.into())
    }

    fn note(subject: &str, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Note, subject, sentence.into(), remedy.into())
    }

    fn new(severity: Severity, subject: &str, sentence: String, remedy: String) -> Self {
        Self { severity, subject: subject.to_owned(), sentence, remedy }
    }

    /// xlvs cannot run before this is changed.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}; {}", self.severity, self.subject, self.sentence, self.remedy)
    }
}

/// Why the box could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A list of the kernel's.
    #[error("cannot read this box's {what}: {source}")]
    Read {
        /// Which one.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// Routes and addresses.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
}

/// What the file's own checks need to know of this box, in this thread's network namespace.
/// Needs no privilege.
///
/// # Errors
/// `/proc` or the interfaces cannot be read.
pub fn surroundings() -> Result<Surroundings, LiveError> {
    let read = |what| move |source| LiveError::Read { what, source };
    let names = if_nameindex().map_err(|errno| read("interfaces")(errno.into()))?;
    Ok(Surroundings {
        interfaces: names.iter().filter_map(|known| link(known.name().to_str().ok()?)).collect(),
        addresses: addresses()?,
        sockets: sockets()?,
        cores: process::cores().map_err(read("cores"))?,
    })
}

/// The box's own addresses, in this thread's network namespace.
///
/// # Errors
/// The kernel does not list them.
pub fn addresses() -> Result<HashSet<IpAddr>, LiveError> {
    let known = getifaddrs()
        .map_err(|errno| LiveError::Read { what: "addresses", source: errno.into() })?;
    Ok(known.filter_map(|known| ip(&known.address?)).collect())
}

/// The sockets that a service on port 0 may take packets from, in this thread's network
/// namespace.
///
/// # Errors
/// `/proc` cannot be read.
pub fn sockets() -> Result<Sockets, LiveError> {
    let read = |source| LiveError::Read { what: "sockets", source };
    Ok(Sockets { bound: sockets::bound().map_err(read)?, ephemeral: ephemeral_ports()? })
}

/// The rules of netfilter that will not act on what services with these keys take, as far as it
/// can be known: where it cannot, [`check`] has said so.
///
/// Asks other programs: takes up to two seconds. Blocks; not to be called within an async runtime.
pub fn netfilter(keys: &[ServiceKey]) -> Vec<Finding> {
    let seen = firewall::read();
    let served: Vec<_> = firewall::of_services(keys.iter()).collect();
    if seen.is_ok() { firewall::judge(&served, &seen) } else { Vec::new() }
}

/// Nothing for an interface that is gone since it was listed.
fn link(name: &str) -> Option<Link> {
    let mtu = xsk::link::mtu(name).ok()?;
    Some(Link { name: name.to_owned(), mtu, queues: xsk::link::rx_queues(name).ok()? })
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
}

/// Everything noteworthy about this box for this configuration, errors first. What
/// [`surroundings`] lets the file's own checks say, with lines, is not repeated: unknown
/// interfaces and cores, an MTU above the chunk, FullNAT ports that the kernel uses.
///
/// `served` are interfaces that a running xlvs of this box serves: its programs are not strangers.
///
/// Changes nothing. Blocks; not to be called within an async runtime.
pub fn check(model: &Model, served: &[report::Interface]) -> Vec<Finding> {
    let mut findings = process::judge(&process::Process::read());
    findings.extend(programs::judge(model));
    findings.extend(around(model, Programs::Seen { served }));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// As [`check`], of the box on which xlvs itself runs with this configuration: its own programs and
/// its rights are not looked at.
pub fn check_running(model: &Model) -> Vec<Finding> {
    let mut findings = around(model, Programs::Ours);
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// What the XDP programs on the interfaces are to who looks.
#[derive(Clone, Copy)]
enum Programs<'a> {
    /// His own: they are not looked at.
    Ours,
    /// Another's, but on interfaces that a running xlvs serves.
    Seen { served: &'a [report::Interface] },
}

fn around(model: &Model, attached: Programs<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let nics: Vec<Nic> = match sight(model, attached) {
        Ok((topology, nics)) => {
            findings.extend(reach::judge(model, &topology));
            // What cannot be read, [`surroundings`] has reported.
            if let Ok(sockets) = sockets() {
                findings.extend(marks::judge(model, &topology, &sockets));
            }
            nics
        }
        Err(error) => {
            let remedy = "run in the network namespace of the interfaces, with /proc mounted";
            findings.push(Finding::error("netlink", error.to_string(), remedy));
            Vec::new()
        }
    };
    findings.extend(interfaces::judge(model, &nics));
    findings.extend(settings::judge(model, &settings::Settings::read(model)));
    findings.extend(firewall::judge(&firewall::of_model(model), &firewall::read()));
    findings
}

/// Routes and addresses as the workers will see them, and the interfaces of the file that
/// are there.
fn sight(model: &Model, attached: Programs<'_>) -> Result<(Topology, Vec<Nic>), LiveError> {
    let read = |source| LiveError::Read { what: "interfaces", source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(read)?;
    let settings = topology::Settings {
        interfaces: model.interfaces.iter().map(|interface| interface.name.clone()).collect(),
        statics: topology::Statics::default(),
        probed: None,
        limits: topology::Limits {
            routes: model.limits.routes as usize,
            neighbours: model.limits.neighbours as usize,
        },
    };
    runtime.block_on(async {
        let mut mirror = Mirror::open(settings).await?;
        let (programs, served) = match attached {
            Programs::Ours => (Default::default(), &[][..]),
            Programs::Seen { served } => {
                (interfaces::programs(&mirror.handle()).await.map_err(read)?, served)
            }
        };
        let topology = mirror.topology();
        let nics = topology.interfaces.iter().filter(|interface| interface.index != 0);
        let nics = nics.map(|interface| Nic::read(interface, &programs, served)).collect();
        Ok((topology, nics))
    })
}
