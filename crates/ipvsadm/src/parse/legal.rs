//! Which options go with which command, and with which tunnel.

use super::options::Verb;
use crate::refusal::Refusal;

/// What options are counted as; the order is that in which ipvsadm checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Numeric,
    Connection,
    Service,
    Scheduler,
    Persistent,
    Netmask,
    Server,
    Forward,
    Weight,
    Upper,
    Lower,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    NoSort,
    SyncId,
    Exact,
    OnePacket,
    Engine,
    SchedulerFlags,
    McastGroup,
    McastPort,
    McastTtl,
    MaxLength,
    TunInfo,
    TunnelType,
    TunnelPort,
    TunnelNoChecksum,
    TunnelChecksum,
    TunnelRemoteChecksum,
}

/// Every field with its name in errors.
#[rustfmt::skip]
const FIELDS: [(Field, &str); 34] = [
    (Field::Numeric, "numeric"),
    (Field::Connection, "connection"),
    (Field::Service, "service-address"),
    (Field::Scheduler, "scheduler"),
    (Field::Persistent, "persistent"),
    (Field::Netmask, "netmask"),
    (Field::Server, "real-server"),
    (Field::Forward, "forwarding-method"),
    (Field::Weight, "weight"),
    (Field::Upper, "u-threshold"),
    (Field::Lower, "l-threshold"),
    (Field::McastInterface, "mcast-interface"),
    (Field::Timeout, "timeout"),
    (Field::Daemon, "daemon"),
    (Field::Stats, "stats"),
    (Field::Rate, "rate"),
    (Field::Thresholds, "thresholds"),
    (Field::PersistentConn, "persistent-conn"),
    (Field::NoSort, "nosort"),
    (Field::SyncId, "syncid"),
    (Field::Exact, "exact"),
    (Field::OnePacket, "ops"),
    (Field::Engine, "pe"),
    (Field::SchedulerFlags, "sched-flags"),
    (Field::McastGroup, "mcast-group"),
    (Field::McastPort, "mcast-port"),
    (Field::McastTtl, "mcast-ttl"),
    (Field::MaxLength, "sync-maxlen"),
    (Field::TunInfo, "tun-info"),
    (Field::TunnelType, "tun-type"),
    (Field::TunnelPort, "tun-port"),
    (Field::TunnelNoChecksum, "tun-nocsum"),
    (Field::TunnelChecksum, "tun-csum"),
    (Field::TunnelRemoteChecksum, "tun-remcsum"),
];

/// The options of tunnels, after those for their type.
const TUNNEL_FIELDS: &[(Field, &str)] = FIELDS.split_at(Field::TunnelPort as usize).1;

impl Field {
    fn name(self) -> &'static str {
        FIELDS[self as usize].1
    }
}

/// The options that a command or a tunnel takes; all others are illegal.
struct Rule {
    required: &'static [Field],
    optional: &'static [Field],
    /// At most one of these.
    exclusive: &'static [Field],
}

const NOTHING: Rule = Rule { required: &[], optional: &[], exclusive: &[] };

const SERVICE: Rule = Rule {
    required: &[Field::Service],
    optional: &[
        Field::Scheduler,
        Field::Persistent,
        Field::Netmask,
        Field::OnePacket,
        Field::Engine,
        Field::SchedulerFlags,
    ],
    exclusive: &[],
};

const SERVER: Rule = Rule {
    required: &[Field::Service, Field::Server],
    optional: &[
        Field::Forward,
        Field::Weight,
        Field::Upper,
        Field::Lower,
        Field::TunnelType,
        Field::TunnelPort,
        Field::TunnelNoChecksum,
        Field::TunnelChecksum,
        Field::TunnelRemoteChecksum,
    ],
    exclusive: &[],
};

