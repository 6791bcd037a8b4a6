//! Capabilities: no more than a thread needs, and no longer than it needs them.
//!
//! They belong to threads, and a new thread has those of the thread that made it. So control
//! limits itself before it makes any, and each thread begins by limiting itself further. What is
//! given up here never comes back.
//!
//! | who | keeps | for |
//! |---|---|---|
//! | control, the API's socket | `NET_ADMIN`, `NET_RAW`, `BPF`, `PERFMON`, `IPC_LOCK` | interfaces that come back, match maps, addresses, neighbours, frame memory |
//! | control, health, hooks | `SETUID`, `SETGID`, `KILL` | programs that run as `user:`, and their end |
//! | control | `NET_BIND_SERVICE` | an API on a port below 1024 |
//! | health | `NET_RAW`, `NET_ADMIN` | pings, marks on sockets |
//! | the probes' namespace | `NET_RAW` | sockets made in it; `SYS_ADMIN` only until it stands |
//! | workers, punt, probes' TAP, watchdog | nothing | all that they use is open already |

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_ambient_set, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use crate::model::Model;

/// Programs that run as somebody else.
const PROGRAMS: CapabilitySet =
    CapabilitySet::SETUID.union(CapabilitySet::SETGID).union(CapabilitySet::KILL);

/// What a thread is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Control, until everything stands.
    Start,
    /// Control, from then on.
    Control,
    /// Asking servers.
    Health,
    /// Running hooks.
    Hooks,
    /// Making sockets in the probes' namespace.
    Probes,
    /// Whatever needs nothing but what is open already: packets among it.
    Packets,
}

impl Task {
    const fn needs(self) -> CapabilitySet {
        let network = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW);
        match self {
            // A namespace, the socket's group, a smaller bounding set.
            Self::Start => Self::Control
                .needs()
                .union(CapabilitySet::SYS_ADMIN)
                .union(CapabilitySet::CHOWN)
                .union(CapabilitySet::SETPCAP),
            Self::Control => network
                .union(CapabilitySet::BPF)
                .union(CapabilitySet::PERFMON)
                .union(CapabilitySet::IPC_LOCK)
                .union(CapabilitySet::NET_BIND_SERVICE)
                .union(PROGRAMS),
            Self::Health => network.union(PROGRAMS),
            Self::Hooks => PROGRAMS,
            Self::Probes => CapabilitySet::NET_RAW,
            Self::Packets => CapabilitySet::empty(),
        }
    }
}

/// The calling thread gives up what the task does not need. Programs that run as root have what
/// the [bounding set](bound) lets them have. Others inherit nothing; but where an unprivileged user
/// was given ambient capabilities, control leaves `NET_ADMIN` to nft, which it asks for rules.
pub(crate) fn limit(task: Task) {
    if let Err(error) = limited(task) {
        log::warn!("capabilities that are not needed could not be given up: {error}");
    }
}

fn limited(task: Task) -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    let needs = match task {
        // Where SYS_ADMIN was granted in its stead.
        Task::Control if !held.permitted.contains(CapabilitySet::BPF) => {
            task.needs().union(CapabilitySet::SYS_ADMIN)
        }
        _ => task.needs(),
    };
    let admin = CapabilitySet::NET_ADMIN;
    let lends = matches!(task, Task::Start | Task::Control) && capability_is_in_ambient_set(admin)?;
    // What is not inheritable is not ambient either.
    set_capabilities(
        None,
        CapabilitySets {
            effective: held.effective.intersection(needs),
            permitted: held.permitted.intersection(needs),
            inheritable: if lends { admin } else { CapabilitySet::empty() },
        },
    )?;
    Ok(())
}

/// No program that this process runs can have more than control may have, root's neither. A
/// configuration with programs that run as root leaves it to them what root may do here.
pub(super) fn bound(model: &Model) {
    let programs = model.hooks.iter().map(|hook| hook.user.as_str()).chain(model.exec_users());
    if programs.into_iter().any(|user| user == "root") {
        return;
    }
    let rest = CapabilitySet::all().difference(Task::Start.needs());
    for capability in rest.iter() {
        // The kernel may not know it yet.
        if !capability_is_in_bounding_set(capability).unwrap_or(false) {
            continue;
        }
        if let Err(error) = remove_capability_from_bounding_set(capability) {
            // Without CAP_SETPCAP: then this is no root, whose programs get nothing anyway.
            log::debug!("the bounding set stays as it is: {error}");
            return;
        }
    }
}
