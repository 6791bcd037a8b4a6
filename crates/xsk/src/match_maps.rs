//! What the match program knows: which endpoints, addresses and marks are ours, in maps that
//! the programs of all interfaces share (`bpf/known.h`, `bpf/marks.h`).

use crate::{
    bpf::{Map, Object, Plain},
    match_rules::{MARK_SLOTS, MarkSlot, Slot},
};
use libxdp_sys as sys;
use std::{
    io,
    net::IpAddr,
    ops::{BitOr, RangeInclusive},
    sync::{Mutex, PoisonError},
};

/// How much the match maps can hold, and how large a packet a frame can.
#[derive(Clone, Copy, Debug)]
pub struct MatchCapacities {
    /// Services and NAT servers' endpoints together.
    pub endpoints: u32,
    /// VIPs, addresses of the box, FullNAT addresses, servers.
    pub addresses: u32,
    /// Services: of those on port 0 the exceptions are kept, of those on a mark the mark.
    pub services: u32,
    /// Fragmented datagrams of the kernel that are remembered at a time.
    pub datagrams: u32,
    /// Octets of the largest packet that a frame holds ([`crate::Umem::packet_room`]).
    pub packet_room: u32,
}

impl Default for MatchCapacities {
    fn default() -> Self {
        Self {
            endpoints: 65_536,
            addresses: 65_536,
            services: 1024,
            datagrams: 4096,
            packet_room: 2048 - 256,
        }
    }
}

/// What a (protocol, address, port) is. Combined with `|`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointFlags(u32);

impl EndpointFlags {
    /// A virtual service listens there.
    pub const SERVICE: Self = Self(1);
    /// A NAT server answers from there.
    pub const SERVER: Self = Self(2);
    /// A TUN server takes GUE packets of the box there.
    pub const GUE: Self = Self(4);
}

impl BitOr for EndpointFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What an address is. Combined with `|`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressFlags {
    bits: u32,
    ports: Option<(u16, u16)>,
}

impl AddressFlags {
    /// The address of a service.
    pub const VIP: Self = Self::of(1);
    /// An address of this box, a VIP or not.
    pub const BOX: Self = Self::of(2);
    /// A NAT server.
    pub const SERVER: Self = Self::of(8);
    /// A TUN server: the far end of a tunnel.
    pub const TUNNEL: Self = Self::of(16);
    /// A persistent service listens on TCP port 21: it also gets the data connections, to port
    /// 20 and to those from 1024 (`ip_vs_service_find`).
    pub const FTP: Self = Self::of(1 << 11);

    const fn of(bits: u32) -> Self {
        Self { bits, ports: None }
    }

    /// A FullNAT local address, with the ports that are ours.
    pub const fn local(ports: RangeInclusive<u16>) -> Self {
        Self { bits: 4, ports: Some((*ports.start(), *ports.end())) }
    }

    /// A service takes all ports of it in this protocol (6, 17 or 132), but for those of
    /// [`MatchMaps::set_exceptions`] if there are any.
    pub const fn every_port(protocol: u8, exceptions: bool) -> Self {
        Self::of(of_protocol(1 << 5, protocol) | if exceptions { 1 << 12 } else { 0 })
    }

    /// A NAT server that keeps the client's destination ports: it answers from any port in
    /// this protocol (6, 17 or 132).
    pub const fn from_every_port(protocol: u8) -> Self {
        Self::of(of_protocol(1 << 8, protocol))
    }
}

/// A flag of three protocols, for this one.
const fn of_protocol(flag: u32, protocol: u8) -> u32 {
    match protocol {
        6 => flag,
        17 => flag << 1,
        132 => flag << 2,
        _ => 0,
    }
}

impl BitOr for AddressFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { bits: self.bits | other.bits, ports: self.ports.or(other.ports) }
    }
}

/// `struct endpoint` of the program.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Endpoint {
    address: [u8; 16],
    port: [u8; 2],
    protocol: u8,
    zero: u8,
}

// SAFETY: octets only.
unsafe impl Plain for Endpoint {}

