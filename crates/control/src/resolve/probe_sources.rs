//! Where probes by way of services come from: addresses that nothing else of ours answers to.

use hashbrown::{HashMap, HashSet};

use super::{Names, twice};
use crate::{
    fault::Fault,
    file::{File, Put, Server, Servers},
};

pub(super) fn check(file: &File, names: &Names<'_>, faults: &mut Vec<Fault>) {
    let mut seen = HashMap::new();
    let pools = file.pools.iter().map(|pool| &pool.servers);
    let own = file.services.iter().filter_map(|service| match &service.servers {
        Servers::Here(servers) => Some(servers),
        Servers::Pool(_) => None,
    });
    let address = |server: &Server| Some(server.address?.0);
    let servers: HashSet<_> = pools.chain(own).flatten().filter_map(address).collect();
    let locals: HashSet<_> =
        file.local_addresses.iter().flat_map(|group| &group.addresses).map(|a| a.value).collect();
    for Put { value: address, spot } in &file.probe_sources {
        if twice(&mut seen, *address, &address.to_string(), spot, faults) {
            continue;
        }
        let other = if names.vips.contains(address) {
            "a VIP: servers would answer themselves"
        } else if locals.contains(address) {
            "a local address of FullNAT: answers to clients and to probes would mix"
        } else if servers.contains(address) {
            "a real server: its answers would not come here"
        } else {
            continue;
        };
        faults.push(spot.fault(
            format!("{address} is {other}"),
            "write an address of the box that is used for nothing else",
        ));
    }
}
