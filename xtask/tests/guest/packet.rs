//! Golden packets with another number in a header; the checksum follows (RFC 1624).

/// The same segment or datagram with another word in its TCP or UDP header, which begins at
/// `transport`.
pub(crate) fn with_word(frame: &[u8], transport: Transport, at: usize, new: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let (at, checksum) = (transport.begins + at, transport.begins + transport.checksum);
    // Equation 3: HC' = ~(~HC + ~m + m').
    let mut sum =
        u32::from(!word(&frame, checksum)) + u32::from(!word(&frame, at)) + u32::from(new);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from(sum).unwrap();
    frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
    frame[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// A big-endian word.
pub(crate) fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// Where a TCP or UDP header is, and its checksum in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport {
    /// From the beginning of the frame.
    pub(crate) begins: usize,
    checksum: usize,
}

impl Transport {
    /// The one behind the IP header that begins at `ip` and has no options.
    pub(crate) fn behind(frame: &[u8], ip: usize) -> Self {
        const TCP: u8 = 6;
        let (length, protocol) = match frame[ip] >> 4 {
            4 => (20, frame[ip + 9]),
            _ => (40, frame[ip + 6]),
        };
        Self { begins: ip + length, checksum: if protocol == TCP { 16 } else { 6 } }
    }
}

/// A plain frame of the same flow from another port of the client.
pub(crate) fn with_client_port(frame: &[u8], client_is_source: bool, port: u16) -> Vec<u8> {
    let at = if client_is_source { 0 } else { 2 };
    with_word(frame, Transport::behind(frame, 14), at, port)
}
