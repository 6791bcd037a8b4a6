//! Writing pcapng, after draft-ietf-opsawg-pcapng (sections 4.1 to 4.3 and 4.6): a section, its
//! interfaces, packets with a comment, a direction and a number.
//!
//! Our own, and small: the crates that write it know no `epb_packetid`, by which the two sides of
//! a packet are found, or step outside safe Rust for reading, which we do not need.

/// Of a packet, seen from the interface (`epb_flags`, bits 0 and 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Inbound = 1,
    Outbound = 2,
}

/// An enhanced packet block.
#[derive(Clone, Debug)]
pub(super) struct Packet<'a> {
    /// Which interface, in the order of [`interface`] blocks.
    pub(super) interface: u32,
    /// Nanoseconds since 1970.
    pub(super) at: u64,
    /// The octets that were kept.
    pub(super) octets: &'a [u8],
    /// How many there were.
    pub(super) length: u32,
    pub(super) direction: Direction,
    pub(super) number: u64,
    pub(super) comment: &'a str,
    /// Packets lost since the one before.
    pub(super) lost: u64,
}

/// An interface description block.
#[derive(Clone, Debug)]
pub(super) struct Interface<'a> {
    pub(super) name: &'a str,
    pub(super) mac: [u8; 6],
}

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;
/// `if_tsresol`: 10^-9 seconds.
const NANOSECONDS: u8 = 9;

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;

/// Begins a section of unknown length, written by `application`.
pub(super) fn section(out: &mut Vec<u8>, application: &str) {
    const APPLICATION: u16 = 4;
    block(out, 0x0a0d_0d0a, |out| {
        out.extend(0x1a2b_3c4d_u32.to_le_bytes());
        out.extend([1u16, 0].map(u16::to_le_bytes).as_flattened());
        out.extend(u64::MAX.to_le_bytes());
        option(out, APPLICATION, application.as_bytes());
        option(out, END_OF_OPTIONS, &[]);
    });
}

/// Describes the next interface, of whose packets `snap` octets are kept.
pub(super) fn interface(out: &mut Vec<u8>, interface: &Interface<'_>, snap: u32) {
    const NAME: u16 = 2;
    const MAC: u16 = 6;
    const RESOLUTION: u16 = 9;
    block(out, 1, |out| {
        out.extend([ETHERNET, 0].map(u16::to_le_bytes).as_flattened());
        out.extend(snap.to_le_bytes());
        option(out, NAME, interface.name.as_bytes());
        option(out, MAC, &interface.mac);
        option(out, RESOLUTION, &[NANOSECONDS]);
        option(out, END_OF_OPTIONS, &[]);
    });
}

/// Writes a packet.
pub(super) fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    const FLAGS: u16 = 2;
    const DROP_COUNT: u16 = 4;
    const PACKET_ID: u16 = 5;
    block(out, 6, |out| {
        out.extend(packet.interface.to_le_bytes());
        out.extend(((packet.at >> 32) as u32).to_le_bytes());
        out.extend((packet.at as u32).to_le_bytes());
        out.extend((packet.octets.len() as u32).to_le_bytes());
        out.extend(packet.length.to_le_bytes());
        padded(out, packet.octets);
        option(out, COMMENT, packet.comment.as_bytes());
        option(out, FLAGS, &(packet.direction as u32).to_le_bytes());
        if packet.lost > 0 {
            option(out, DROP_COUNT, &packet.lost.to_le_bytes());
        }
        option(out, PACKET_ID, &packet.number.to_le_bytes());
        option(out, END_OF_OPTIONS, &[]);
    });
}

fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    /// Type and length in front, length behind.
    const FRAME: usize = 12;
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let length = (out.len() - start + FRAME - 8) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out.extend(length.to_le_bytes());
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend([code, value.len() as u16].map(u16::to_le_bytes).as_flattened());
    padded(out, value);
}

fn padded(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend_from_slice(octets);
    out.resize(out.len() + octets.len().wrapping_neg() % 4, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, from the figures of the draft.
    #[test]
    fn blocks_as_the_draft_draws_them() {
        let mut out = Vec::new();
        section(&mut out, "x");
        let expected: [&[u8]; 6] = [
            &[0x0a, 0x0d, 0x0d, 0x0a, 40, 0, 0, 0],
            &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0],
            &[0xff; 8],
            &[4, 0, 1, 0, b'x', 0, 0, 0],
            &[0, 0, 0, 0],
            &[40, 0, 0, 0],
        ];
        assert_eq!(out, expected.concat());

        out.clear();
        interface(&mut out, &Interface { name: "eth0", mac: [2, 0, 0, 0, 0, 1] }, 96);
        let expected: [&[u8]; 8] = [
            &[1, 0, 0, 0, 52, 0, 0, 0],
            &[1, 0, 0, 0, 96, 0, 0, 0],
            &[2, 0, 4, 0, b'e', b't', b'h', b'0'],
            &[6, 0, 6, 0, 2, 0, 0, 0, 0, 1, 0, 0],
            &[9, 0, 1, 0, 9, 0, 0, 0],
            &[0, 0, 0, 0],
            &[52, 0, 0, 0],
            &[],
        ];
        assert_eq!(out, expected.concat());

        out.clear();
        let wanted = Packet {
            interface: 1,
            at: 0x0102_0304_0506_0708,
            octets: &[0xaa; 5],
            length: 60,
            direction: Direction::Outbound,
            number: 3,
            comment: "ab",
            lost: 7,
        };
        packet(&mut out, &wanted);
        let expected: [&[u8]; 9] = [
            &[6, 0, 0, 0, 84, 0, 0, 0],
            &[1, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5],
            &[5, 0, 0, 0, 60, 0, 0, 0],
            &[0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0],
            &[1, 0, 2, 0, b'a', b'b', 0, 0],
            &[2, 0, 4, 0, 2, 0, 0, 0],
            &[4, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0],
            &[5, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 84, 0, 0, 0],
        ];
        assert_eq!(out, expected.concat());
    }
}
