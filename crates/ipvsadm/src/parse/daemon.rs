//! The options of the connection sync daemons.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::number;
use super::options::{DaemonOption, Verb};
use crate::command::{DaemonRole, SyncDaemon};
use crate::refusal::Refusal;

/// The interface if none is named.
const INTERFACE: &str = "eth0";
/// The kernel's room for an interface's name.
const INTERFACE_BYTES: usize = 15;
/// The longest UDP payload.
const LONGEST_MESSAGE: i64 = 65535 - 20 - 8;

/// What has been read of a daemon.
pub(super) struct DaemonPart {
    pub(super) role: DaemonRole,
    pub(super) sync_id: u8,
    interface: String,
    max_length: Option<u16>,
    group: Option<IpAddr>,
    port: Option<u16>,
    ttl: Option<u8>,
}

impl Default for DaemonPart {
    fn default() -> Self {
        Self {
            role: DaemonRole::Master,
            sync_id: 0,
            interface: String::new(),
            max_length: None,
            group: None,
            port: None,
            ttl: None,
        }
    }
}

impl DaemonPart {
    /// The value of `--start-daemon` or `--stop-daemon`; other commands have none.
    pub(super) fn role(&mut self, verb: Verb, value: Option<&str>) -> Result<(), Refusal> {
        self.role = match (verb, value) {
            (Verb::StartDaemon | Verb::StopDaemon, Some("master")) => DaemonRole::Master,
            (Verb::StartDaemon | Verb::StopDaemon, Some("backup")) => DaemonRole::Backup,
            (Verb::StartDaemon, _) => {
                return Err(Refusal::usage("illegal start-daemon parameter specified"));
            }
            (Verb::StopDaemon, _) => {
                return Err(Refusal::usage("illegal start_daemon specified"));
            }
            _ => return Ok(()),
        };
        Ok(())
    }

    pub(super) fn take(&mut self, option: DaemonOption, text: &str) -> Result<(), Refusal> {
        match option {
            DaemonOption::Interface => {
                self.interface = text[..text.floor_char_boundary(INTERFACE_BYTES)].to_owned();
            }
            DaemonOption::SyncId => self.sync_id = bounded(text, "syncid", 0, 255)?,
            DaemonOption::MaxLength => {
                self.max_length = Some(bounded(text, "sync-maxlen", 1, LONGEST_MESSAGE)?);
            }
            DaemonOption::Group => self.group = Some(group(text)?),
            DaemonOption::Port => self.port = Some(bounded(text, "mcast-port", 1, 65535)?),
            DaemonOption::Ttl => self.ttl = Some(bounded(text, "mcast-ttl", 1, 255)?),
        }
        Ok(())
    }

    pub(super) fn daemon(self) -> SyncDaemon {
        let interface =
            if self.interface.is_empty() { INTERFACE.to_owned() } else { self.interface };
        let Self { role, sync_id, max_length, group, port, ttl, .. } = self;
        SyncDaemon { role, interface, sync_id, max_length, group, port, ttl }
    }
}

fn bounded<T: TryFrom<i64>>(text: &str, what: &str, least: i64, most: i64) -> Result<T, Refusal> {
    number::within(text, least, most)
        .ok_or_else(|| Refusal::usage(format!("illegal {what} specified")))
}

fn group(text: &str) -> Result<IpAddr, Refusal> {
    let (family, address) = if text.contains(':') {
        ("IPv6", text.parse::<Ipv6Addr>().ok().map(IpAddr::from))
    } else {
        ("IPv4", text.parse::<Ipv4Addr>().ok().map(IpAddr::from))
    };
    address
        .filter(IpAddr::is_multicast)
        .ok_or_else(|| Refusal::usage(format!("invalid {family} mcast-group `{text}'")))
}
