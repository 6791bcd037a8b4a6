//! Golden frames with an outer header: where things are, and frames made of them.
use crate::packet::{Transport, with_word, word};

const GRE: u8 = 47;
const UDP: u8 = 17;

/// What is between the outer IP header and the packet.
enum Between {
    Nothing,
    /// From the beginning of the frame.
    Gre(usize),
    /// The UDP header, from the beginning of the frame; the GUE header has no options.
    Gue(usize),
}

fn between(frame: &[u8]) -> Between {
    let (length, protocol) = if frame[14] >> 4 == 4 { (20, frame[23]) } else { (40, frame[20]) };
    match protocol {
        GRE => Between::Gre(14 + length),
        UDP => Between::Gue(14 + length),
        _ => Between::Nothing,
    }
}

/// Where the packet in the tunnel begins.
pub(super) fn inner(frame: &[u8]) -> usize {
    match between(frame) {
        Between::Nothing => 14 + if frame[14] >> 4 == 4 { 20 } else { 40 },
        Between::Gre(at) => at + if has_gre_checksum(frame, at) { 8 } else { 4 },
        Between::Gue(at) => at + 8 + 4,
    }
}

/// RFC 2784, 2.1: the first bit.
fn has_gre_checksum(frame: &[u8], gre: usize) -> bool {
    word(frame, gre) & 0x8000 != 0
}

/// The same frame with a wrong checksum in its GRE or UDP header; `None` without a checksum.
pub(super) fn spoilt(frame: &[u8]) -> Option<Vec<u8>> {
    let at = match between(frame) {
        Between::Gre(at) if has_gre_checksum(frame, at) => at + 4,
        // RFC 768: 0 is no checksum.
        Between::Gue(at) if word(frame, at + 6) != 0 => at + 6,
        _ => return None,
    };
    // Not 0, which would be no checksum, and another sum than the right one.
    let wrong = match word(frame, at) ^ 1 {
        0 => 3,
        wrong => wrong,
    };
    let mut frame = frame.to_vec();
    frame[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
    Some(frame)
}

/// The same TCP segment, acknowledging `more` than it does. Its own checksum follows, so what
/// the packet adds to a checksum around it stays as it was.
pub(super) fn acknowledging(frame: &[u8], more: u32) -> Vec<u8> {
    let tcp = Transport::behind(frame, inner(frame));
    let [high, low] = [8, 10].map(|at| u32::from(word(frame, tcp.begins + at)));
    let new = ((high << 16) | low).wrapping_add(more).to_be_bytes();
    let frame = with_word(frame, tcp, 8, u16::from_be_bytes([new[0], new[1]]));
    with_word(&frame, tcp, 10, u16::from_be_bytes([new[2], new[3]]))
}

/// The same TCP segment as a reset.
pub(super) fn resetting(frame: &[u8]) -> Vec<u8> {
    const RST: u16 = 0x04;
    let tcp = Transport::behind(frame, inner(frame));
    with_word(frame, tcp, 12, (word(frame, tcp.begins + 12) & 0xf000) | RST)
}
