//! ICMP echo (RFC 792, RFC 4443): by a ping socket where `net.ipv4.ping_group_range` lets us, else by
//! a raw one.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    sync::atomic::{AtomicU16, Ordering},
};

use socket2::{Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::net::{Net, direct, hear_errors, local, unreached};
use crate::{
    check::{Target, Via},
    outcome::{Bad, Good, Kind},
};

/// What our requests carry.
const PAYLOAD: &[u8] = b"xlvs health";
const REQUEST: [u8; 2] = [8, 128];
const REPLY: [u8; 2] = [0, 129];

/// Tells this process's requests apart.
static SEQUENCE: AtomicU16 = AtomicU16::new(1);

pub(super) async fn ask(_: &Net, target: &Target) -> Result<Good, Bad> {
    if target.via != Via::Direct {
        return Err(Bad::new(Kind::Local, "ping does not go through services"));
    }
    let to = SocketAddr::new(target.address, 0);
    let socket = socket(target, to).map_err(local)?;
    hear_errors(&socket, to).map_err(local)?;
    socket.connect(&to.into()).map_err(|error| unreached(&error))?;
    let raw = socket.as_raw_fd();
    let id = (raw as u16) ^ (std::process::id() as u16);
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    // Whatever its protocol, it sends and receives datagrams.
    let socket = UdpSocket::from_std(socket.into()).map_err(local)?;
    let request = request(to.is_ipv6(), id, sequence);
    socket.send(&request).await.map_err(|error| unreached(&error))?;
    loop {
        let mut packet = [0; 2048];
        let length = socket.recv(&mut packet).await.map_err(|error| unreached(&error))?;
        // A raw socket hears everybody's replies, and our own requests on lo.
        if answers(&packet[..length], to.is_ipv6(), sequence) {
            return Ok(Good::new("echo reply"));
        }
    }
}

fn socket(target: &Target, to: SocketAddr) -> io::Result<Socket> {
    let protocol = if to.is_ipv6() { Protocol::ICMPV6 } else { Protocol::ICMPV4 };
    direct(target, to, Type::DGRAM, Some(protocol))
        .or_else(|_| direct(target, to, Type::RAW, Some(protocol)))
}

/// An echo request; the kernel fills in ICMPv6's checksum, and a ping socket's id.
fn request(ipv6: bool, id: u16, sequence: u16) -> Vec<u8> {
    let mut octets = vec![REQUEST[usize::from(ipv6)], 0, 0, 0];
    octets.extend(id.to_be_bytes());
    octets.extend(sequence.to_be_bytes());
    octets.extend(PAYLOAD);
    let checksum = checksum(&octets).to_be_bytes();
    octets[2..4].copy_from_slice(&checksum);
    octets
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether a packet is the reply to our request. An IPv4 raw socket gives the IP header, too.
pub fn answers(packet: &[u8], ipv6: bool, sequence: u16) -> bool {
    let header = match packet.first() {
        Some(first) if !ipv6 && first >> 4 == 4 => usize::from(first & 15) * 4,
        _ => 0,
    };
    let Some(icmp) = packet.get(header..) else { return false };
    icmp.len() == 8 + PAYLOAD.len()
        && icmp[0] == REPLY[usize::from(ipv6)]
        && icmp[6..8] == sequence.to_be_bytes()
        && icmp[8..] == *PAYLOAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies() {
        let mut reply = request(false, 7, 9);
        assert_eq!(checksum(&reply), 0, "a checksum over itself");
        assert!(!answers(&reply, false, 9), "a request");
        reply[0] = 0;
        assert!(answers(&reply, false, 9) && !answers(&reply, false, 8));
        let mut raw = vec![0x45; 20];
        raw.extend(&reply);
        assert!(answers(&raw, false, 9));
        assert!(!answers(&raw[..30], false, 9) && !answers(&[], false, 9));
        reply[0] = 129;
        assert!(answers(&reply, true, 9));
    }
}
