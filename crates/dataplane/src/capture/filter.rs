//! Which packets a capture takes.

use std::net::IpAddr;

use super::{
    Arrival,
    record::Fate,
    subject::{About, Scene, Subject, Talk, link, service_of},
};
use crate::{
    breath::Breath,
    director::Family,
    forward::{Address, Protocol},
    link::Link,
    packet::{Fragment, Packet, Parsed},
    prefix::Prefix,
    snapshot::ServiceId,
    table::Probe,
    topology::PortId,
    verdict::{Drop, Punt},
};

/// All that is named must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// It came in here; of what we originate: it leaves here.
    pub interface: Option<PortId>,
    /// Its transport protocol.
    pub protocol: Option<Protocol>,
    /// Its client.
    pub client: Option<Net>,
    /// What the client talks to.
    pub vip: Option<IpAddr>,
    /// Its real server, by any port or by this one.
    pub server: Option<(IpAddr, Option<u16>)>,
    /// Its service is one of these.
    pub services: Option<Box<[ServiceId]>>,
    /// One of its ports: the client's, the VIP's, the server's, the local one.
    pub port: Option<u16>,
    /// What becomes of it.
    pub ends: Option<Ends>,
}

/// A network, asked in two comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    prefix: Prefix,
    ipv6: bool,
    mask: [u64; 2],
    value: [u64; 2],
}

impl From<Prefix> for Net {
    fn from(prefix: Prefix) -> Self {
        let (ipv6, value) = match prefix.address() {
            IpAddr::V4(ip) => (false, [u64::from(u32::from(ip)), 0]),
            IpAddr::V6(ip) => (true, crate::forward::V6(u128::from(ip)).words()),
        };
        let ones = |bits: u8| u64::MAX.checked_shl(64 - u32::from(bits.min(64))).unwrap_or(0);
        let length = prefix.length();
        let mask = match ipv6 {
            false => [ones(length.saturating_add(32)) & u64::from(u32::MAX), 0],
            true => [ones(length), ones(length.saturating_sub(64))],
        };
        Self { prefix, ipv6, mask, value }
    }
}

impl Net {
    #[inline(always)]
    fn has<A: Address>(&self, address: A) -> bool {
        let [high, low] = address.words();
        A::IPV6 == self.ipv6
            && high & self.mask[0] == self.value[0]
            && low & self.mask[1] == self.value[1]
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.prefix.contains(address)
    }
}

/// Ends of packets, any of which will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Sent on.
    pub forwarded: bool,
    /// What we originate: answers to packets that were dropped, and what nobody asked for.
    pub answered: bool,
    /// By [`Drop`]: its bit.
    drops: u64,
    /// By [`Punt`]: its bit.
    punts: u64,
}

const _: () = assert!(Drop::COUNT <= 64 && Punt::COUNT <= 64, "a bit for each reason");

impl Ends {
    /// Also what is dropped so.
    pub const fn drop(&mut self, reason: Drop) {
        self.drops |= 1 << reason as u8;
    }

    /// Also what is given to the kernel for that reason.
    pub const fn punt(&mut self, reason: Punt) {
        self.punts |= 1 << reason as u8;
    }

    fn has(&self, fate: Fate) -> bool {
        let dropped = fate.dropped().is_some_and(|reason| self.drops >> reason as u8 & 1 == 1);
        dropped
            || match fate {
                Fate::Forwarded => self.forwarded,
                Fate::Answered(..) | Fate::Reset | Fate::Originated => self.answered,
                Fate::Punted(reason) => self.punts >> reason as u8 & 1 == 1,
                // What becomes of it is not known yet.
                Fate::Waits => true,
                Fate::Dropped(_) => false,
            }
    }
}

impl Filter {
    /// Looks at a packet before it is decided about: nothing if it will not pass, whatever
    /// becomes of it. Nearly all packets are turned away in the first lines.
    #[inline(always)]
    pub(super) fn look(
        &self,
        breath: &Breath<'_>,
        frame: &[u8],
        arrival: &Arrival<'_>,
    ) -> Option<(About, Subject)> {
        if self.interface.is_some_and(|wanted| wanted != breath.arrived) {
            return None;
        }
        let strange = match arrival.parsed {
            Parsed::V4(packet) => self.is_strange(breath, packet, arrival),
            Parsed::V6(packet) => self.is_strange(breath, packet, arrival),
            _ => false,
        };
        if strange { None } else { self.look_closely(breath, frame, arrival) }
    }

    /// Its own tuple tells that it is none of ours.
    #[inline(always)]
    fn is_strange<A: Address>(
        &self,
        breath: &Breath<'_>,
        packet: &Packet<A>,
        arrival: &Arrival<'_>,
    ) -> bool {
        let tuple = &packet.tuple;
        if self.protocol.is_some_and(|wanted| wanted != tuple.protocol) {
            return true;
        }
        // Both ways of a connection have its client in them, but for FullNAT's answers.
        self.client.is_some_and(|client| {
            !client.has(tuple.src)
                && !client.has(tuple.dst)
                && (arrival.probe.is_some_and(Probe::is_clients)
                    || breath.snapshot.services.local_ports.is_empty())
        })
    }

