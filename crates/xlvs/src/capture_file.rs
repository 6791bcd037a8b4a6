//! The frames of a capture file, pcap or pcapng.

use std::{fs::File, path::Path};

use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};

/// What a file has.
pub(crate) struct Frames {
    /// Whole Ethernet frames.
    pub(crate) frames: Vec<Vec<u8>>,
    /// There were more.
    pub(crate) more: bool,
}

/// Octets of the largest block.
const BLOCK: usize = 1 << 20;

/// Reads up to so many frames.
///
/// # Errors
/// It is no capture of Ethernet, or is broken; in one sentence.
pub(crate) fn read(path: &Path, most: usize) -> Result<Frames, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut reader = create_reader(BLOCK, file).map_err(|_| {
        "neither pcap nor pcapng; write one with tcpdump -w or xlvs capture -w".to_owned()
    })?;
    let mut found = Frames { frames: Vec::new(), more: false };
    // By interface of the section: its link type, and how much of a packet is kept.
    let mut links: Vec<Linktype> = Vec::new();
    loop {
        match reader.next() {
            Ok((octets, block)) => {
                take(block, &mut links, &mut found.frames)?;
                reader.consume(octets);
                if found.frames.len() > most {
                    found.frames.truncate(most);
                    found.more = true;
                    return Ok(found);
                }
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => match reader.refill() {
                Ok(()) => {}
                Err(error) => {
                    return Err(format!("broken after {} packets: {error}", found.frames.len()));
                }
            },
            Err(error) => {
                return Err(format!("broken after {} packets: {error}", found.frames.len()));
            }
        }
    }
    if found.frames.is_empty() {
        return Err("it has no packets".to_owned());
    }
    Ok(found)
}

fn take(
    block: PcapBlockOwned<'_>,
    links: &mut Vec<Linktype>,
    frames: &mut Vec<Vec<u8>>,
) -> Result<(), String> {
    use pcap_parser::Block;
    let (interface, data, len) = match block {
        PcapBlockOwned::LegacyHeader(header) => {
            *links = vec![header.network];
            return Ok(());
        }
        PcapBlockOwned::Legacy(packet) => (0, packet.data, packet.origlen),
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            links.clear();
            return Ok(());
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            links.push(interface.linktype);
            return Ok(());
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let kept = (packet.caplen as usize).min(packet.data.len());
            (packet.if_id as usize, &packet.data[..kept], packet.origlen)
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let kept = (packet.origlen as usize).min(packet.data.len());
            (0, &packet.data[..kept], packet.origlen)
        }
        PcapBlockOwned::NG(_) => return Ok(()),
    };
    if links.get(interface) != Some(&Linktype::ETHERNET) {
        return Err("not of Ethernet; capture on an Ethernet interface, not on \"any\"".to_owned());
    }
    if (data.len() as u64) < u64::from(len) {
        let (number, kept) = (frames.len() + 1, data.len());
        return Err(format!(
            "packet {number}: only {kept} of {len} octets are kept; capture whole packets (tcpdump -s 0)"
        ));
    }
    frames.push(data.to_vec());
    Ok(())
}
