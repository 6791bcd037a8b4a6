//! Managed VIPs: addresses that xlvs adds to an interface, announces, and takes away.

use std::{io, net::IpAddr};

use dataplane::topology::Topology;
use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{
        AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
        AddressScope,
    },
};
use rtnetlink::Handle;

use super::{acknowledged, frames};
use crate::topology::state::OUR_PROTOCOL;

/// An address that xlvs is to hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ManagedAddress {
    /// The address.
    pub address: IpAddr,
    /// Its prefix length; 32 or 128 for a VIP.
    pub length: u8,
    /// The interface's name.
    pub interface: String,
}

/// Why an address could not be held.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The interface is not there.
    #[error("vip {address}: there is no interface {interface}; create it or correct `interface:`")]
    NoInterface {
        /// The address.
        address: IpAddr,
        /// The name that was looked for.
        interface: String,
    },
    /// The kernel refused.
    #[error("vip {address}: the kernel would not {action} it on {interface}: {source}")]
    Kernel {
        /// The address.
        address: IpAddr,
        /// "add", "remove" or "read".
        action: &'static str,
        /// The interface's name.
        interface: String,
        /// Its answer.
        source: io::Error,
    },
}

/// The addresses that this process holds.
#[derive(Debug)]
pub struct Addresses {
    handle: Handle,
    held: Vec<ManagedAddress>,
}

impl Addresses {
    /// Holds none yet. `handle` must belong to a running netlink connection.
    pub fn new(handle: Handle) -> Self {
        Self { handle, held: Vec::new() }
    }

    /// Adds the address and announces it. One that is there from an earlier run of xlvs is
    /// adopted; one that somebody else added is used, and stays when xlvs stops.
    ///
    /// # Errors
    /// The interface does not exist, or the kernel refuses.
    pub async fn add(&mut self, wanted: &ManagedAddress) -> Result<(), AddressError> {
        let ManagedAddress { address, interface, .. } = wanted;
        let index = self.index(wanted).await?;
        let failed = |source| failed(wanted, "add", source);
        let message = RouteNetlinkMessage::NewAddress(message(wanted, index));
        match acknowledged(&self.handle, message, NLM_F_CREATE | NLM_F_EXCL).await {
            Ok(()) => self.held.push(wanted.clone()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if self.is_marked(wanted, index).await.map_err(failed)? {
                    log::info!("vip {address} on {interface} was left by an earlier run: adopted");
                    self.held.push(wanted.clone());
                } else {
                    log::warn!("vip {address} is already on {interface}: it stays, also on stop");
                }
            }
            Err(error) => return Err(failed(error)),
        }
        announce(wanted);
        Ok(())
    }

    /// Puts addresses back that went with their interface, or when it was set down (IPv6),
    /// once it is up again. The rest is left alone.
    pub async fn restore(&mut self, topology: &Topology) {
        let down = |name: &str| topology.interfaces.iter().any(|i| i.name == name && !i.up);
        let lost = |held: &&ManagedAddress| {
            !topology.local.contains(&held.address) && !down(&held.interface)
        };
        for vip in self.held.iter().filter(lost) {
            // It comes back with its interface.
            let Ok(index) = self.index(vip).await else { continue };
            let request = RouteNetlinkMessage::NewAddress(message(vip, index));
            match acknowledged(&self.handle, request, NLM_F_CREATE | NLM_F_EXCL).await {
                Ok(()) => announce(vip),
                // The topology is older than the address.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => log::warn!("vip {}: not put back: {error}", vip.address),
            }
        }
    }

    /// Removes what [`add`](Self::add) put there; what is gone already is no error. Every
    /// address is tried, the failures are returned.
    pub async fn remove_all(&mut self) -> Vec<AddressError> {
        let mut failures = Vec::new();
        for held in self.held.clone() {
            failures.extend(self.remove(&held).await.err());
        }
        failures
    }

    /// Removes an address that is not wanted yet, if an earlier run of xlvs left it.
    ///
    /// # Errors
    /// The interface does not exist, or the kernel refuses.
    pub async fn clear(&mut self, left: &ManagedAddress) -> Result<(), AddressError> {
        let index = self.index(left).await?;
        let marked = self.is_marked(left, index).await;
        if marked.map_err(|source| failed(left, "read", source))? {
            self.held.push(left.clone());
            self.remove(left).await?;
        }
        Ok(())
    }

    /// Removes one address, if it is held: false if it is not, as one that somebody else added.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn remove(&mut self, held: &ManagedAddress) -> Result<bool, AddressError> {
        if !self.held.contains(held) {
            return Ok(false);
        }
        self.held.retain(|known| known != held);
        let Ok(index) = self.index(held).await else { return Ok(true) };
        let message = RouteNetlinkMessage::DelAddress(message(held, index));
        match acknowledged(&self.handle, message, 0).await {
            Err(error) if error.kind() != io::ErrorKind::AddrNotAvailable => {
                Err(failed(held, "remove", error))
            }
            _ => Ok(true),
        }
    }

    async fn index(&self, wanted: &ManagedAddress) -> Result<u32, AddressError> {
        let request = self.handle.link().get().match_name(wanted.interface.clone());
        let mut links = std::pin::pin!(request.execute());
        match links.next().await {
            Some(Ok(link)) => Ok(link.header.index),
            _ => Err(AddressError::NoInterface {
                address: wanted.address,
                interface: wanted.interface.clone(),
            }),
        }
    }

    /// True if the address carries our mark.
    async fn is_marked(&self, wanted: &ManagedAddress, index: u32) -> io::Result<bool> {
        let request = self.handle.address().get().set_link_index_filter(index);
        let mut addresses = std::pin::pin!(request.execute());
        let ours = AddressAttribute::Protocol(AddressProtocol::from(OUR_PROTOCOL));
        let ip =
            [AddressAttribute::Local(wanted.address), AddressAttribute::Address(wanted.address)];
        while let Some(found) = addresses.try_next().await.map_err(io::Error::other)? {
            if found.header.index == index && found.attributes.iter().any(|a| ip.contains(a)) {
                return Ok(found.attributes.contains(&ours));
            }
        }
        Ok(false)
    }
}

fn failed(address: &ManagedAddress, action: &'static str, source: io::Error) -> AddressError {
    let ManagedAddress { address, interface, .. } = address.clone();
    AddressError::Kernel { address, action, interface, source }
}

/// Neither ARP nor neighbour discovery does this by itself for an address that is added to
/// an interface which is up: `arp_notify` and `ndisc_notify` speak of interfaces only.
fn announce(vip: &ManagedAddress) {
    match frames::announce(&vip.interface, vip.address) {
        Ok(()) => log::info!("vip {} is on {} and announced", vip.address, vip.interface),
        Err(error) => {
            log::warn!("vip {} is on {}, not announced: {error}", vip.address, vip.interface);
        }
    }
}

fn message(address: &ManagedAddress, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.length;
    message.header.scope = AddressScope::Universe;
    message.header.family = match address.address {
        IpAddr::V4(_) => netlink_packet_route::AddressFamily::Inet,
        IpAddr::V6(_) => netlink_packet_route::AddressFamily::Inet6,
    };
    // A VIP that moved here is not a duplicate: it must answer at once.
    if address.address.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message.attributes.push(AddressAttribute::Local(address.address));
    message.attributes.push(AddressAttribute::Address(address.address));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::from(OUR_PROTOCOL)));
    message
}