    #[inline(never)]
    fn look_closely(
        &self,
        breath: &Breath<'_>,
        frame: &[u8],
        arrival: &Arrival<'_>,
    ) -> Option<(About, Subject)> {
        fn candidate<A: Family>(
            breath: &Breath<'_>,
            packet: &Packet<A>,
            arrival: &Arrival<'_>,
        ) -> Option<Link> {
            if packet.fragment != Fragment::Whole {
                return None;
            }
            let found = A::table(breath.director).find_candidate(arrival.probe?, &packet.tuple)?;
            Some(link(Scene::from(breath), &found))
        }
        let scene = Scene::from(breath);
        let (about, found) = match arrival.parsed {
            Parsed::V4(packet) => (About::V4(packet.tuple), candidate(breath, packet, arrival)),
            Parsed::V6(packet) => (About::V6(packet.tuple), candidate(breath, packet, arrival)),
            _ => (About::Nothing, None),
        };
        let (about, found) = match found {
            Some(found) => (about, Some(found)),
            None => {
                let about = About::new(arrival.parsed, frame);
                (about, about.link(scene))
            }
        };
        let talk = Talk::of(arrival.parsed, frame);
        let mut subject = Subject { talk, link: None, service: None };
        subject.relink(scene, found);
        if subject.link.is_none() {
            subject.service = service_of(breath, arrival.parsed);
        }
        self.holds(&subject, true).then_some((about, subject))
    }

    /// What is named holds of the packet, its end aside. `early`: it may yet get a server.
    pub(super) fn holds(&self, subject: &Subject, early: bool) -> bool {
        let Subject { talk, link, service } = subject;
        let linked = |of: fn(&Link, &Self) -> bool| link.as_ref().map(|link| of(link, self));
        let talks = |of: &dyn Fn(&Talk) -> bool| talk.as_ref().is_some_and(of);
        let open = early && link.is_none();
        let protocol = self.protocol.is_none_or(|wanted| {
            link.is_some_and(|link| link.protocol == wanted)
                || talks(&|talk| talk.protocol == Some(wanted))
        });
        let client = self.client.is_none_or(|client| match link {
            Some(link) => client.contains(link.client.0),
            None => talks(&|talk| client.contains(talk.from.0) || client.contains(talk.to.0)),
        });
        let vip = self.vip.is_none_or(|vip| match link {
            Some(link) => link.vip.0 == vip,
            None => talks(&|talk| talk.from.0 == vip || talk.to.0 == vip),
        });
        let services = self.services.as_ref();
        let service = services.is_none_or(|ids| service.is_some_and(|id| ids.contains(&id)));
        let server = self.server.is_none_or(|_| {
            linked(|link, filter| filter.is_server(link.server))
                .unwrap_or(open || talks(&|talk| self.is_server(talk.from)))
        });
        let port = self.port.is_none_or(|port| {
            let of_link = |link: &Link| {
                [link.client, link.vip, link.server, link.local].iter().any(|end| end.1 == port)
            };
            open || link.as_ref().is_some_and(of_link)
                || talks(&|talk| talk.from.1 == port || talk.to.1 == port)
        });
        protocol && client && vip && service && server && port
    }

    fn is_server(&self, end: (IpAddr, u16)) -> bool {
        self.server.is_some_and(|(address, port)| {
            end.0 == address && port.is_none_or(|port| end.1 == port)
        })
    }

    /// It asks for packets whatever becomes of them.
    pub(super) const fn takes_all_ends(&self) -> bool {
        self.ends.is_none()
    }

    /// It asks for packets with this end.
    pub(super) fn takes(&self, fate: Fate) -> bool {
        self.ends.is_none_or(|ends| ends.has(fate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{V4, V6};

    /// [`Net`] says what its prefix says.
    #[test]
    fn a_net_is_its_prefix() {
        let addresses = ["10.1.2.3", "10.1.2.4", "10.1.3.3", "203.0.113.1", "0.0.0.0"];
        let addresses6 = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "fd00::1", "::"];
        let all = addresses.iter().chain(&addresses6);
        let all: Vec<IpAddr> = all.map(|text| text.parse().unwrap()).collect();
        for base in &all {
            for length in 0..=128 {
                let Some(prefix) = Prefix::new(*base, length) else { continue };
                let net = Net::from(prefix);
                for address in &all {
                    let has = V4::from_ip(*address).map(|ip| net.has(ip));
                    let has = has.or_else(|| V6::from_ip(*address).map(|ip| net.has(ip)));
                    assert_eq!(has, Some(prefix.contains(*address)), "{address} in {prefix}");
                }
            }
        }
    }
}
