//! What xlvs changes in the kernel: managed addresses, neighbours that the kernel keeps
//! fresh for us, the settings of the punt TAP. Everything added is marked with
//! [`OUR_PROTOCOL`](crate::topology::state::OUR_PROTOCOL) and taken back on stop.

pub mod addresses;
pub mod frames;
pub mod neighbours;
pub mod sysctl;

use futures_util::StreamExt;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::Handle;

/// Sends a request and waits for its acknowledgement.
///
/// # Errors
/// What the kernel answered, as its errno.
pub(crate) async fn acknowledged(
    handle: &Handle,
    message: RouteNetlinkMessage,
    flags: u16,
) -> std::io::Result<()> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = netlink_packet_core::NLM_F_REQUEST | netlink_packet_core::NLM_F_ACK;
    request.header.flags |= flags;
    let mut answers = handle.clone().request(request).map_err(std::io::Error::other)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(error.to_io());
        }
    }
    Ok(())
}