const LIST: Rule = Rule {
    required: &[],
    optional: &[
        Field::Numeric,
        Field::Stats,
        Field::Rate,
        Field::Thresholds,
        Field::PersistentConn,
        Field::NoSort,
        Field::SyncId,
        Field::Exact,
        Field::TunInfo,
    ],
    exclusive: &[Field::Connection, Field::Service, Field::Timeout, Field::Daemon],
};

const DAEMON: Rule = Rule {
    optional: &[
        Field::McastInterface,
        Field::SyncId,
        Field::McastGroup,
        Field::McastPort,
        Field::McastTtl,
        Field::MaxLength,
    ],
    ..NOTHING
};

fn command_rule(verb: Verb) -> Rule {
    match verb {
        Verb::AddService | Verb::EditService => SERVICE,
        Verb::AddServer | Verb::EditServer => SERVER,
        Verb::DeleteService => Rule { required: &[Field::Service], ..NOTHING },
        Verb::DeleteServer => Rule { required: &[Field::Service, Field::Server], ..NOTHING },
        Verb::List => LIST,
        Verb::StartDaemon => DAEMON,
        Verb::StopDaemon => Rule { optional: &[Field::SyncId], ..NOTHING },
        Verb::Save => Rule { optional: &[Field::Numeric], ..NOTHING },
        Verb::Zero => Rule { optional: &[Field::Service], ..NOTHING },
        Verb::Flush | Verb::Timeouts | Verb::Restore => NOTHING,
    }
}

/// The type of a tunnel, as its option names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TunnelType {
    #[default]
    Ipip,
    Gue,
    Gre,
}

impl TunnelType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Gre => "gre",
        }
    }

    fn rule(self) -> Rule {
        match self {
            Self::Ipip => NOTHING,
            Self::Gue => Rule {
                required: &[Field::TunnelPort],
                optional: &[],
                exclusive: &[
                    Field::TunnelNoChecksum,
                    Field::TunnelChecksum,
                    Field::TunnelRemoteChecksum,
                ],
            },
            Self::Gre => {
                Rule { exclusive: &[Field::TunnelNoChecksum, Field::TunnelChecksum], ..NOTHING }
            }
        }
    }
}

/// The fields that a command line gives.
#[derive(Debug, Default)]
pub(super) struct Given(u64);

impl Given {
    pub(super) fn add(&mut self, field: Field) -> Result<(), Refusal> {
        if self.has(field) {
            let name = field.name();
            return Err(Refusal::usage(format!("multiple '{name}' options specified")));
        }
        self.0 |= 1 << field as u64;
        Ok(())
    }

    pub(super) fn has(&self, field: Field) -> bool {
        self.0 & (1 << field as u64) != 0
    }

    pub(super) fn has_any(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.has(*field))
    }

    pub(super) fn fit_command(&self, verb: Verb) -> Result<(), Refusal> {
        self.fit(&FIELDS, &command_rule(verb), &format!("'{}' command", verb.name()))
    }

    pub(super) fn fit_tunnel(&self, tunnel: TunnelType) -> Result<(), Refusal> {
        self.fit(TUNNEL_FIELDS, &tunnel.rule(), &format!("'{}' tunnel type", tunnel.name()))
    }

    fn fit(&self, fields: &[(Field, &str)], rule: &Rule, whose: &str) -> Result<(), Refusal> {
        let mut chosen = None;
        for (field, name) in fields {
            if !self.has(*field) {
                if rule.required.contains(field) {
                    return Err(Refusal::usage(format!(
                        "You need to supply the '{name}' option for the {whose}"
                    )));
                }
            } else if rule.exclusive.contains(field) {
                if let Some(other) = chosen.replace(name) {
                    return Err(Refusal::usage(format!(
                        "The option '{name}' conflicts with the '{other}' option in the {whose}"
                    )));
                }
            } else if !rule.required.contains(field) && !rule.optional.contains(field) {
                return Err(Refusal::usage(format!("Illegal '{name}' option with the {whose}")));
            }
        }
        Ok(())
    }
}
