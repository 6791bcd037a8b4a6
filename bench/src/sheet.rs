//! The files of a run, as far as the table of goals and the curves read them; what else is in a
//! file is passed over, so that they read older runs, too.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use crate::{machine::Machine, measure::Figures};

/// A directory of `bench/runs`.
pub(crate) struct Run {
    directory: PathBuf,
}

impl Run {
    /// The one that is named, or the newest.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn named_or_newest(named: Option<&Path>) -> io::Result<Self> {
        let Some(named) = named else { return Self::newest() };
        if !named.is_dir() {
            let why = format!("{}: no directory of a run", named.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        Ok(Self { directory: named.to_owned() })
    }

    fn newest() -> io::Result<Self> {
        let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs");
        let entries = fs::read_dir(&runs)?.filter_map(|entry| Some(entry.ok()?.path()));
        let newest = entries.filter(|path| path.is_dir()).max();
        let none = || io::Error::other(format!("{}: no run: cargo xtask bench", runs.display()));
        Ok(Self { directory: newest.ok_or_else(none)? })
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The sheet of a kind of bench; none if that part was not run.
    ///
    /// # Errors
    /// It cannot be read, or is no such sheet.
    pub(crate) fn sheet<T: DeserializeOwned>(&self, kind: &str) -> io::Result<Option<T>> {
        let file = self.directory.join(format!("{kind}.json"));
        let about = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("{}: {error}; run that bench again", file.display()))
        };
        match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| about(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(about(&error)),
        }
    }
}

/// Where the figures of a sheet are from, in a line.
pub(crate) fn origin(machine: &Machine) -> String {
    let Machine { cpu, cpus, kernel, commit, date, .. } = machine;
    format!("{cpu}, {cpus} CPUs, kernel {kernel}, commit {commit}, {date}")
}

/// `inprocess.json`.
#[derive(Deserialize)]
pub(crate) struct Inprocess {
    pub(crate) machine: Machine,
    rows: Vec<Bench>,
    #[serde(default)]
    pub(crate) goodput: Vec<Goodput>,
    #[serde(default)]
    pub(crate) breaths: Vec<Breath>,
    #[serde(default)]
    pub(crate) memory: Vec<Memory>,
}

/// A line of it.
#[derive(Deserialize)]
struct Bench {
    name: String,
    ns: Figures,
}

/// What a flood leaves of established connections.
#[derive(Deserialize)]
pub(crate) struct Goodput {
    pub(crate) name: String,
    /// Packets a second.
    pub(crate) offered: f64,
    pub(crate) share: Figures,
    /// Established packets that were dropped, and connections.
    pub(crate) lost: u64,
}

/// Breaths of one kind, as long as they may be.
#[derive(Deserialize)]
pub(crate) struct Breath {
    /// Of wall time.
    pub(crate) longest_ns: u64,
    /// A thousandth of them was longer.
    pub(crate) p999_ns: u64,
}

/// What a connection takes.
#[derive(Deserialize)]
pub(crate) struct Memory {
    /// `ipv4` or `ipv6`.
    pub(crate) family: String,
    /// Octets of the table.
    pub(crate) table: f64,
}

impl Inprocess {
    /// The windows of one bench, in nanoseconds.
    pub(crate) fn ns(&self, name: &str) -> Option<&Figures> {
        self.rows.iter().find(|row| row.name == name).map(|row| &row.ns)
    }
}

/// `rig.json`, `rig-nftables-xlvs.json`.
#[derive(Deserialize)]
pub(crate) struct Rig {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Pairs>,
}

/// Two forwarders in turns.
#[derive(Deserialize)]
pub(crate) struct Pairs {
    pub(crate) mode: String,
    pub(crate) octets: usize,
    pub(crate) flows: u32,
    pub(crate) sink: String,
    /// The second over the first.
    pub(crate) ratio: Figures,
    /// Of the first, of the second.
    pub(crate) windows: [Vec<Window>; 2],
}

#[derive(Deserialize)]
pub(crate) struct Window {
    /// Million packets a second.
    pub(crate) sent: f64,
}

/// `tcp.json`.
#[derive(Deserialize)]
pub(crate) struct Tcp {
    pub(crate) machine: Machine,
    pub(crate) latencies: Vec<Latency>,
}

/// A way at a load.
#[derive(Deserialize)]
pub(crate) struct Latency {
    pub(crate) way: String,
    /// Percent of the rate that the way holds.
    pub(crate) load: u32,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p50_us: Figures,
    pub(crate) p99_us: Figures,
    pub(crate) p999_us: Figures,
}

/// `guest.json`.
#[derive(Deserialize)]
pub(crate) struct Guest {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Counted>,
}

/// A forwarder in the guest.
#[derive(Deserialize)]
pub(crate) struct Counted {
    pub(crate) forwarder: String,
    pub(crate) mode: String,
    pub(crate) connections: u64,
    /// A packet.
    pub(crate) instructions: Figures,
}
