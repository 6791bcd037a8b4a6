//! Facts about an interface, and its offload switches, by ioctl(2): netdevice(7) and
//! linux/ethtool.h.

use crate::tap::text_of;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GRXRINGS: u32 = 0x2d;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// The string set of feature names.
const ETH_SS_FEATURES: u32 = 4;
/// Octets of one string.
const ETH_GSTRING_LEN: usize = 32;
/// Feature words that the kernel can have; today it has two.
const FEATURE_WORDS: usize = 8;

/// `struct ifreq`, with the members that are used here.
#[repr(C)]
pub(crate) struct InterfaceRequest(libc::ifreq);

impl InterfaceRequest {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let fits = name.len() < libc::IFNAMSIZ && !name.is_empty() && !name.contains('\0');
        if !fits {
            let reason = format!("{name:?} is no interface name");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        // SAFETY: all zeroes is a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (slot, octet) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *slot = octet as libc::c_char;
        }
        Ok(Self(request))
    }

    pub(crate) fn name(&self) -> String {
        text_of(&self.0.ifr_name.map(|octet| octet as u8))
    }

    pub(crate) fn set_flags(&mut self, flags: i16) {
        self.0.ifr_ifru.ifru_flags = flags;
    }

    /// Runs an ioctl that takes a `struct ifreq` and reads or writes nothing beyond it.
    pub(crate) fn call(&mut self, fd: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<()> {
        // SAFETY: the requests of this crate take a whole `ifreq`, which this is; where it
        // holds a pointer, `ethtool` keeps the pointee alive and large enough.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut self.0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A socket for ioctls, of this thread's network namespace.
fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes and returns integers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn interface_call(ifname: &str, number: libc::Ioctl) -> io::Result<InterfaceRequest> {
    let mut request = InterfaceRequest::new(ifname)?;
    request.call(control_socket()?.as_fd(), number)?;
    Ok(request)
}

/// The index of an interface.
///
/// # Errors
/// `ENODEV` if there is no such interface.
pub fn index(ifname: &str) -> io::Result<u32> {
    let request = interface_call(ifname, libc::SIOCGIFINDEX)?;
    // SAFETY: SIOCGIFINDEX fills this member.
    Ok(unsafe { request.0.ifr_ifru.ifru_ifindex } as u32)
}

/// The largest packet of an interface without its Ethernet header, in octets.
///
/// # Errors
/// `ENODEV` if there is no such interface.
pub fn mtu(ifname: &str) -> io::Result<u32> {
    let request = interface_call(ifname, libc::SIOCGIFMTU)?;
    // SAFETY: SIOCGIFMTU fills this member.
    Ok(unsafe { request.0.ifr_ifru.ifru_mtu } as u32)
}

/// The hardware address of an interface.
///
/// # Errors
/// `ENODEV` if there is no such interface, `InvalidData` if it is not Ethernet.
pub fn mac(ifname: &str) -> io::Result<[u8; 6]> {
    let request = interface_call(ifname, libc::SIOCGIFHWADDR)?;
    // SAFETY: SIOCGIFHWADDR fills this member.
    let address = unsafe { request.0.ifr_ifru.ifru_hwaddr };
    if address.sa_family != libc::ARPHRD_ETHER {
        let reason = format!("{ifname} is not an Ethernet interface");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let [a, b, c, d, e, f, ..] = address.sa_data;
    Ok([a, b, c, d, e, f].map(|octet| octet as u8))
}

pub(crate) fn set_mac(ifname: &str, mac: [u8; 6]) -> io::Result<()> {
    let mut request = InterfaceRequest::new(ifname)?;
    // SAFETY: all zeroes is a valid `sockaddr`.
    let mut address: libc::sockaddr = unsafe { std::mem::zeroed() };
    address.sa_family = libc::ARPHRD_ETHER;
    for (slot, octet) in address.sa_data.iter_mut().zip(mac) {
        *slot = octet as libc::c_char;
    }
    request.0.ifr_ifru.ifru_hwaddr = address;
    request.call(control_socket()?.as_fd(), libc::SIOCSIFHWADDR)
}

pub(crate) fn set_up(ifname: &str) -> io::Result<()> {
    add_flags(ifname, libc::IFF_UP)
}

pub(crate) fn set_up_without_arp(ifname: &str) -> io::Result<()> {
    add_flags(ifname, libc::IFF_UP | libc::IFF_NOARP)
}

fn add_flags(ifname: &str, more: libc::c_int) -> io::Result<()> {
    let socket = control_socket()?;
    let mut request = InterfaceRequest::new(ifname)?;
    request.call(socket.as_fd(), libc::SIOCGIFFLAGS)?;
    // SAFETY: SIOCGIFFLAGS filled this member.
    let flags = unsafe { request.0.ifr_ifru.ifru_flags };
    request.set_flags(flags | more as i16);
    request.call(socket.as_fd(), libc::SIOCSIFFLAGS)
}

/// Runs an ethtool command on a buffer of words, whose first one is the command.
fn ethtool(ifname: &str, words: &mut [u32]) -> io::Result<()> {
    let mut request = InterfaceRequest::new(ifname)?;
    request.0.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    request.call(control_socket()?.as_fd(), SIOCETHTOOL)
}

/// The name of the driver.
///
/// # Errors
/// `ENODEV` if there is no such interface, `EOPNOTSUPP` if it has no driver to name.
pub fn driver(ifname: &str) -> io::Result<String> {
    // struct ethtool_drvinfo: the command, then the driver's name in 32 octets; 196 in all.
    let mut words = [0u32; 49];
    words[0] = ETHTOOL_GDRVINFO;
    ethtool(ifname, &mut words)?;
    let octets: Vec<u8> = words[1..9].iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok(text_of(&octets))
}

/// How many queues an interface receives on; each one needs a socket.
///
/// # Errors
/// `ENODEV` if there is no such interface.
pub fn rx_queues(ifname: &str) -> io::Result<u32> {
    // struct ethtool_channels: command, four maxima, then rx, tx, other, combined.
    let mut channels = [0u32; 9];
    channels[0] = ETHTOOL_GCHANNELS;
    match ethtool(ifname, &mut channels) {
        Ok(()) if channels[5] + channels[8] > 0 => return Ok(channels[5] + channels[8]),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Err(error),
        _ => {}
    }
    // struct ethtool_rxnfc: command, flow type, and the answer in a word of 64 bits; 192
    // octets in all.
    let mut rings = [0u32; 48];
    rings[0] = ETHTOOL_GRXRINGS;
    match ethtool(ifname, &mut rings) {
        Ok(()) if rings[2] > 0 => Ok(rings[2]),
        // A driver that says nothing has one.
        _ => Ok(1),
    }
}

/// The offloads that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Generic receive offload: builds packets larger than a frame in generic mode.
    Gro,
    /// Large receive offload: the same, by the NIC.
    Lro,
    /// Checksums left to the NIC on sending. On a veth the peer then receives packets
    /// without a valid checksum.
    TxChecksum,
    /// VLAN tags taken off before XDP sees the frame.
    RxVlan,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gro, Self::Lro, Self::TxChecksum, Self::RxVlan];

    /// The kernel's names (net/ethtool/common.c); a feature is on if one of them is.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Gro => &["rx-gro", "rx-gro-hw"],
            Self::Lro => &["rx-lro"],
            Self::TxChecksum => &[
                "tx-checksum-ip-generic",
                "tx-checksum-ipv4",
                "tx-checksum-ipv6",
                "tx-checksum-sctp",
            ],
            Self::RxVlan => &["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"],
        }
    }
}

