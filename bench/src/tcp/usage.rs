//! What the CPUs did: of the ends, of the box, and of who forwards.

use std::{fs, io, time::Instant};

use serde::Serialize;

use super::{BOX, ENDS, way::Middle};
use crate::process::TICKS;

/// Seconds until now.
pub(super) struct Usage {
    at: Instant,
    ends: Cpu,
    middle: Cpu,
    work: Option<f64>,
}

/// What happened between two looks, in seconds.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Spent {
    /// CPU 0 was not idle.
    pub(super) ends: f64,
    /// CPU 1 was not idle.
    pub(super) middle: f64,
    /// Work of who forwards, if that can be told.
    pub(super) work: Option<f64>,
    /// The larger part of the two CPUs' time that the host gave to others, of 1.
    pub(super) stolen: f64,
}

/// Seconds without work, of which the kernel keeps an exact account; those of work are sampled.
#[derive(Clone, Copy)]
struct Cpu {
    idle: f64,
    stolen: f64,
}

impl Usage {
    /// Looks.
    ///
    /// # Errors
    /// Who forwards has ended.
    pub(super) fn now(middle: &Middle) -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let (at, work) = (Instant::now(), middle.work()?);
        Ok(Self { at, ends: Cpu::of(&stat, ENDS)?, middle: Cpu::of(&stat, BOX)?, work })
    }

    /// What happened since.
    ///
    /// # Errors
    /// As [`Self::now`].
    pub(super) fn since(&self, middle: &Middle) -> io::Result<Spent> {
        let now = Self::now(middle)?;
        let took = (now.at - self.at).as_secs_f64();
        let busy = |now: Cpu, then: Cpu| took - (now.idle - then.idle) - (now.stolen - then.stolen);
        let stolen = |now: Cpu, then: Cpu| (now.stolen - then.stolen) / took;
        Ok(Spent {
            ends: busy(now.ends, self.ends).max(0.0),
            middle: busy(now.middle, self.middle).max(0.0),
            work: now.work.zip(self.work).map(|(now, then)| now - then),
            stolen: stolen(now.ends, self.ends).max(stolen(now.middle, self.middle)),
        })
    }
}

impl Cpu {
    /// proc(5), `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
    fn of(stat: &str, cpu: usize) -> io::Result<Self> {
        let name = format!("cpu{cpu} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&name));
        let line = line.ok_or_else(|| io::Error::other(format!("no CPU {cpu}")))?;
        let ticks: Vec<f64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        match ticks.as_slice() {
            [_, _, _, idle, iowait, _, _, steal, ..] => {
                Ok(Self { idle: (idle + iowait) / TICKS, stolen: steal / TICKS })
            }
            _ => Err(io::Error::other("/proc/stat has another shape")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_stolen_time_of_each_cpu() -> io::Result<()> {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\n\
                    cpu0 100 0 50 700 40 1 2 30 0 0\n\
                    cpu1 1 2 3 4 5 6 7 8 0 0\n\
                    intr 1\n";
        let table = [(0, Some((7.4, 0.3))), (1, Some((0.09, 0.08))), (2, None)];
        for (cpu, expected) in table {
            let found = Cpu::of(stat, cpu).ok().map(|cpu| (cpu.idle, cpu.stolen));
            assert_eq!(found, expected, "CPU {cpu}");
        }
        Ok(())
    }
}
