//! ICMP errors: hosts and routers complain about packets that they saw, and check the
//! complaints that reach them.

use std::net::{IpAddr, SocketAddr};

use dataplane::forward::{Forward, Protocol};

use crate::{
    ground::{BACK, FRONT, Net},
    lives::Key,
    talk::{Mark, end},
    wire::{ICMP, ICMPV6, Ip, Seen, Segment, Wrong, check, checksum, transport_checksum, word},
    world::{Note, World},
};

/// A packet of a connection that a host or a router saw.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    pub(crate) life: u32,
    /// As it reached the host; inside of `outer`, if there is one.
    pub(crate) ip: Ip,
    pub(crate) outer: Option<Ip>,
    pub(crate) at_client: bool,
}

/// What an error is about.
struct Quote {
    key: Key,
}

impl Quote {
    /// Source and destination of the quoted packet, whose header must be right.
    fn read(ip: &Ip) -> Result<Self, Wrong> {
        let icmp = &ip.payload;
        check(icmp.len() >= 8 + 28, "short ICMP error")?;
        let sum = if ip.protocol == ICMPV6 {
            transport_checksum(ip.src, ip.dst, ICMPV6, icmp)
        } else {
            checksum(&[icmp])
        };
        check(sum == 0, "ICMP checksum")?;
        let quote = &icmp[8..];
        let (src, dst, protocol, rest) = if ip.protocol == ICMPV6 {
            check(quote.len() >= 44, "short ICMPv6 quote")?;
            let at =
                |at: usize| IpAddr::from(<[u8; 16]>::try_from(&quote[at..at + 16]).expect("16"));
            let rest = &quote[40..];
            match quote[6] {
                // A first fragment.
                44 => (at(8), at(24), rest[0], &rest[8..]),
                protocol => (at(8), at(24), protocol, rest),
            }
        } else {
            check(checksum(&[&quote[..20]]) == 0, "the quoted header's checksum")?;
            let at = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&quote[at..at + 4]).expect("4"));
            (at(12), at(16), quote[9], &quote[20..])
        };
        let protocol = Protocol::from_number(protocol).ok_or("the quoted protocol")?;
        let ports = (word(rest, 0) as u16, word(rest, 2) as u16);
        Ok(Self { key: (protocol, end(src, ports.0), end(dst, ports.1)) })
    }
}

/// Checks.
impl World {
    /// An error at a server must be about a packet that the server sent.
    pub(crate) fn server_takes_error(
        &mut self,
        ip: &Ip,
        seen: Seen,
        outer: Option<&Ip>,
    ) -> Result<(), Wrong> {
        let (protocol, from, to) = Quote::read(ip)?.key;
        let answer = self.lives.of((protocol, from, to), seen.breath);
        let asked = self.lives.of((protocol, to, from), seen.breath);
        let right = |life: &u32| {
            let line = self.lives.get(*life).expect("lived");
            let own = if line.forward.two_way() { line.server } else { line.vip };
            own == from && self.is_at(line, ip, seen, outer)
        };
        let life = answer.chain(asked).find(right).ok_or("an error at the wrong server")?;
        self.delivered_errors.insert((life, true));
        self.count("ICMP error to a server");
        Ok(())
    }

    /// An error at a client must be about a packet that it sent.
    pub(crate) fn client_takes_error(&mut self, ip: &Ip, seen: Seen) -> Result<(), Wrong> {
        let (protocol, from, to) = Quote::read(ip)?.key;
        check(from.ip() == ip.dst, "an error at the wrong client")?;
        let talk = |talk: &crate::talk::Talk| {
            (talk.protocol, talk.client, talk.vip) == (protocol, from, to)
        };
        check(self.talks.iter().any(talk), "an error about a packet that nobody sent")?;
        let lives: Vec<u32> = self.lives.of((protocol, from, to), seen.breath).collect();
        self.delivered_errors.extend(lives.into_iter().map(|life| (life, false)));
        self.count("ICMP error to a client");
        Ok(())
    }
}

/// Complaints.
impl World {
    pub(crate) fn remember(&mut self, recent: Recent) {
        const KEPT: usize = 16;
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(recent);
    }

    /// Somebody complains about a packet seen a short time ago.
    pub(crate) fn somebody_complains(&mut self) {
        if self.recent.is_empty() {
            return;
        }
        let at = self.random.below(self.recent.len());
        let Recent { life, ip, outer, at_client } = self.recent[at].clone();
        let line = *self.lives.get(life).expect("lived");
        match (line.forward, outer) {
            (Forward::Tun, Some(outer)) if self.random.chance(50) => self.router_complains(&outer),
            (Forward::Dr | Forward::Tun, _) => {
                let answer = self.direct_answer(line.vip, line.client, line.protocol);
                self.complain(FRONT, &answer, Some((life, true)));
            }
            _ if at_client => self.complain(FRONT, &ip, Some((life, true))),
            _ => self.complain(BACK, &ip, Some((life, false))),
        }
    }

    /// In DR and TUN the client's packets come from the server directly.
    fn direct_answer(&mut self, from: SocketAddr, to: SocketAddr, protocol: Protocol) -> Ip {
        let mark = Mark { talk: 0, life: None, seq: self.number() };
        let segment = Segment {
            protocol: protocol as u8,
            sport: from.port(),
            dport: to.port(),
            flags: crate::wire::ACK,
            data: mark.data(100),
            unchecked: false,
        };
        let octets = segment.octets(from.ip(), to.ip());
        Ip::new(from.ip(), to.ip(), protocol as u8, octets)
    }

    /// A router on the way of the tunnel complains about the outer packet.
    fn router_complains(&mut self, outer: &Ip) {
        if outer.len() < 600 || outer.df {
            self.count("ICMP error about a tunnel packet");
        }
        self.complain(BACK, outer, None);
    }

    /// An error about `ip` to its sender, from its receiver or a router before it.
    fn complain(&mut self, port: u16, ip: &Ip, about: Option<(u32, bool)>) {
        let v6 = ip.src.is_ipv6();
        let net = if port == FRONT { Net::Front } else { Net::Back };
        let router = self.beside(ip.src, net, 253);
        let from = if self.random.chance(50) { ip.dst } else { router };
        let kinds: &[(u8, u8, u32)] = if v6 {
            &[(1, 4, 0), (2, 0, 1400), (3, 0, 0), (1, 0, 0)]
        } else {
            &[(3, 3, 0), (3, 4, 1400), (11, 0, 0), (3, 1, 0)]
        };
        let (kind, code, info) = self.random.pick(kinds);
        let octets = ip.octets();
        let least = if v6 { 48 } else { 28 };
        let most = if v6 { 1232 } else { 548 };
        // About a tunnel packet the quote must reach into the inner one.
        let least = if about.is_none() { least + 48 } else { least };
        let len = (least + self.random.below(600)).min(most).min(octets.len());
        let mut icmp = vec![kind, code, 0, 0];
        icmp.extend(info.to_be_bytes());
        icmp.extend(&octets[..len]);
        let sum =
            if v6 { transport_checksum(from, ip.src, ICMPV6, &icmp) } else { checksum(&[&icmp]) };
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let damaged = self.random.chance(5);
        icmp[3] ^= u8::from(damaged);
        let mut error = Ip::new(from, ip.src, if v6 { ICMPV6 } else { ICMP }, icmp);
        error.id = self.number();
        let note = Note { error: about, hostile: damaged, ..Note::default() };
        self.post(port, &error, 1500, note);
    }
}