/// The kernel's feature names, by bit.
fn feature_names(ifname: &str) -> io::Result<Vec<String>> {
    // struct ethtool_sset_info: command, reserved, a mask of 64 bits, then a length for each set.
    let mask = 1u64 << ETH_SS_FEATURES;
    let mut info = [ETHTOOL_GSSET_INFO, 0, 0, 0, 0];
    // SAFETY: words 2 and 3 are the mask, in the machine's order of a u64.
    unsafe { ptr::write_unaligned(info[2..].as_mut_ptr().cast::<u64>(), mask) };
    ethtool(ifname, &mut info)?;
    let count = info[4] as usize;
    // struct ethtool_gstrings: command, set, length, then the strings.
    let mut words = vec![0u32; 3 + count * ETH_GSTRING_LEN / 4];
    words[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count as u32]);
    ethtool(ifname, &mut words)?;
    let octets: Vec<u8> = words[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok(octets.chunks(ETH_GSTRING_LEN).map(text_of).collect())
}

/// The bits of a feature, by word.
fn feature_bits(ifname: &str, feature: Feature) -> io::Result<[u32; FEATURE_WORDS]> {
    let mut bits = [0; FEATURE_WORDS];
    for (bit, name) in feature_names(ifname)?.iter().enumerate() {
        if feature.names().contains(&name.as_str()) && bit / 32 < FEATURE_WORDS {
            bits[bit / 32] |= 1 << (bit % 32);
        }
    }
    Ok(bits)
}

/// What an interface says of its features: four words for each 32 bits, which are
/// available, requested, active, never changed. As many as the kernel has.
fn features(ifname: &str) -> io::Result<Vec<[u32; 4]>> {
    let mut words = [0u32; 2 + 4 * FEATURE_WORDS];
    words[..2].copy_from_slice(&[ETHTOOL_GFEATURES, FEATURE_WORDS as u32]);
    ethtool(ifname, &mut words)?;
    let known = (words[1] as usize).min(FEATURE_WORDS);
    let (blocks, _) = words[2..].as_chunks();
    Ok(blocks[..known].to_vec())
}

/// Whether a feature is on, or a part of it.
///
/// # Errors
/// `ENODEV` if there is no such interface.
pub fn feature(ifname: &str, feature: Feature) -> io::Result<bool> {
    let bits = feature_bits(ifname, feature)?;
    let active = features(ifname)?;
    Ok(bits.iter().zip(active).any(|(bits, [_, _, active, _])| bits & active != 0))
}

/// Switches a feature, as far as the driver lets.
///
/// # Errors
/// `Unsupported` if it does not stay as wanted, else what the ioctl reports.
pub fn set_feature(ifname: &str, wanted: Feature, on: bool) -> io::Result<()> {
    let bits = feature_bits(ifname, wanted)?;
    let known = features(ifname)?;
    let blocks = known.len();
    // struct ethtool_sfeatures: command, length, then valid and requested bits by turns.
    let mut words = vec![ETHTOOL_SFEATURES, blocks as u32];
    for (bits, [available, ..]) in bits.iter().zip(known) {
        let valid = bits & available;
        words.extend([valid, if on { valid } else { 0 }]);
    }
    ethtool(ifname, &mut words)?;
    if feature(ifname, wanted)? == on {
        return Ok(());
    }
    let state = if on { "on" } else { "off" };
    let reason = format!("{ifname}: {wanted:?} cannot be switched {state}");
    Err(io::Error::new(io::ErrorKind::Unsupported, reason))
}