impl Endpoint {
    fn new(protocol: u8, address: IpAddr, port: u16) -> Self {
        Self { address: octets(address), port: port.to_be_bytes(), protocol, zero: 0 }
    }
}

/// `struct address_facts` of the program.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct AddressFacts {
    flags: u32,
    low: u16,
    high: u16,
}

// SAFETY: 4 + 2 + 2 octets, aligned to 4, no padding.
unsafe impl Plain for AddressFacts {}

/// How many ranges of ports a service on port 0 can leave to the kernel.
pub const EXCEPTION_RANGES: usize = 16;

/// `struct exceptions` of the program: low and high; a low above its high ends the list.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Exceptions([[u16; 2]; EXCEPTION_RANGES]);

// SAFETY: two-octet words only.
unsafe impl Plain for Exceptions {}

/// `struct mark_service` of the program.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct MarkService {
    mark: u32,
    ipv6: u32,
}

// SAFETY: 4 + 4 octets, no padding.
unsafe impl Plain for MarkService {}

/// `struct datagram` of the program.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Datagram {
    source: [u8; 16],
    destination: [u8; 16],
    id: u32,
    protocol: u32,
}

// SAFETY: 16 + 16 + 4 + 4 octets, aligned to 4, no padding.
unsafe impl Plain for Datagram {}

/// Sixteen octets, IPv4 mapped (RFC 4291 section 2.5.5.2).
pub(crate) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// What is ours, for all interfaces.
#[derive(Debug)]
pub struct MatchMaps {
    endpoints: Map<Endpoint, u32>,
    addresses: Map<[u8; 16], AddressFacts>,
    exceptions: Map<Endpoint, Exceptions>,
    mark_rules: Map<u32, Slot>,
    mark_extent: Map<u32, u64>,
    mark_services: Map<MarkService, u32>,
    datagrams: Map<Datagram, u64>,
    /// The first slot of the half of `mark_rules` that counts.
    half: Mutex<u32>,
    room: u32,
}

impl MatchMaps {
    /// Makes empty maps.
    ///
    /// # Errors
    /// What bpf(2) reports: `EPERM` without `CAP_BPF`, `ENOMEM`, `E2BIG`.
    pub fn new(capacities: MatchCapacities) -> io::Result<Self> {
        let MatchCapacities { endpoints, addresses, services, datagrams, packet_room } = capacities;
        let (hash, lru, array) = (
            sys::bpf_map_type_BPF_MAP_TYPE_HASH,
            sys::bpf_map_type_BPF_MAP_TYPE_LRU_HASH,
            sys::bpf_map_type_BPF_MAP_TYPE_ARRAY,
        );
        Ok(Self {
            endpoints: Map::create(hash, c"xlvs_endpoints", endpoints.max(1))?,
            addresses: Map::create(hash, c"xlvs_addresses", addresses.max(1))?,
            exceptions: Map::create(hash, c"xlvs_exceptions", services.max(1))?,
            mark_rules: Map::create(array, c"xlvs_mark_rules", 2 * MARK_SLOTS as u32)?,
            mark_extent: Map::create(array, c"xlvs_extent", 1)?,
            mark_services: Map::create(hash, c"xlvs_marks", services.max(1))?,
            datagrams: Map::create(lru, c"xlvs_datagrams", datagrams.max(1))?,
            half: Mutex::new(0),
            room: packet_room,
        })
    }

    /// Before loading: the program shall use these maps.
    pub(crate) fn share_with(&self, object: &Object) -> io::Result<()> {
        object.share(c"endpoints", &self.endpoints)?;
        object.share(c"addresses", &self.addresses)?;
        object.share(c"excepted", &self.exceptions)?;
        object.share(c"mark_rules", &self.mark_rules)?;
        object.share(c"mark_extent", &self.mark_extent)?;
        object.share(c"mark_services", &self.mark_services)?;
        object.share(c"passed_datagrams", &self.datagrams)
    }

    pub(crate) const fn room(&self) -> u32 {
        self.room
    }

