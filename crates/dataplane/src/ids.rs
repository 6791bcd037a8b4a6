//! The identifications of packets that we originate or encapsulate.

/// IP identifications of one worker: its own residue class, so that two workers' never meet.
#[derive(Clone, Debug)]
pub struct Ids {
    first: u16,
    step: u16,
    /// The last ones given out.
    short: u16,
    long: u32,
}

impl Ids {
    /// For worker number `worker` of `workers`.
    pub const fn new(worker: usize, workers: usize) -> Self {
        let first = worker as u16;
        Self { first, step: workers as u16, short: first, long: first as u32 }
    }

    /// The next one of IPv4's size. Past the end it starts at the beginning again: wrapping
    /// would leave the class.
    pub const fn short(&mut self) -> u16 {
        self.short = match self.short.checked_add(self.step) {
            Some(next) => next,
            None => self.first,
        };
        self.short
    }

    /// The next one of IPv6's size.
    pub const fn long(&mut self) -> u32 {
        self.long = match self.long.checked_add(self.step as u32) {
            Some(next) => next,
            None => self.first as u32,
        };
        self.long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifications_of_workers_never_meet() {
        for workers in 1..=7 {
            for worker in 0..workers {
                let mut ids = Ids { long: u32::MAX - 8, ..Ids::new(worker, workers) };
                ids.long -= (ids.long - worker as u32) % workers as u32;
                for _ in 0..70_000 {
                    assert_eq!(usize::from(ids.short()) % workers, worker);
                    assert_eq!(ids.long() as usize % workers, worker);
                }
            }
        }
    }
}
