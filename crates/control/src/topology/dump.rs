//! Reads the kernel's state as a whole.

use std::io;

use futures_util::StreamExt;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::AddressMessage,
    link::LinkMessage,
    neighbour::NeighbourMessage,
    route::{RouteHeader, RouteMessage},
};
use rtnetlink::Handle;

use super::{
    decode,
    state::{Event, Kernel, Route, RouteKey},
};

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// `RT_TABLE_LOCAL`
const TABLE_LOCAL: u8 = 255;

/// How often a dump is repeated that a change cut through (`NLM_F_DUMP_INTR`). The events
/// of that change are heard too, so that the last try is good enough.
const TRIES: u32 = 4;

/// Reads everything.
pub(super) async fn everything(handle: &Handle, route_limit: usize) -> io::Result<Kernel> {
    let mut kernel = Kernel::new(route_limit);
    let link = RouteNetlinkMessage::GetLink(LinkMessage::default());
    for event in read(handle, &link).await? {
        kernel.apply(event);
    }
    for family in FAMILIES {
        let mut addresses = AddressMessage::default();
        addresses.header.family = family;
        for event in read(handle, &RouteNetlinkMessage::GetAddress(addresses)).await? {
            // In the kernel's order, which `apply` would turn round for IPv6.
            if let Event::Address(address) = event {
                kernel.addresses.push(address);
            }
        }
        let mut neighbours = NeighbourMessage::default();
        neighbours.header.family = family;
        for event in read(handle, &RouteNetlinkMessage::GetNeighbour(neighbours)).await? {
            kernel.apply(event);
        }
    }
    kernel.replace_routes(routes(handle).await?);
    Ok(kernel)
}

/// Reads the routes of the tables `local` and `main`, in the kernel's order.
pub(super) async fn routes(handle: &Handle) -> io::Result<Vec<(RouteKey, Route)>> {
    let mut routes = Vec::new();
    for family in FAMILIES {
        for table in [TABLE_LOCAL, RouteHeader::RT_TABLE_MAIN] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.header.table = table;
            let events = read(handle, &RouteNetlinkMessage::GetRoute(request)).await?;
            routes.extend(events.into_iter().filter_map(|event| match event {
                Event::Route { key, route, .. }
                    if key.network.is_ipv4() == (family == AddressFamily::Inet) =>
                {
                    Some((key, route))
                }
                _ => None,
            }));
        }
    }
    Ok(routes)
}

async fn read(handle: &Handle, request: &RouteNetlinkMessage) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    for _ in 0..TRIES {
        events.clear();
        let mut interrupted = false;
        let mut message = NetlinkMessage::from(request.clone());
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut answers = handle.clone().request(message).map_err(io::Error::other)?;
        while let Some(answer) = answers.next().await {
            interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match &answer.payload {
                NetlinkPayload::Error(error) => match error.to_io() {
                    // A routing table comes into being with its first route.
                    missing if missing.kind() == io::ErrorKind::NotFound => {}
                    other => return Err(other),
                },
                _ => events.extend(decode::event(&answer)),
            }
        }
        if !interrupted {
            break;
        }
    }
    Ok(events)
}
