//! The options of ipvsadm 1.31, and `--fullnat`.

use super::legal::Field;
use crate::command::{Checksum, Protocol};

/// A command; the order is that of ipvsadm's own table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    AddService,
    EditService,
    DeleteService,
    Flush,
    List,
    AddServer,
    DeleteServer,
    EditServer,
    Timeouts,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
}

impl Verb {
    /// The name in errors, not always that of the option.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AddService => "add-service",
            Self::EditService => "edit-service",
            Self::DeleteService => "delete-service",
            Self::Flush => "flush",
            Self::List => "list",
            Self::AddServer => "add-server",
            Self::DeleteServer => "delete-server",
            Self::EditServer => "edit-server",
            Self::Timeouts => "set",
            Self::StartDaemon => "start-daemon",
            Self::StopDaemon => "stop-daemon",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Zero => "zero",
        }
    }
}

/// Whether an option takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value,
    Optional,
}

/// What an option says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Verb(Verb),
    Help,
    Version,
    Service(ServiceOption),
    Server(ServerOption),
    List(ListOption),
    Daemon(DaemonOption),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServiceOption {
    Endpoint(Protocol),
    Mark,
    Ipv6,
    Scheduler,
    Persistent,
    Netmask,
    OnePacket,
    Engine,
    Flags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerOption {
    Server,
    Nat,
    Tunnel,
    Dr,
    FullNat,
    Weight,
    Upper,
    Lower,
    TunnelType,
    TunnelPort,
    Checksum(Checksum),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListOption {
    Numeric,
    Connection,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    TunInfo,
    Exact,
    NoSort,
    Sort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DaemonOption {
    Interface,
    SyncId,
    MaxLength,
    Group,
    Port,
    Ttl,
}

/// An option.
#[derive(Debug)]
pub(super) struct Opt {
    long: &'static str,
    short: Option<char>,
    pub(super) takes: Takes,
    pub(super) kind: Kind,
    /// What it counts as when options are checked against commands.
    pub(super) field: Option<Field>,
}

pub(super) fn long(name: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.long == name)
}

pub(super) fn short(letter: char) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.short == Some(letter))
}

const fn verb(long: &'static str, short: Option<char>, verb: Verb) -> Opt {
    Opt { long, short, takes: Takes::Nothing, kind: Kind::Verb(verb), field: None }
}

const fn role(long: &'static str, verb: Verb) -> Opt {
    Opt { long, short: None, takes: Takes::Value, kind: Kind::Verb(verb), field: None }
}

const fn flag(long: &'static str, short: Option<char>, kind: Kind, field: Field) -> Opt {
    Opt { long, short, takes: Takes::Nothing, kind, field: Some(field) }
}

const fn value(long: &'static str, short: Option<char>, kind: Kind, field: Field) -> Opt {
    Opt { long, short, takes: Takes::Value, kind, field: Some(field) }
}

const fn free(long: &'static str, short: Option<char>, kind: Kind) -> Opt {
    Opt { long, short, takes: Takes::Nothing, kind, field: None }
}

const fn checksum(long: &'static str, checksum: Checksum, field: Field) -> Opt {
    flag(long, None, Kind::Server(ServerOption::Checksum(checksum)), field)
}

