//! Fragmenting an IPv4 packet that is larger than its way out, as `ip_do_fragment` does it:
//! each part but the last carries the largest multiple of eight octets that fits.

use crate::wire::{ethernet, fold, ipv4, put_u16, sum, u16_at};

/// How a packet is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    header: usize,
    payload: usize,
    step: usize,
}

impl Cut {
    /// The cut of the IPv4 packet that fills `packet` (without Ethernet), for `mtu`.
    /// `None` if not even eight octets of payload fit.
    pub fn new(packet: &[u8], mtu: u16) -> Option<Self> {
        let header = usize::from(packet[0] & 15) * 4;
        let step = usize::from(mtu).checked_sub(header)? & !7;
        (step > 0).then_some(Self { header, payload: packet.len() - header, step })
    }

    /// How many parts it makes.
    pub const fn parts(&self) -> usize {
        self.payload.div_ceil(self.step)
    }

    /// Writes part `index` (1 and up) of the packet in `frame` to `room`, Ethernet header
    /// included; returns its length.
    pub fn write_later(&self, frame: &[u8], index: usize, room: &mut [u8]) -> usize {
        let packet = &frame[ethernet::LEN..];
        let from = self.header + index * self.step;
        let to = (from + self.step).min(self.header + self.payload);
        let header = copied_header(&packet[..self.header]);
        let len = ethernet::LEN + header.len + to - from;
        room[..ethernet::LEN].copy_from_slice(&frame[..ethernet::LEN]);
        let part = &mut room[ethernet::LEN..len];
        part[..header.len].copy_from_slice(&header.octets[..header.len]);
        part[header.len..].copy_from_slice(&packet[from..to]);
        let more = to < self.header + self.payload;
        finish(part, header.len, index * self.step / 8, more);
        len
    }

    /// Makes the packet in `frame` its own first part; returns its length.
    pub fn shorten_first(&self, frame: &mut [u8]) -> usize {
        let len = ethernet::LEN + self.header + self.step;
        finish(&mut frame[ethernet::LEN..len], self.header, 0, true);
        len
    }
}

/// Sets length, offset, flags and checksum; `offset` in units of eight octets is added to
/// what the packet, perhaps a fragment itself, had.
fn finish(part: &mut [u8], header: usize, offset: usize, more: bool) {
    let old = u16_at(part, ipv4::FRAGMENT);
    let flags = if more { old | ipv4::MF } else { old };
    put_u16(part, ipv4::FRAGMENT, flags + offset as u16);
    put_u16(part, ipv4::TOTAL_LENGTH, part.len() as u16);
    put_u16(part, ipv4::CHECKSUM, 0);
    let checksum = !fold(sum(&part[..header]));
    put_u16(part, ipv4::CHECKSUM, checksum);
}

struct Header {
    octets: [u8; 60],
    len: usize,
}

/// The header of later fragments: only options with the copied flag go with them
/// (RFC 791 section 3.1); others become no-operations, so the length stays.
fn copied_header(first: &[u8]) -> Header {
    const COPIED: u8 = 0x80;
    const NOP: u8 = 1;
    let mut octets = [0; 60];
    octets[..first.len()].copy_from_slice(first);
    let mut at = ipv4::LEN;
    while at < first.len() {
        let len = match first[at] {
            0 => break,
            NOP => 1,
            _ => first.get(at + 1).map_or(1, |len| usize::from(*len).max(2)),
        };
        let end = (at + len).min(first.len());
        if first[at] & COPIED == 0 {
            octets[at..end].fill(NOP);
        }
        at = end;
    }
    Header { octets, len: first.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LVS on a kernel: out mtu 1400, 1500 octets without DF leave as 1396 + 124.
    #[test]
    fn kernel_sizes() {
        let cases = [(1500, 1400, vec![1396, 124]), (1500, 1380, vec![1380, 140])];
        for (len, mtu, expected) in cases {
            let mut frame = vec![0u8; ethernet::LEN + len];
            frame[ethernet::LEN] = 0x45;
            put_u16(&mut frame, ethernet::LEN + ipv4::TOTAL_LENGTH, len as u16);
            let cut = Cut::new(&frame[ethernet::LEN..], mtu).expect("fits");
            let mut room = [0u8; 1600];
            let later: Vec<usize> = (1..cut.parts())
                .map(|i| cut.write_later(&frame, i, &mut room) - ethernet::LEN)
                .collect();
            let mut sizes = vec![cut.shorten_first(&mut frame) - ethernet::LEN];
            sizes.extend(later);
            assert_eq!(sizes, expected);
            assert_eq!(fold(sum(&frame[ethernet::LEN..ethernet::LEN + 20])), 0xffff);
            assert_eq!(u16_at(&frame, ethernet::LEN + ipv4::FRAGMENT), ipv4::MF);
            let last = u16_at(&room, ethernet::LEN + ipv4::FRAGMENT);
            assert_eq!(usize::from(last) * 8, expected[0] - 20);
        }
    }
}
