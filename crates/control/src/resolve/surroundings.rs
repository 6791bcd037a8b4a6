//! The box that the configuration is for, as far as faults depend on it.

use std::net::IpAddr;

use hashbrown::HashSet;

use crate::{
    fault::Fault,
    file::File,
    model::{CHUNK_RESERVE, Model},
    sockets::Sockets,
};

/// What the live check reads from the box.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// All its interfaces.
    pub interfaces: Vec<Link>,
    /// All its addresses.
    pub addresses: HashSet<IpAddr>,
    /// Its sockets.
    pub sockets: Sockets,
    /// The cores that the process may run on.
    pub cores: Vec<usize>,
}

/// An interface of the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its MTU in octets.
    pub mtu: u32,
    /// Its RX queues.
    pub queues: u32,
}

/// Checks interfaces and cores against those of the box.
pub(super) fn check(file: &File, model: &Model, around: &Surroundings, faults: &mut Vec<Fault>) {
    let mut queues = 0;
    for interface in &file.interfaces {
        let name = &interface.name;
        let Some(link) = find(around, &name.value) else {
            faults.push(unknown(around, name));
            continue;
        };
        queues = queues.max(link.queues);
        if link.mtu > model.largest_mtu() {
            faults.push(name.spot.fault(
                format!(
                    "{} has an MTU of {}, more than {} fits in a chunk of {}",
                    link.name,
                    link.mtu,
                    model.largest_mtu(),
                    model.chunk_size
                ),
                remedy(link),
            ));
        }
    }
    for vip in &file.vips {
        if let Some(name) = vip.interface.as_ref().filter(|n| find(around, &n.value).is_none()) {
            faults.push(unknown(around, name));
        }
    }
    cores(file, queues, around, faults);
}

fn find<'a>(around: &'a Surroundings, name: &str) -> Option<&'a Link> {
    around.interfaces.iter().find(|link| link.name == name)
}

fn unknown(around: &Surroundings, name: &crate::file::Put<String>) -> Fault {
    let known: Vec<&str> = around.interfaces.iter().map(|link| link.name.as_str()).collect();
    let sentence = format!("\"{}\": this box has no such interface", name.value);
    name.spot.fault(sentence, format!("it has {}", known.join(", ")))
}

fn remedy(link: &Link) -> String {
    let small = format!("ip link set {} mtu {}", link.name, 2048 - CHUNK_RESERVE);
    if link.mtu <= 4096 - CHUNK_RESERVE {
        format!("write chunk_size: 4096, or {small}")
    } else {
        format!("ip link set {} mtu {} with chunk_size: 4096", link.name, 4096 - CHUNK_RESERVE)
    }
}

fn cores(file: &File, queues: u32, around: &Surroundings, faults: &mut Vec<Fault>) {
    let Some(cores) = &file.cores else { return };
    for core in &cores.value {
        if !around.cores.contains(&core.value) {
            faults.push(core.spot.fault(
                format!("core {} is not one that xlvs may run on", core.value),
                format!("choose from {}", list(&around.cores)),
            ));
        }
    }
    if queues > 0 && cores.value.len() > queues as usize {
        faults.push(cores.spot.fault(
            format!(
                "{} workers, but no interface has more than {queues} queues",
                cores.value.len()
            ),
            format!("write {queues} cores at most, or add queues with ethtool -L"),
        ));
    }
}

fn list(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
