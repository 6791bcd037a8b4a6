//! The options of a service.

use std::net::{IpAddr, Ipv4Addr};

use super::options::ServiceOption;
use super::{endpoint, number, timeout};
use crate::command::{Protocol, SchedulerFlag, ServiceRef, ServiceSpec};
use crate::names::Resolver;
use crate::refusal::Refusal;

/// The scheduler if none is named.
const SCHEDULER: &str = "wlc";
/// Seconds of `-p` without a value; the manual page says 300.
const PERSISTENT: u32 = 360;
/// The kernel's room for names; longer ones are cut.
const SCHEDULER_BYTES: usize = 15;
const ENGINE_BYTES: usize = 16;
const FLAG_BYTES: usize = 127;

/// A mask as it stands; which of the two it is follows the service's family at that moment.
#[derive(Debug, Clone, Copy)]
enum Mask {
    V4(Ipv4Addr),
    V6(u8),
}

/// What has been read of a service.
pub(super) struct ServicePart {
    pub(super) protocol: Option<Protocol>,
    key: Option<ServiceRef>,
    mask: Mask,
    scheduler: String,
    persistent: Option<u32>,
    engine: Option<String>,
    one_packet: bool,
    flag_words: String,
    flags: Vec<SchedulerFlag>,
}

impl Default for ServicePart {
    fn default() -> Self {
        Self {
            protocol: None,
            key: None,
            mask: Mask::V4(Ipv4Addr::BROADCAST),
            scheduler: String::new(),
            persistent: None,
            engine: None,
            one_packet: false,
            flag_words: String::new(),
            flags: Vec::new(),
        }
    }
}

impl ServicePart {
    pub(super) fn key(&self) -> Option<ServiceRef> {
        self.key
    }

    /// The port, 0 while there is none.
    pub(super) fn port(&self) -> u16 {
        match self.key {
            Some(ServiceRef::Endpoint { port, .. }) => port,
            _ => 0,
        }
    }

    pub(super) fn take(
        &mut self,
        option: ServiceOption,
        value: Option<&str>,
        names: &dyn Resolver,
    ) -> Result<(), Refusal> {
        let text = value.unwrap_or("");
        match option {
            ServiceOption::Endpoint(protocol) => self.endpoint(protocol, text, names)?,
            ServiceOption::Mark => self.mark(text)?,
            ServiceOption::Ipv6 => self.ipv6()?,
            ServiceOption::Scheduler => self.scheduler = cut(text, SCHEDULER_BYTES),
            ServiceOption::Persistent => {
                self.persistent = Some(match value {
                    Some(value) => timeout(value, 1)?,
                    None => PERSISTENT,
                });
            }
            ServiceOption::Netmask => self.netmask(text, names)?,
            ServiceOption::OnePacket => self.one_packet = true,
            ServiceOption::Engine => {
                self.engine = Some(cut(text, ENGINE_BYTES)).filter(|name| !name.is_empty());
            }
            ServiceOption::Flags => self.flag_words = cut(text, FLAG_BYTES),
        }
        Ok(())
    }

    fn endpoint(
        &mut self,
        protocol: Protocol,
        text: &str,
        names: &dyn Resolver,
    ) -> Result<(), Refusal> {
        self.protocol = Some(protocol);
        let endpoint = endpoint::parse(text, self.protocol, names)
            .ok_or_else(|| Refusal::usage("illegal virtual server address[:port] specified"))?;
        if endpoint.address.is_ipv6() {
            self.mask = Mask::V6(128);
        }
        let port = endpoint.port.unwrap_or(0);
        self.key = Some(ServiceRef::Endpoint { protocol, address: endpoint.address, port });
        Ok(())
    }

    fn mark(&mut self, text: &str) -> Result<(), Refusal> {
        let mark = number::within(text, 1, u32::MAX.into())
            .ok_or_else(|| Refusal::usage(format!("invalid fwmark value `{text}' specified")))?;
        // Ports of servers may be given by name: those of TCP.
        self.protocol = Some(Protocol::Tcp);
        self.key = Some(ServiceRef::Mark { mark, ipv6: false });
        Ok(())
    }

