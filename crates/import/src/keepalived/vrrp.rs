//! The addresses that VRRP moves: VIPs that xlvs does not manage.

use std::net::IpAddr;

use super::tree::Statement;
use crate::{
    document::{Document, Vip},
    note::Notes,
    server_address::unusable,
};

/// Lists the addresses of all instances, and the interfaces that they name. Of a file without
/// virtual servers nothing is wanted.
pub(super) fn add(root: &[Statement], document: &mut Document) {
    if document.services.is_empty() {
        return;
    }
    for instance in root.iter().filter(|statement| statement.keyword() == "vrrp_instance") {
        let find = |keyword: &str| instance.statements().iter().find(|s| s.keyword() == keyword);
        let interface = find("interface").and_then(|statement| statement.word(1));
        if let Some(name) = interface.filter(|name| !document.hints.iter().any(|hint| hint == name))
        {
            document.hints.push(name.to_owned());
        }
        if let Some(vmac) = find("use_vmac") {
            let text = "use_vmac: frames to a macvlan's MAC are the kernel's, xlvs does not see them. \
                        Remove it from the vrrp_instance, VIPs then have the interface's own MAC";
            document.notes.lost(&vmac.place, text);
        }
        let lists = ["virtual_ipaddress", "virtual_ipaddress_excluded"];
        let lists = instance.statements().iter().filter(|s| lists.contains(&s.keyword()));
        for entry in lists.flat_map(Statement::statements) {
            document.vips.extend(vip(entry, interface, &document.vips));
        }
    }
}

/// `ADDRESS[/LENGTH] [dev NAME] ...`.
fn vip(entry: &Statement, interface: Option<&str>, known: &[Vip]) -> Option<Vip> {
    let text = entry.keyword();
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let address: IpAddr = address.parse().ok().filter(|address| unusable(*address).is_none())?;
    let host: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = length.and_then(|text| text.parse().ok()).unwrap_or(host);
    if known.iter().any(|vip| vip.address == address) || !(1..=host).contains(&length) {
        return None;
    }
    let device = entry.words.iter().position(|word| word == "dev");
    let device = device.and_then(|at| entry.word(at + 1)).or(interface);
    // As long as the kernel has them, without what YAML and xlvs take for something else.
    let device = device.filter(|name| name.len() <= 15 && !name.contains(['/', ':', ' ']));
    Some(Vip { address, length, interface: device.map(str::to_owned), notes: Notes::default() })
}
