//! Curves of a run, as SVG beside its raw figures.

mod axis;
mod latency;
mod packets;
mod picture;
mod throughput;

use std::{fs, io, path::PathBuf};

use self::picture::Picture;
use crate::sheet::Run;

/// Of which run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A directory of `bench/runs`; the newest one if none is named
    run: Option<PathBuf>,
}

/// A picture that a run may have.
pub(crate) struct Plot {
    /// Its file's name, without the ending.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) shows: &'static str,
    /// The sheet that it is drawn from.
    sheet: &'static str,
    draw: fn(&Run) -> io::Result<Option<Picture>>,
}

/// All, in the order in which README shows them.
pub(crate) const PLOTS: [Plot; 4] = [
    Plot {
        name: "packets",
        shows: "nanoseconds a packet by connections, in one process",
        sheet: "inprocess.json",
        draw: packets::picture,
    },
    Plot {
        name: "throughput",
        shows: "million packets a second by connections: xlvs, a bare AF_XDP loop and nftables",
        sheet: "rig.json",
        draw: |run| throughput::picture(run, "plain"),
    },
    Plot {
        name: "throughput-xdp",
        shows: "the same with an XDP program at the sink",
        sheet: "rig.json (rows with the sink xdp)",
        draw: |run| throughput::picture(run, "xdp"),
    },
    Plot {
        name: "latency",
        shows: "latency by requests a second: xlvs, HAProxy, nginx and nothing",
        sheet: "tcp.json",
        draw: latency::picture,
    },
];

impl Plot {
    /// Draws it; none if the run has no figures for it.
    ///
    /// # Errors
    /// A sheet cannot be read.
    pub(crate) fn svg(&self, run: &Run) -> io::Result<Option<String>> {
        (self.draw)(run)?.map(|picture| picture.svg()).transpose()
    }

    /// The file's name.
    pub(crate) fn file(&self) -> String {
        format!("{}.svg", self.name)
    }
}

/// Draws all that the run has figures for.
///
/// # Errors
/// There is no run, a sheet in it is broken, or a file cannot be written.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    draw(&Run::named_or_newest(options.run.as_deref())?)
}

/// As [`run`].
pub(crate) fn draw(run: &Run) -> io::Result<()> {
    for plot in &PLOTS {
        let file = run.directory().join(plot.file());
        match plot.svg(run)? {
            Some(svg) => {
                fs::write(&file, svg)?;
                println!("{}", file.display());
            }
            None => println!("{} is left out: no {}", plot.file(), plot.sheet),
        }
    }
    Ok(())
}

/// A number of connections.
fn connections(count: f64) -> String {
    const KILO: f64 = 1024.0;
    // Powers of two and round numbers are named alike.
    let name = |count: f64, letter| format!("{count:.0} {letter}");
    match count {
        million if million >= 1e6 => name((million / 1e6).floor(), "M"),
        round if round >= 1e3 && round % 1e3 == 0.0 => name(round / 1e3, "k"),
        binary if binary >= 1e3 => name(binary / KILO, "k"),
        _ => format!("{count:.0}"),
    }
}

#[cfg(test)]
mod tests;
