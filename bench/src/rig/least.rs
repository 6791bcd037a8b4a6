//! The least that a balancer does with a packet, which bounds what any can reach here: it is parsed,
//! its connection is found, and it is rewritten, with the daemon's parser, table and rewriting in the
//! worker's stages. Nothing is counted, aged, limited, routed or checked, and only UDP of IPv4 goes.

use std::io;

use dataplane::{
    forward::{Forward, Tunnel, Tuple, V4},
    packet::{Packet, Parsed, parse},
    rewrite,
    table::{Connection, Keys, Probe, Secret, Sight, Table, TableConfig, TemplateRef},
    tunnel::{self, Chosen, Ends, Path},
    wire::{Ip, ethernet},
};
use xsk::Frame;

use super::l2fwd::Work;

/// As in the worker.
const LOOKAHEAD: usize = 16;
/// Room for all flows of the rig.
const CONNECTIONS: usize = 1 << 21;
/// The box and the server.
const BOX: V4 = V4(u32::from_be_bytes([10, 0, 2, 1]));
const SERVER: V4 = V4(u32::from_be_bytes([10, 0, 2, 11]));
/// The first of FullNAT's local addresses: each flow has an address and port of its own.
const LOCAL: u32 = u32::from_be_bytes([10, 3, 0, 0]);

/// Connections by nobody's choice.
pub(super) struct Least {
    mode: Forward,
    tunnel: Path,
    table: Table<V4>,
    opened: u32,
    /// Of the burst.
    staged: Vec<(Parsed, u64)>,
    probes: Vec<Probe>,
}

impl Least {
    /// Without any connections.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new(mode: Forward) -> io::Result<Self> {
        let table = Table::new(TableConfig { capacity: CONNECTIONS, secret: Secret::random() })?;
        let tunnel = Path::new(Ends::V4(BOX, SERVER), Tunnel::Ipip, true);
        Ok(Self { mode, tunnel, table, opened: 0, staged: Vec::new(), probes: Vec::new() })
    }

    fn open(&mut self, tuple: Tuple<V4>) {
        let Tuple { src, dst, sport, dport, protocol } = tuple;
        let (local, lport) = match self.mode {
            Forward::FullNat => (V4(LOCAL + (self.opened >> 16)), self.opened as u16),
            _ => (src, sport),
        };
        self.opened += 1;
        let connection = Connection::<V4> {
            client: src,
            cport: sport,
            vip: dst,
            vport: dport,
            server: SERVER,
            rport: dport,
            local,
            lport,
            protocol,
            forward: self.mode,
            server_id: 0,
            flags: 0,
            keys: Keys::Both,
            template: TemplateRef::NONE,
        };
        self.table.insert(&connection, 1, 900, 1).expect("there is room");
    }

    fn rewrite(&self, packet: &Packet<V4>, seen: &Sight<V4>, frame: &mut Frame) {
        match self.mode {
            Forward::Nat | Forward::FullNat => {
                let new = seen.translated(packet.tuple.protocol);
                rewrite::translate(frame.bytes_mut(), packet, new);
            }
            Forward::Dr => V4::decrement_ttl(&mut frame.bytes_mut()[ethernet::LEN..]),
            Forward::Tun => {
                let chosen = Chosen { id: 0, dont_fragment: true, source_port: 0 };
                let end = tunnel::encapsulate(frame.room(), packet, &self.tunnel, chosen);
                frame.set_len(end.expect("a small packet"));
            }
        }
    }
}

impl Work for Least {
    fn look(&mut self, burst: &[Frame]) {
        for frame in burst.iter().take(LOOKAHEAD) {
            xsk::prefetch_packet(frame.bytes());
        }
        self.staged.clear();
        for (at, frame) in burst.iter().enumerate() {
            if let Some(ahead) = burst.get(at + LOOKAHEAD) {
                xsk::prefetch_packet(ahead.bytes());
            }
            let parsed = parse(frame.bytes());
            let hash = match &parsed {
                Parsed::V4(packet) => self.table.hash(&packet.tuple),
                _ => 0,
            };
            self.table.prefetch(hash);
            self.staged.push((parsed, hash));
        }
        self.probes.clear();
        self.probes.extend(self.staged.iter().map(|(_, hash)| self.table.probe(*hash)));
    }

    fn change(&mut self, at: usize, frame: &mut Frame) {
        let (Parsed::V4(packet), _) = &self.staged[at] else { return };
        if let Some(seen) = self.table.see(&self.probes[at], &packet.tuple) {
            return self.rewrite(packet, &seen, frame);
        }
        let tuple = packet.tuple;
        if self.table.find(&tuple).is_none() {
            self.open(tuple);
        }
    }
}
