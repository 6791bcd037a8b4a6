//! The format of a table: see `tests/golden/README.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) why: String,
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) topology: Option<Change>,
    pub(crate) steps: Vec<Step>,
}

/// What differs from `topology.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    pub(crate) mtu: [u16; 2],
}

/// One frame in, and all that follows from it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) at: Option<f64>,
    #[serde(default)]
    pub(crate) port: u16,
    #[serde(rename = "in", default)]
    pub(crate) arrives: Option<Octets>,
    #[serde(default)]
    pub(crate) in_holes: Vec<Hole>,
    #[serde(default)]
    pub(crate) out: Vec<Output>,
    pub(crate) punt: Option<String>,
    #[serde(default)]
    pub(crate) counters: BTreeMap<String, u64>,
}

/// A frame that leaves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Output {
    pub(crate) port: u16,
    pub(crate) frame: Octets,
    #[serde(default)]
    pub(crate) holes: Vec<Hole>,
}

/// A place where xlvs may choose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hole {
    pub(crate) at: usize,
    pub(crate) len: usize,
    pub(crate) mask: Option<Octets>,
    #[serde(default)]
    pub(crate) checksums: Vec<usize>,
    pub(crate) name: Option<String>,
    pub(crate) within: Option<[u64; 2]>,
    pub(crate) not: Option<u64>,
    pub(crate) sctp: Option<usize>,
}

/// Octets, written in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let octet = |at| u8::from_str_radix(&text[at..at + 2], 16);
        (0..text.len())
            .step_by(2)
            .map(octet)
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

impl Hole {
    /// The octets of `frame` at the hole, under its mask.
    pub(crate) fn value(&self, frame: &[u8]) -> Vec<u8> {
        let octets = &frame[self.at..self.at + self.len];
        octets.iter().zip(self.masks()).map(|(octet, mask)| octet & mask).collect()
    }

    /// Fills the hole and carries the difference into its checksums (RFC 1624; RFC 9260 appendix A).
    pub(crate) fn fill(&self, frame: &mut [u8], value: &[u8]) {
        let hole = self.at..self.at + self.len;
        let old = frame[hole.clone()].to_vec();
        let masks = self.masks();
        let before = self.sctp.map(|start| crc32c(&frame[start..]));
        for ((octet, new), mask) in frame[hole.clone()].iter_mut().zip(value).zip(&masks) {
            *octet = *octet & !mask | new & mask;
        }
        let new = frame[hole].to_vec();
        for at in &self.checksums {
            let mut sum = u32::from(!word(&frame[*at..]));
            for (old, new) in old.chunks(2).zip(new.chunks(2)) {
                sum += u32::from(!word(old)) + u32::from(word(new));
            }
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            frame[*at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        }
        if let (Some(start), Some(before)) = (self.sctp, before) {
            let change = before ^ crc32c(&frame[start..]);
            for (octet, change) in frame[start + 8..].iter_mut().zip(change.to_le_bytes()) {
                *octet ^= change;
            }
        }
    }

    fn masks(&self) -> Vec<u8> {
        self.mask.as_ref().map_or_else(|| vec![0xff; self.len], |mask| mask.0.clone())
    }
}

/// CRC32c of an SCTP packet, bit by bit, its own field taken as zero.
fn crc32c(packet: &[u8]) -> u32 {
    let mut crc = !0u32;
    for (at, octet) in packet.iter().enumerate() {
        crc ^= u32::from(if (8..12).contains(&at) { 0 } else { *octet });
        for _ in 0..8 {
            crc = crc >> 1 ^ (if crc & 1 == 1 { 0x82f6_3b78 } else { 0 });
        }
    }
    !crc
}

fn word(octets: &[u8]) -> u16 {
    u16::from_be_bytes([octets[0], octets[1]])
}
