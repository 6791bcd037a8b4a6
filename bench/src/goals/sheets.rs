//! Figures out of the sheets of a run.

use std::io;

use super::figure::Figure;
use crate::{
    machine::Machine,
    sheet::{Guest, Inprocess, Rig, Run, origin},
};

/// Those that goals are measured by, as far as the run has them.
pub(super) struct Sheets {
    inprocess: Option<Inprocess>,
    pub(super) rig: Option<Rig>,
    pub(super) nftables: Option<Rig>,
    /// The least that a balancer does.
    pub(super) least: Option<Rig>,
    guest: Option<Guest>,
}

impl Sheets {
    /// Reads them.
    ///
    /// # Errors
    /// One is broken.
    pub(super) fn read(run: &Run) -> io::Result<Self> {
        Ok(Self {
            inprocess: run.sheet("inprocess")?,
            rig: run.sheet("rig")?,
            nftables: run.sheet("rig-nftables-xlvs")?,
            least: run.sheet("rig-l2fwd-least")?,
            guest: run.sheet("guest")?,
        })
    }

    /// Where the figures are from: parts can be run alone, so not all need be of one commit.
    pub(super) fn origins(&self) -> Vec<String> {
        let machines: [(&str, Option<&Machine>); 5] = [
            ("inprocess", self.inprocess.as_ref().map(|sheet| &sheet.machine)),
            ("rig", self.rig.as_ref().map(|sheet| &sheet.machine)),
            ("nftables", self.nftables.as_ref().map(|sheet| &sheet.machine)),
            ("least", self.least.as_ref().map(|sheet| &sheet.machine)),
            ("guest", self.guest.as_ref().map(|sheet| &sheet.machine)),
        ];
        let mut origins: Vec<(String, Vec<&str>)> = Vec::new();
        for (kind, machine) in machines {
            let Some(origin) = machine.map(origin) else { continue };
            match origins.iter_mut().find(|(known, _)| *known == origin) {
                Some((_, kinds)) => kinds.push(kind),
                None => origins.push((origin, vec![kind])),
            }
        }
        match origins.as_slice() {
            [(origin, _)] => vec![origin.clone()],
            _ => origins.iter().map(|(of, kinds)| format!("{}: {of}", kinds.join(", "))).collect(),
        }
    }

    /// Nanoseconds of one bench of `inprocess`: the quickest window.
    pub(super) fn ns(&self, name: &str) -> Option<Figure> {
        Some(Figure::quickest(&self.inprocess.as_ref()?.ns(name)?.windows))
    }

    /// Packets of two workers on one table over those on a table each: the windows of the two
    /// alternate, so each pair gives a ratio. Where two threads meet, no window is undisturbed.
    pub(super) fn workers(&self, kind: &str) -> Option<Figure> {
        let sheet = self.inprocess.as_ref()?;
        let windows = |tables| sheet.ns(&format!("workers {kind} {tables} nat v4 tcp 64k"));
        let both = windows("separate")?.windows.iter().zip(&windows("shared")?.windows);
        Some(Figure::median(&both.map(|(separate, shared)| separate / shared).collect::<Vec<_>>()))
    }

    /// The share of established packets that a flood of ten times as many SYNs leaves.
    pub(super) fn goodput(&self, kind: &str, offered: f64) -> Option<Figure> {
        let mut rows = self.inprocess.as_ref()?.goodput.iter();
        let row = rows.find(|row| row.name.ends_with(kind) && row.offered == offered)?;
        Some(Figure::median(&row.share.windows))
    }

    /// Established packets and connections that xlvs lost in all floods.
    pub(super) fn lost(&self) -> Option<Figure> {
        let goodput = &self.inprocess.as_ref()?.goodput;
        let lost: u64 = goodput.iter().map(|row| row.lost).sum();
        (!goodput.is_empty()).then(|| Figure::exact(lost as f64))
    }

    /// Octets of the table a connection.
    pub(super) fn octets(&self, family: &str) -> Option<Figure> {
        let row = self.inprocess.as_ref()?.memory.iter().find(|row| row.family == family)?;
        Some(Figure::exact(row.table))
    }

    /// Microseconds of the longest breath of all kinds. Wall time has what the machine did beside,
    /// which a thousandth of the breaths is enough for: the lower bound is without that.
    pub(super) fn longest_breath(&self) -> Option<Figure> {
        let breaths = &self.inprocess.as_ref()?.breaths;
        let microseconds = |nanos: Option<u64>| Some(nanos? as f64 / 1e3);
        let longest = microseconds(breaths.iter().map(|row| row.longest_ns).max())?;
        let low = microseconds(breaths.iter().map(|row| row.p999_ns).max())?;
        Some(Figure { value: longest, low, high: longest })
    }

    /// The median of the pairs' ratios in a rig's sheet, of frames of 64 octets.
    pub(super) fn pairs(sheet: Option<&Rig>, mode: &str, flows: u32, sink: &str) -> Option<Figure> {
        let row = sheet?.rows.iter().find(|row| {
            row.mode == mode && row.octets == 64 && row.flows == flows && row.sink == sink
        })?;
        Some(Figure::median(&row.ratio.windows))
    }

    /// Instructions of one forwarder over those of another one, in the guest with 1 k connections.
    /// Each is in a guest of its own.
    pub(super) fn in_guest(&self, [over, under]: [&str; 2], mode: &str) -> Option<Figure> {
        let rows = &self.guest.as_ref()?.rows;
        let instructions = |forwarder: &str| {
            let row = rows.iter().find(|row| {
                let same = row.mode.is_empty() || row.mode == mode;
                row.forwarder == forwarder && row.connections == 1024 && same
            })?;
            Some(Figure::median(&row.instructions.windows))
        };
        Some(instructions(over)?.over(instructions(under)?))
    }
}
