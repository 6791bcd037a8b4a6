//! The few frames that xlvs sends outside the datapath: gratuitous ARP and unsolicited
//! neighbour advertisements for managed VIPs, and ARP probes from 0.0.0.0 where the
//! kernel's own probe would carry a VIP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use dataplane::topology::Mac;
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike,
            bind, recv, send, setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike},
    },
};

/// Tells the neighbours on `interface` that `address` is here (RFC 5227 section 3,
/// RFC 4861 section 7.2.6). Nothing is sent on an interface without a MAC (lo).
///
/// # Errors
/// The interface is gone or down, or `CAP_NET_RAW` is missing.
pub fn announce(interface: &str, address: IpAddr) -> io::Result<()> {
    let (link, mac) = link(interface)?;
    if mac == Mac::default() {
        return Ok(());
    }
    match address {
        IpAddr::V4(ip) => transmit(&link, &arp_request(mac, ip, ip)),
        IpAddr::V6(ip) => transmit(&link, &advertisement(mac, ip)),
    }
}

/// Asks for `target` on `interface` with sender 0.0.0.0, which any host answers
/// (RFC 5227 section 2.1.1), a real server with `arp_ignore` too. The answer updates the
/// kernel's neighbour entry, if there is one.
///
/// # Errors
/// As for [`announce`].
pub fn probe(interface: &str, target: Ipv4Addr) -> io::Result<()> {
    let (link, mac) = link(interface)?;
    transmit(&link, &arp_request(mac, Ipv4Addr::UNSPECIFIED, target))
}

/// Who on `interface` says that `target` is there: the MACs of all answers within a moment. This box
/// does not answer itself.
///
/// # Errors
/// As for [`announce`].
pub fn who_has(interface: &str, target: Ipv4Addr) -> io::Result<Vec<Mac>> {
    const MOMENT: Duration = Duration::from_millis(300);
    let (link, mac) = link(interface)?;
    if mac == Mac::default() {
        return Ok(Vec::new());
    }
    let kinds = (AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC);
    let packet = socket(kinds.0, kinds.1, kinds.2, SockProtocol::EthAll)?;
    bind(packet.as_raw_fd(), &link)?;
    let request = arp_request(mac, Ipv4Addr::UNSPECIFIED, target);
    send(packet.as_raw_fd(), &request, MsgFlags::empty())?;
    let end = Instant::now() + MOMENT;
    let mut answers = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(answers);
        }
        let wait = TimeVal::microseconds(left.as_micros().max(1) as i64);
        setsockopt(&packet, ReceiveTimeout, &wait)?;
        let mut frame = [0; 64];
        match recv(packet.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(octets) => answers.extend(answer_about(&frame[..octets], target)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The MAC in an ARP reply (RFC 826) that says where `target` is.
fn answer_about(frame: &[u8], target: Ipv4Addr) -> Option<Mac> {
    const REPLY: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
    let fits = frame.get(12..22)? == REPLY && frame.get(28..32)? == target.octets();
    fits.then(|| Mac(std::array::from_fn(|at| frame[22 + at])))
}

/// The link-layer address of the interface: its index to send by, and its MAC.
fn link(interface: &str) -> io::Result<(LinkAddr, Mac)> {
    let addresses = nix::ifaddrs::getifaddrs()?;
    let found = addresses.filter(|found| found.interface_name == interface);
    found
        .filter_map(|found| found.address?.as_link_addr().copied())
        .next()
        .map(|link| (link, Mac(link.addr().unwrap_or_default())))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such interface"))
}

fn transmit(link: &LinkAddr, frame: &[u8]) -> io::Result<()> {
    let packet = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    debug_assert_eq!(link.family(), Some(AddressFamily::Packet));
    bind(packet.as_raw_fd(), link)?;
    send(packet.as_raw_fd(), frame, MsgFlags::empty())?;
    Ok(())
}

/// RFC 826: an ARP request to all, from `mac` and `sender` for `target`.
fn arp_request(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(Mac([0xff; 6]), mac, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// RFC 4861 section 4.4: an unsolicited neighbour advertisement to all nodes, override set.
fn advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut icmp = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    icmp.extend(address.octets());
    icmp.extend([2, 1]);
    icmp.extend(mac.0);
    let length = icmp.len() as u8;
    let mut summed = address.octets().to_vec();
    summed.extend(ALL_NODES.octets());
    summed.extend([0, 0, 0, length, 0, 0, 0, 58]);
    summed.extend(&icmp);
    icmp[2..4].copy_from_slice(&checksum(&summed).to_be_bytes());

    let mut frame = ethernet(Mac([0x33, 0x33, 0, 0, 0, 1]), mac, 0x86dd);
    frame.extend([0x60, 0, 0, 0, 0, length, 58, 255]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(icmp);
    frame
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    [&to.0[..], &from.0[..], &ethertype.to_be_bytes()[..]].concat()
}

/// RFC 1071, over an even number of octets.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks_exact(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x0a]);

    #[test]
    fn frames_are_what_the_rfcs_say() {
        let arp = arp_request(MAC, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 2, 11));
        let expected = "ffffffffffff02000000000a0806000108000604000102000000000a00000000\
                        0000000000000a00020b";
        assert_eq!(hex(&arp), expected);

        // ICMPv6 checksum by hand: the words of addresses, length, next header and body.
        let na = advertisement(MAC, "2001:db8::10".parse().unwrap());
        let expected = "33330000000102000000000a86dd6000000000203aff\
                        20010db8000000000000000000000010ff020000000000000000000000000001\
                        8800f9032000000020010db80000000000000000000000100201\
                        02000000000a";
        assert_eq!(hex(&na), expected);
    }

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }
}
