//! Neighbours that the kernel resolves and keeps fresh on our behalf
//! (`NTF_EXT_MANAGED`, net/core/neighbour.c), so that a gateway or real server is known
//! before a connection needs it.
//!
//! The caller asks only for entries that nobody else keeps: on a permanent entry these
//! requests would take the permanence away (`__neigh_update`).

use std::{io, net::IpAddr};

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    },
    route::RouteProtocol,
};
use rtnetlink::Handle;

use super::acknowledged;
use crate::topology::state::OUR_PROTOCOL;

/// Has the kernel resolve `ip` on interface `index` now and again and again.
///
/// # Errors
/// `ENODEV` if the interface is gone, `ENOBUFS` if the neighbour table is full
/// (`gc_thresh3`), `EPERM` without `CAP_NET_ADMIN`.
pub async fn manage(handle: &Handle, index: u32, ip: IpAddr) -> io::Result<()> {
    let mut message = entry(index, ip);
    message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::from(OUR_PROTOCOL)));
    acknowledged(handle, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE).await
}

/// Takes a managed entry out of the kernel; one that is gone already is no error. The
/// kernel makes an ordinary one when it next needs the neighbour itself.
///
/// # Errors
/// As the kernel answers.
pub async fn unmanage(handle: &Handle, index: u32, ip: IpAddr) -> io::Result<()> {
    let message = RouteNetlinkMessage::DelNeighbour(entry(index, ip));
    match acknowledged(handle, message, 0).await {
        Err(error) if matches!(error.raw_os_error(), Some(ENOENT | ENODEV | ENXIO)) => Ok(()),
        other => other,
    }
}

/// Has the kernel resolve `ip` on interface `index` once (`NTF_USE`), as if it had a
/// packet for it; the entry ages like any other.
///
/// # Errors
/// As for [`manage`].
pub async fn resolve(handle: &Handle, index: u32, ip: IpAddr) -> io::Result<()> {
    let mut message = entry(index, ip);
    message.header.flags = NeighbourFlags::Use;
    acknowledged(handle, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE).await
}

const ENOENT: i32 = 2;
const ENXIO: i32 = 6;
const ENODEV: i32 = 19;

fn entry(index: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    let (family, destination) = match ip {
        IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
    };
    message.header.family = family;
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}
