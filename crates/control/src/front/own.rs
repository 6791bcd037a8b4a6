//! Servers on the director itself, which only DR reaches.

use std::net::IpAddr;

use hashbrown::HashSet;
use ipvsadm::{Command, Forward};

/// A sentence for each server that these commands add or edit, that has one of the box's own
/// addresses, and that is forwarded to by another method than DR. The kernel's IPVS delivers to
/// it, so it is no refusal. `addresses` is called if there may be one.
pub fn own_servers<E>(
    commands: &[Command],
    addresses: impl FnOnce() -> Result<HashSet<IpAddr>, E>,
) -> Result<Vec<String>, E> {
    let servers: Vec<_> = commands
        .iter()
        .filter_map(|command| match command {
            Command::AddServer(_, spec) | Command::EditServer(_, spec) => Some(spec),
            _ => None,
        })
        .filter(|spec| spec.forward != Forward::Dr)
        .collect();
    if servers.is_empty() {
        return Ok(Vec::new());
    }
    let own = addresses()?;
    let mut found: Vec<IpAddr> = servers.iter().map(|spec| spec.address).collect();
    found.retain(|address| own.contains(address));
    found.sort_unstable();
    found.dedup();
    let sentence = |address: IpAddr| {
        format!(
            "server {address} is an address of this box: only direct routing (-g) reaches a server \
             on the director"
        )
    };
    Ok(found.into_iter().map(sentence).collect())
}