    fn ipv6(&mut self) -> Result<(), Refusal> {
        let Some(ServiceRef::Mark { ipv6, .. }) = &mut self.key else {
            return Err(Refusal::usage("-6 used before -f\n"));
        };
        *ipv6 = true;
        self.mask = Mask::V6(128);
        Ok(())
    }

    fn netmask(&mut self, text: &str, names: &dyn Resolver) -> Result<(), Refusal> {
        self.mask = if self.key.is_some_and(|key| key.is_ipv6()) {
            // C's int.
            let length = number::leading(text) as i32;
            Mask::V6(
                u8::try_from(length)
                    .ok()
                    .filter(|length| (1..=128).contains(length))
                    .ok_or_else(|| Refusal::usage("illegal ipv6 netmask specified"))?,
            )
        } else {
            Mask::V4(endpoint::ipv4(text, names).ok_or_else(illegal_mask)?)
        };
        Ok(())
    }

    /// The flags, once the scheduler is known.
    pub(super) fn settle_flags(&mut self) -> Result<(), Refusal> {
        let scheduler = self.scheduler();
        let named = SchedulerFlag::of(scheduler);
        let mut flags = Vec::new();
        for word in self.flag_words.split(',').filter(|word| !word.is_empty()) {
            flags.push(match word {
                "flag-1" => named[0],
                "flag-2" => named[1],
                "flag-3" => named[2],
                _ => named_flag(word, named)?,
            });
        }
        if flags.is_empty() && !self.flag_words.is_empty() {
            // ipvsadm crashes on commas alone.
            return Err(Refusal::usage(format!("invalid scheduler flag `{}'", self.flag_words)));
        }
        self.flags = named.into_iter().filter(|flag| flags.contains(flag)).collect();
        Ok(())
    }

    fn scheduler(&self) -> &str {
        if self.scheduler.is_empty() { SCHEDULER } else { &self.scheduler }
    }

    /// The checks of `-A` and `-E`.
    pub(super) fn legal(&self) -> Result<(), Refusal> {
        let Some(ServiceRef::Endpoint { protocol, port, .. }) = self.key else {
            return Ok(());
        };
        if port == 0 && self.persistent.is_none() {
            return Err(Refusal::usage("Zero port specified for non-persistent service"));
        }
        if self.one_packet && protocol != Protocol::Udp {
            return Err(Refusal::usage("One-Packet Scheduling is only for UDP virtual services"));
        }
        Ok(())
    }

    pub(super) fn spec(self, service: ServiceRef) -> Result<ServiceSpec, Refusal> {
        Ok(ServiceSpec {
            service,
            scheduler: self.scheduler().to_owned(),
            netmask: match self.mask {
                Mask::V6(length) => length,
                Mask::V4(mask) => prefix(mask).ok_or_else(illegal_mask)?,
            },
            flags: self.flags,
            persistent: self.persistent,
            pe: self.engine,
            one_packet: self.one_packet,
        })
    }
}

fn illegal_mask() -> Refusal {
    Refusal::usage("illegal virtual server persistent mask specified")
}

/// A flag by its own name, if it is one of the scheduler's.
fn named_flag(word: &str, named: [SchedulerFlag; 3]) -> Result<SchedulerFlag, Refusal> {
    let known = [SchedulerFlag::of("sh"), SchedulerFlag::of("mh")].concat();
    let Some(flag) = known.into_iter().find(|flag| flag.name() == word) else {
        return Err(Refusal::usage(format!("invalid scheduler flag `{word}'")));
    };
    if !named.contains(&flag) {
        return Err(Refusal::usage(format!("incompatible scheduler flag `{word}'")));
    }
    Ok(flag)
}

/// The length of a mask without holes.
fn prefix(mask: Ipv4Addr) -> Option<u8> {
    let ones = mask.to_bits().leading_ones();
    (ones == mask.to_bits().count_ones()).then_some(ones as u8)
}

fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

/// The family of an address and that of a service are one.
pub(super) fn same_family(address: IpAddr, service: &ServicePart) -> bool {
    service.key.is_some_and(|key| key.is_ipv6() == address.is_ipv6())
}
