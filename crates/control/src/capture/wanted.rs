//! What an operator wants to see, and how much of it.

use std::{fmt, net::IpAddr, time::Duration};

use crate::api::schema::Address;
use dataplane::{
    capture::{Ends, Filter},
    forward::Protocol,
    snapshot::{ServiceId, Snapshot},
    topology::PortId,
    verdict::{Drop, Punt},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::file;

/// A capture: the filter, of which all that is named must hold; the limits, of which the first
/// that is reached ends it; the form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = CaptureOrder)]
pub struct Wanted {
    /// Packets of this client, an address or a network: `192.0.2.0/24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Packets to this VIP, and their answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Address>)]
    pub vip: Option<IpAddr>,
    /// Packets of this real server, by any port or by one: `10.0.2.11`, `10.0.2.11:80`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Packets of the services with this name, or of this one: `203.0.113.10:80/tcp`, `mark:7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// One of the packet's ports, on either side of the rewrite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `tcp`, `udp` or `sctp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The interface by which packets come in, or, of what xlvs originates, leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// What becomes of them: `forwarded`, `dropped`, `punted`, `answered`; any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verdict: Vec<String>,
    /// Dropped by one of these names; beside `verdict`, also these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Given to the kernel for one of these reasons; beside `verdict`, also these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub punt: Vec<String>,
    /// Packets after which it ends, both sides of each; 1,000,000 unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Milliseconds after which it ends, at most a day; ten minutes unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Octets of the stream after which it ends; 1 GiB unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub octets: Option<u64>,
    /// Octets that are kept of each packet; all unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snap: Option<u32>,
    /// How it is written.
    pub form: Form,
}

/// How a capture is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CaptureForm)]
pub enum Form {
    /// For Wireshark, tshark, tcpdump.
    #[default]
    Pcapng,
    /// A JSON object a line, without the packets' octets.
    Json,
}

/// When it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) packets: u64,
    pub(super) octets: u64,
    pub(super) time: Duration,
}

const PACKETS: u64 = 1_000_000;
const OCTETS: u64 = 1 << 30;
const TIME: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(86_400);
/// Fewer octets show nothing: an Ethernet header.
const SMALLEST_SNAP: u32 = 14;

impl Wanted {
    pub(super) fn limits(&self) -> Result<Limits, String> {
        let time = self.duration_ms.map_or(TIME, Duration::from_millis);
        let zero = [self.packets, self.octets, self.duration_ms].contains(&Some(0));
        if zero {
            return Err("a limit of 0: nothing would be captured; write 1 or more".to_owned());
        }
        if time > LONGEST {
            return Err("longer than a day; write at most 1d".to_owned());
        }
        if self.snap.is_some_and(|snap| snap < SMALLEST_SNAP) {
            return Err(format!("snap: too short to show anything; write {SMALLEST_SNAP} or more"));
        }
        let packets = self.packets.unwrap_or(PACKETS);
        Ok(Limits { packets, octets: self.octets.unwrap_or(OCTETS), time })
    }

    /// What workers look for.
    ///
    /// # Errors
    /// What cannot be read, or does not exist, with the remedy.
    pub(super) fn filter(&self, snapshot: &Snapshot) -> Result<Filter, String> {
        Ok(Filter {
            client: named("client", self.client.as_deref(), file::prefix)?.map(Into::into),
            server: named("server", self.server.as_deref(), file::server)?,
            vip: self.vip,
            port: self.port,
            protocol: self.protocol.as_deref().map(protocol).transpose()?,
            interface: self.interface.as_deref().map(|n| interface(snapshot, n)).transpose()?,
            services: self.service.as_deref().map(|n| services(snapshot, n)).transpose()?,
            ends: self.ends()?,
        })
    }

    fn ends(&self) -> Result<Option<Ends>, String> {
        if self.verdict.is_empty() && self.drop.is_empty() && self.punt.is_empty() {
            return Ok(None);
        }
        let mut ends = Ends::default();
        for word in &self.verdict {
            match word.as_str() {
                "forwarded" => ends.forwarded = true,
                "answered" => ends.answered = true,
                "dropped" => Drop::ALL.iter().for_each(|reason| ends.drop(*reason)),
                "punted" => Punt::ALL.iter().for_each(|reason| ends.punt(*reason)),
                _ => {
                    let remedy = "write forwarded, dropped, punted or answered";
                    return Err(format!("verdict: {word}: no such verdict; {remedy}"));
                }
            }
        }
        for name in &self.drop {
            ends.drop(reason("drop", name, Drop::ALL, |reason| reason.name())?);
        }
        for name in &self.punt {
            ends.punt(reason("punt", name, Punt::ALL, |reason| reason.name())?);
        }
        Ok(Some(ends))
    }
}

fn named<T>(
    key: &str,
    text: Option<&str>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    text.map(|text| read(text).map_err(|why| format!("{key}: {text}: {why}"))).transpose()
}

fn reason<T: Copy>(
    key: &str,
    name: &str,
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    all.iter().copied().find(|reason| name_of(*reason) == name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|reason| name_of(*reason)).collect();
        format!("{key}: {name}: no such reason; write one of {}", names.join(" "))
    })
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let found = Protocol::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(text));
    found
        .ok_or_else(|| format!("protocol: {text}: none that services have; write tcp, udp or sctp"))
}

fn interface(snapshot: &Snapshot, name: &str) -> Result<PortId, String> {
    let interfaces = &snapshot.topology.interfaces;
    let at = interfaces.iter().position(|interface| interface.name == name);
    at.map(|at| at as PortId).ok_or_else(|| {
        let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
        format!("interface: {name}: xlvs does not serve it; write one of {}", names.join(" "))
    })
}

fn services(snapshot: &Snapshot, name: &str) -> Result<Box<[ServiceId]>, String> {
    let mark = name.strip_prefix("mark:").map(|mark| {
        let (mark, family) = mark.split_once('/').unwrap_or((mark, ""));
        format!("mark {mark}{}", if family == "ipv6" { " IPv6" } else { "" })
    });
    let known = snapshot.services.services.iter().zip(0..);
    let named = known.filter(|(service, _)| {
        service.as_ref().is_some_and(|service| {
            let key = service.key.to_string();
            service.name == name || key == name || Some(&key) == mark.as_ref()
        })
    });
    let ids: Box<[ServiceId]> = named.map(|(_, id)| id).collect();
    if ids.is_empty() {
        let remedy = "see `xlvs list` for names; 203.0.113.10:80/tcp or mark:7 will do, too";
        return Err(format!("service: {name}: no such service; {remedy}"));
    }
    Ok(ids)
}

/// As the log tells it: only what is said.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}