    /// Says what an endpoint is, in place of what was said before.
    ///
    /// # Errors
    /// `E2BIG` if the map is full.
    pub fn set_endpoint(
        &self,
        protocol: u8,
        address: IpAddr,
        port: u16,
        flags: EndpointFlags,
    ) -> io::Result<()> {
        self.endpoints.set(&Endpoint::new(protocol, address, port), &flags.0)
    }

    /// Forgets an endpoint; false if it was not known.
    ///
    /// # Errors
    /// What bpf(2) reports.
    pub fn remove_endpoint(&self, protocol: u8, address: IpAddr, port: u16) -> io::Result<bool> {
        self.endpoints.remove(&Endpoint::new(protocol, address, port))
    }

    /// Says what an address is, in place of what was said before.
    ///
    /// # Errors
    /// `E2BIG` if the map is full.
    pub fn set_address(&self, address: IpAddr, flags: AddressFlags) -> io::Result<()> {
        let (low, high) = flags.ports.unwrap_or_default();
        self.addresses.set(&octets(address), &AddressFacts { flags: flags.bits, low, high })
    }

    /// Forgets an address; false if it was not known.
    ///
    /// # Errors
    /// What bpf(2) reports.
    pub fn remove_address(&self, address: IpAddr) -> io::Result<bool> {
        self.addresses.remove(&octets(address))
    }

    /// The ports that a service on port 0 leaves to the kernel. They count where the address
    /// has [`AddressFlags::every_port`] with exceptions: set these first.
    ///
    /// # Errors
    /// `InvalidInput` beyond [`EXCEPTION_RANGES`]; `E2BIG` if the map is full.
    pub fn set_exceptions(
        &self,
        protocol: u8,
        address: IpAddr,
        ports: &[RangeInclusive<u16>],
    ) -> io::Result<()> {
        let mut exceptions = Exceptions([[1, 0]; EXCEPTION_RANGES]);
        if ports.len() > EXCEPTION_RANGES {
            let sentence = format!("{address}: more than {EXCEPTION_RANGES} ranges of ports");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        // An empty range would end the list.
        for (slot, range) in exceptions.0.iter_mut().zip(ports.iter().filter(|r| !r.is_empty())) {
            *slot = [*range.start(), *range.end()];
        }
        self.exceptions.set(&Endpoint::new(protocol, address, 0), &exceptions)
    }

    /// Forgets them; false if there were none.
    ///
    /// # Errors
    /// What bpf(2) reports.
    pub fn remove_exceptions(&self, protocol: u8, address: IpAddr) -> io::Result<bool> {
        self.exceptions.remove(&Endpoint::new(protocol, address, 0))
    }

    /// The mark rules, in place of those before, at once: a packet sees the old ones or the
    /// new ones.
    ///
    /// # Errors
    /// `InvalidInput` beyond [`MARK_SLOTS`].
    pub fn set_marks(&self, slots: &[MarkSlot]) -> io::Result<()> {
        if slots.len() > MARK_SLOTS {
            let sentence = format!("more than {MARK_SLOTS} mark rules");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        let mut half = self.half.lock().unwrap_or_else(PoisonError::into_inner);
        let first = MARK_SLOTS as u32 - *half;
        for (slot, rule) in (first..).zip(slots) {
            self.mark_rules.set(&slot, &Slot::new(rule))?;
        }
        self.mark_extent.set(&0, &(u64::from(first) | (slots.len() as u64) << 32))?;
        *half = first;
        Ok(())
    }

    /// A mark of a family has a service.
    ///
    /// # Errors
    /// `E2BIG` if the map is full.
    pub fn set_mark_service(&self, mark: u32, ipv6: bool) -> io::Result<()> {
        self.mark_services.set(&MarkService { mark, ipv6: ipv6.into() }, &1)
    }

    /// It has none any more; false if it had none.
    ///
    /// # Errors
    /// What bpf(2) reports.
    pub fn remove_mark_service(&self, mark: u32, ipv6: bool) -> io::Result<bool> {
        self.mark_services.remove(&MarkService { mark, ipv6: ipv6.into() })
    }
}
