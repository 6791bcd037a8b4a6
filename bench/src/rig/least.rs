//! The least that a balancer does with a packet, which bounds what any can reach here: it is parsed,
//! its connection is found, and it is rewritten, with the daemon's parser, table and rewriting in the
//! worker's stages. Nothing is counted, aged, limited, routed or checked, and only UDP of IPv4 goes.

use std::io;

use dataplane::{
    forward::{Forward, Tuple, V4},
    packet::{Packet, Parsed, parse},
    rewrite,
    table::{Connection, Keys, Probe, Secret, Table, TableConfig, TemplateRef},
    wire::{Ip, ethernet},
};
use xsk::Frame;

use super::l2fwd::Work;

/// As in the worker.
const LOOKAHEAD: usize = 16;
/// Room for all flows of the rig.
const CONNECTIONS: usize = 1 << 21;

/// Connections by nobody's choice.
pub(super) struct Least {
    mode: Forward,
    table: Table<V4>,
    /// Of the burst.
    staged: Vec<(Parsed, u64)>,
    probes: Vec<Probe>,
}

impl Least {
    /// Without any connections.
    ///
    /// # Errors
    /// No memory, or a mode that is none of NAT and DR.
    pub(super) fn new(mode: Forward) -> io::Result<Self> {
        if !matches!(mode, Forward::Nat | Forward::Dr) {
            let what = "the least is measured in nat and dr";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let table = Table::new(TableConfig { capacity: CONNECTIONS, secret: Secret::random() })?;
        Ok(Self { mode, table, staged: Vec::new(), probes: Vec::new() })
    }

    fn open(&self, tuple: Tuple<V4>) {
        let Tuple { src, dst, sport, dport, protocol } = tuple;
        let connection = Connection::<V4> {
            client: src,
            cport: sport,
            vip: dst,
            vport: dport,
            server: V4(u32::from_be_bytes([10, 0, 2, 11])),
            rport: dport,
            local: src,
            lport: sport,
            protocol,
            forward: self.mode,
            server_id: 0,
            flags: 0,
            keys: Keys::Both,
            template: TemplateRef::NONE,
        };
        self.table.insert(&connection, 1, 900, 1).expect("there is room");
    }

    fn rewrite(&self, packet: &Packet<V4>, probe: &Probe, frame: &mut Frame) {
        let Some(seen) = self.table.see(probe, &packet.tuple) else {
            if self.table.find(&packet.tuple).is_none() {
                self.open(packet.tuple);
            }
            return;
        };
        match self.mode {
            Forward::Nat => {
                let new = seen.translated(packet.tuple.protocol);
                rewrite::translate(frame.bytes_mut(), packet, new);
            }
            _ => V4::decrement_ttl(&mut frame.bytes_mut()[ethernet::LEN..]),
        }
    }
}

impl Work for Least {
    fn look(&mut self, burst: &[Frame]) {
        for frame in burst.iter().take(LOOKAHEAD) {
            xsk::prefetch_bytes(frame.bytes());
        }
        self.staged.clear();
        for (at, frame) in burst.iter().enumerate() {
            if let Some(ahead) = burst.get(at + LOOKAHEAD) {
                xsk::prefetch_bytes(ahead.bytes());
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
        if let (Parsed::V4(packet), _) = &self.staged[at] {
            self.rewrite(packet, &self.probes[at], frame);
        }
    }
}