#[rustfmt::skip]
const OPTIONS: &[Opt] = {
    use Kind::{Daemon, List, Server, Service};
    use {DaemonOption as D, ListOption as L, ServerOption as R, ServiceOption as S};
    &[
        verb("add-service", Some('A'), Verb::AddService),
        verb("edit-service", Some('E'), Verb::EditService),
        verb("delete-service", Some('D'), Verb::DeleteService),
        verb("clear", Some('C'), Verb::Flush),
        verb("list", Some('L'), Verb::List),
        verb("list", Some('l'), Verb::List),
        verb("zero", Some('Z'), Verb::Zero),
        verb("add-server", Some('a'), Verb::AddServer),
        verb("edit-server", Some('e'), Verb::EditServer),
        verb("delete-server", Some('d'), Verb::DeleteServer),
        verb("set", None, Verb::Timeouts),
        verb("restore", Some('R'), Verb::Restore),
        verb("save", Some('S'), Verb::Save),
        role("start-daemon", Verb::StartDaemon),
        role("stop-daemon", Verb::StopDaemon),
        free("help", Some('h'), Kind::Help),
        free("version", Some('v'), Kind::Version),
        value("tcp-service", Some('t'), Service(S::Endpoint(Protocol::Tcp)), Field::Service),
        value("udp-service", Some('u'), Service(S::Endpoint(Protocol::Udp)), Field::Service),
        value("sctp-service", None, Service(S::Endpoint(Protocol::Sctp)), Field::Service),
        value("fwmark-service", Some('f'), Service(S::Mark), Field::Service),
        free("ipv6", Some('6'), Service(S::Ipv6)),
        value("scheduler", Some('s'), Service(S::Scheduler), Field::Scheduler),
        Opt {
            long: "persistent",
            short: Some('p'),
            takes: Takes::Optional,
            kind: Service(S::Persistent),
            field: Some(Field::Persistent),
        },
        value("netmask", Some('M'), Service(S::Netmask), Field::Netmask),
        flag("ops", Some('o'), Service(S::OnePacket), Field::OnePacket),
        value("pe", None, Service(S::Engine), Field::Engine),
        value("sched-flags", Some('b'), Service(S::Flags), Field::SchedulerFlags),
        value("real-server", Some('r'), Server(R::Server), Field::Server),
        flag("masquerading", Some('m'), Server(R::Nat), Field::Forward),
        flag("ipip", Some('i'), Server(R::Tunnel), Field::Forward),
        flag("gatewaying", Some('g'), Server(R::Dr), Field::Forward),
        flag("fullnat", None, Server(R::FullNat), Field::Forward),
        value("weight", Some('w'), Server(R::Weight), Field::Weight),
        value("u-threshold", Some('x'), Server(R::Upper), Field::Upper),
        value("l-threshold", Some('y'), Server(R::Lower), Field::Lower),
        value("tun-type", None, Server(R::TunnelType), Field::TunnelType),
        value("tun-port", None, Server(R::TunnelPort), Field::TunnelPort),
        checksum("tun-nocsum", Checksum::None, Field::TunnelNoChecksum),
        checksum("tun-csum", Checksum::Full, Field::TunnelChecksum),
        checksum("tun-remcsum", Checksum::Remote, Field::TunnelRemoteChecksum),
        flag("numeric", Some('n'), List(L::Numeric), Field::Numeric),
        flag("connection", Some('c'), List(L::Connection), Field::Connection),
        flag("timeout", None, List(L::Timeout), Field::Timeout),
        flag("daemon", None, List(L::Daemon), Field::Daemon),
        flag("stats", None, List(L::Stats), Field::Stats),
        flag("rate", None, List(L::Rate), Field::Rate),
        flag("thresholds", None, List(L::Thresholds), Field::Thresholds),
        flag("persistent-conn", None, List(L::PersistentConn), Field::PersistentConn),
        flag("tun-info", None, List(L::TunInfo), Field::TunInfo),
        flag("exact", Some('X'), List(L::Exact), Field::Exact),
        flag("nosort", None, List(L::NoSort), Field::NoSort),
        free("sort", None, List(L::Sort)),
        value("mcast-interface", None, Daemon(D::Interface), Field::McastInterface),
        value("syncid", None, Daemon(D::SyncId), Field::SyncId),
        value("sync-maxlen", None, Daemon(D::MaxLength), Field::MaxLength),
        value("mcast-group", None, Daemon(D::Group), Field::McastGroup),
        value("mcast-port", None, Daemon(D::Port), Field::McastPort),
        value("mcast-ttl", None, Daemon(D::Ttl), Field::McastTtl),
    ]
};
