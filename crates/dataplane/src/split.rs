//! Fragmenting a packet (IPv4, or our own outer IPv6) that is larger than its way out, as `ip_do_fragment` does it:
//! each part but the last carries the largest multiple of eight octets that fits.

use crate::{
    breath::Breath,
    io::{Frame, Io},
    topology::PortId,
    verdict::Drop,
    wire::{ethernet, fold, ipv4, ipv6, put_u16, sum, u16_at},
    worker::send,
};

/// Sends the packet in `frame` in parts that fit `mtu`, all of them or none.
pub fn send_parts<I: Io>(
    breath: &mut Breath<'_>,
    io: &mut I,
    port: PortId,
    mut frame: I::Frame,
    mtu: u16,
) {
    let Some(cut) = Cut::new(&frame.bytes()[ethernet::LEN..], mtu, breath) else {
        breath.stats.drop(Drop::FrameRoom);
        return io.give(frame);
    };
    let mut later: [Option<I::Frame>; PARTS_MAX] = std::array::from_fn(|_| None);
    for index in 1..cut.parts() {
        let Some(mut part) = io.take() else {
            breath.stats.drop(Drop::FramePoolEmpty);
            later.into_iter().flatten().for_each(|part| io.give(part));
            return io.give(frame);
        };
        let len = cut.write_later(frame.bytes(), index, part.room());
        part.set_len(len);
        later[index] = Some(part);
    }
    let len = cut.shorten_first(frame.room());
    frame.set_len(len);
    send(breath.stats, io, port, frame);
    for part in later.into_iter().flatten() {
        send(breath.stats, io, port, part);
    }
}

/// Parts of a packet at most: a frame of a 4096-octet chunk, cut for IPv4's smallest MTU.
pub(crate) const PARTS_MAX: usize = 96;

/// How a packet is cut: where its payload begins, and how much of it a part takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The packet's own header, which each part repeats.
    header: usize,
    payload: usize,
    step: usize,
    /// Outer IPv6 packets of ours: the identification of their fragment headers.
    ipv6_id: Option<u32>,
}

/// The IPv6 fragment header, RFC 8200 section 4.5.
const FRAGMENT_HEADER: usize = 8;

impl Cut {
    /// The cut of the packet that fills `packet` (without Ethernet), for `mtu`. `None` if not
    /// even eight octets of payload fit, or it would take too many parts.
    fn new(packet: &[u8], mtu: u16, breath: &mut Breath<'_>) -> Option<Self> {
        let ipv6_id = (packet[0] >> 4 == 6).then(|| breath.ids.long());
        Self::with_id(packet, mtu, ipv6_id)
    }

    fn with_id(packet: &[u8], mtu: u16, ipv6_id: Option<u32>) -> Option<Self> {
        let header = match ipv6_id {
            Some(_) => ipv6::LEN,
            None => usize::from(packet[0] & 15) * 4,
        };
        let extra = if ipv6_id.is_some() { FRAGMENT_HEADER } else { 0 };
        let step = usize::from(mtu).checked_sub(header + extra)? & !7;
        let payload = packet.len() - header;
        let cut = Self { header, payload, step, ipv6_id };
        (step > 0 && cut.parts() <= PARTS_MAX).then_some(cut)
    }

    /// How many parts it makes.
    const fn parts(&self) -> usize {
        self.payload.div_ceil(self.step)
    }

    /// Writes part `index` (1 and up) of the packet in `frame` to `room`, Ethernet header
    /// included; returns its length.
    fn write_later(&self, frame: &[u8], index: usize, room: &mut [u8]) -> usize {
        let packet = &frame[ethernet::LEN..];
        let from = self.header + index * self.step;
        let to = (from + self.step).min(self.header + self.payload);
        room[..ethernet::LEN].copy_from_slice(&frame[..ethernet::LEN]);
        let part = &mut room[ethernet::LEN..];
        part[..self.header].copy_from_slice(&packet[..self.header]);
        if self.ipv6_id.is_none() {
            keep_copied_options(&mut part[..self.header]);
        }
        let start = self.payload_start();
        part[start..start + to - from].copy_from_slice(&packet[from..to]);
        let more = to < self.header + self.payload;
        self.finish(&mut part[..start + to - from], index * self.step / 8, more);
        ethernet::LEN + start + to - from
    }

    /// Makes the packet in `room` its own first part; returns its length.
    fn shorten_first(&self, room: &mut [u8]) -> usize {
        let packet = &mut room[ethernet::LEN..];
        let start = self.payload_start();
        packet.copy_within(self.header..self.header + self.step, start);
        self.finish(&mut packet[..start + self.step], 0, true);
        ethernet::LEN + start + self.step
    }

    const fn payload_start(&self) -> usize {
        if self.ipv6_id.is_some() { self.header + FRAGMENT_HEADER } else { self.header }
    }

    /// Sets what differs from part to part; `offset` is in units of eight octets.
    fn finish(&self, part: &mut [u8], offset: usize, more: bool) {
        match self.ipv6_id {
            None => finish_ipv4(part, self.header, offset, more),
            Some(id) => finish_ipv6(part, id, offset, more),
        }
    }
}

/// Length, offset, flags and checksum; the offset is added to what the packet, perhaps a
/// fragment itself, had.
fn finish_ipv4(part: &mut [u8], header: usize, offset: usize, more: bool) {
    let old = u16_at(part, ipv4::FRAGMENT);
    let flags = if more { old | ipv4::MF } else { old };
    put_u16(part, ipv4::FRAGMENT, flags + offset as u16);
    put_u16(part, ipv4::TOTAL_LENGTH, part.len() as u16);
    put_u16(part, ipv4::CHECKSUM, 0);
    let checksum = !fold(sum(&part[..header]));
    put_u16(part, ipv4::CHECKSUM, checksum);
}

/// The fragment header between the fixed header and the payload. Every part is written from
/// the unfragmented header, whose next header moves into it.
fn finish_ipv6(part: &mut [u8], id: u32, offset: usize, more: bool) {
    const FRAGMENT: u8 = 44;
    put_u16(part, ipv6::PAYLOAD_LENGTH, (part.len() - ipv6::LEN) as u16);
    let (fixed, rest) = part.split_at_mut(ipv6::LEN);
    let next = std::mem::replace(&mut fixed[ipv6::NEXT_HEADER], FRAGMENT);
    rest[..2].copy_from_slice(&[next, 0]);
    put_u16(rest, 2, (offset << 3) as u16 | u16::from(more));
    rest[4..FRAGMENT_HEADER].copy_from_slice(&id.to_be_bytes());
}

/// Later fragments keep only the options with the copied flag (RFC 791 section 3.1); others
/// become no-operations, so the length stays (`ip_options_fragment`).
fn keep_copied_options(header: &mut [u8]) {
    const COPIED: u8 = 0x80;
    const NOP: u8 = 1;
    let mut at = ipv4::LEN;
    while at < header.len() {
        let len = match header[at] {
            0 => break,
            NOP => 1,
            _ => header.get(at + 1).map_or(1, |len| usize::from(*len).max(2)),
        };
        let end = (at + len).min(header.len());
        if header[at] & COPIED == 0 {
            header[at..end].fill(NOP);
        }
        at = end;
    }
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
            let cut = Cut::with_id(&frame[ethernet::LEN..], mtu, None).expect("fits");
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
