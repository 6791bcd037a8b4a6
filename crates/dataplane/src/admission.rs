//! What opening connections of one service changes: its scheduler and the list that this
//! picks from. Under the service's lock, so that many workers pick exactly as one.

use sched::{Candidate, Change, Plan, Scheduler};

/// The state of one service.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The scheduler with its state.
    pub scheduler: Scheduler,
    /// Its servers as the scheduler sees them, in scheduling order. Not the snapshot's list: a
    /// worker's snapshot may be older than the scheduler's last change.
    pub candidates: Vec<Candidate>,
    random: u64,
    /// The servers that took connections when the list last changed, by id.
    serving: Vec<u32>,
}

impl Admission {
    /// For a new service. `grown`: as if its servers had been added one by one, the last of the
    /// list first, as the kernel's are.
    pub fn new(plan: Plan, candidates: Vec<Candidate>, grown: bool) -> Self {
        let make = if grown { Scheduler::grown } else { Scheduler::new };
        Self { scheduler: make(plan, &candidates), candidates, random: 1, serving: vec![] }
    }

    /// A number for schedulers that throw dice: xorshift64* (Vigna 2016).
    pub const fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The first half of a change of the list: what is not in `wanted`, or has another place in
    /// it, goes; what stays becomes as it is there. Then the snapshot is published, so that
    /// every worker knows what [`Admission::enlist`] brings.
    pub fn retire(&mut self, plan: Plan, wanted: &[Candidate]) {
        let mut kept = 0;
        let mut at = 0;
        while at < self.candidates.len() {
            let here = self.candidates[at];
            let same = |other: &Candidate| identity(other) == identity(&here);
            match wanted[kept..].iter().position(same) {
                Some(further) => {
                    kept += further + 1;
                    self.edit(at, wanted[kept - 1]);
                    at += 1;
                }
                None => {
                    self.candidates.remove(at);
                    self.scheduler.changed(&self.candidates, Change::Removed(at));
                }
            }
        }
        if plan != self.scheduler.plan() {
            self.scheduler = Scheduler::new(plan, &self.candidates);
        }
        self.scheduler.settle(&self.candidates);
    }

    /// After [`Admission::retire`] and after [`Admission::enlist`]: true if a server takes
    /// connections that did not before. One that only has another place in the list stays.
    pub fn joined(&mut self, wanted: &[Candidate]) -> bool {
        let open = |c: &&Candidate| c.up && !c.drained && c.weight > 0;
        let sorted = |list: &[Candidate]| {
            let mut ids: Vec<u32> = list.iter().filter(open).map(|c| c.id).collect();
            ids.sort_unstable();
            ids
        };
        let (now, soon) = (sorted(&self.candidates), sorted(wanted));
        let joined = now.iter().any(|id| self.serving.binary_search(id).is_err());
        self.serving.retain(|id| soon.binary_search(id).is_ok());
        self.serving.extend(now);
        self.serving.sort_unstable();
        self.serving.dedup();
        joined
    }

    fn edit(&mut self, at: usize, new: Candidate) {
        let old = std::mem::replace(&mut self.candidates[at], new);
        // Schedulers see health and slow start in the list itself.
        let edited = |server: &Candidate| (server.weight, server.drained, server.edition);
        if edited(&old) != edited(&new) {
            self.scheduler.changed(&self.candidates, Change::Edited(at));
        }
    }

    /// The second half: adds what is missing, the last of the list first.
    pub fn enlist(&mut self, wanted: &[Candidate]) {
        for (behind, candidate) in wanted.iter().rev().enumerate() {
            let end = self.candidates.len() - behind;
            let here = end.checked_sub(1).map(|at| &self.candidates[at]);
            if here.is_none_or(|here| identity(here) != identity(candidate)) {
                self.candidates.insert(end, *candidate);
                self.scheduler.changed(&self.candidates, Change::Added(end));
            }
        }
        self.scheduler.settle(&self.candidates);
    }
}

/// What makes two candidates the same server.
fn identity(candidate: &Candidate) -> (u32, std::net::IpAddr, u16) {
    (candidate.id, candidate.address, candidate.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: u32, weight: u32) -> Candidate {
        Candidate::new(id, [10, 0, 0, id as u8].into(), 80, weight)
    }

    #[test]
    fn who_takes_connections_again_joins() {
        let plan = Plan::new(sched::Kind::Lc);
        let mut admission = Admission::new(plan, vec![server(1, 1), server(2, 0)], false);
        let list = admission.candidates.clone();
        assert!(admission.joined(&list), "all are new");
        let down = Candidate { up: false, ..server(1, 1) };
        let drained = Candidate { drained: true, ..server(1, 1) };
        // What is wanted, and whether its first and second half bring somebody.
        let steps: [(&[Candidate], [bool; 2]); 10] = [
            (&[server(1, 1), server(2, 0)], [false, false]),
            (&[server(1, 5), server(2, 1)], [true, false]),
            (&[server(2, 1), server(1, 5)], [false, false]),
            (&[server(2, 1), down], [false, false]),
            (&[server(2, 1), server(1, 1)], [true, false]),
            (&[server(2, 1), drained], [false, false]),
            (&[server(2, 1)], [false, false]),
            (&[server(1, 1), server(2, 1)], [false, true]),
            (&[server(3, 0), server(1, 1), server(2, 1)], [false, false]),
            (&[server(3, 1), server(1, 1), server(2, 1)], [true, false]),
        ];
        for (at, (wanted, expected)) in steps.into_iter().enumerate() {
            admission.retire(plan, wanted);
            let first = admission.joined(wanted);
            admission.enlist(wanted);
            assert_eq!([first, admission.joined(wanted)], expected, "step {at}");
        }
    }

    #[test]
    fn a_list_becomes_the_wanted_one() {
        let lists: [&[(u32, u32)]; 9] = [
            &[],
            &[(1, 1)],
            &[(1, 1), (2, 1), (3, 1)],
            &[(3, 1), (2, 5), (1, 1)],
            &[(2, 1)],
            &[(4, 1), (2, 1), (5, 1)],
            &[(5, 1), (4, 2)],
            &[(6, 0), (5, 1), (7, 1), (4, 2), (8, 1)],
            &[(9, 1)],
        ];
        for from in lists {
            for to in lists {
                let list = |rows: &[(u32, u32)]| rows.iter().map(|r| server(r.0, r.1)).collect();
                let (start, wanted): (Vec<_>, Vec<_>) = (list(from), list(to));
                let plan = Plan::new(sched::Kind::Wrr);
                let mut admission = Admission::new(plan, start, false);
                admission.retire(plan, &wanted);
                assert!(admission.candidates.iter().all(|kept| wanted.contains(kept)));
                admission.enlist(&wanted);
                assert_eq!(admission.candidates, wanted, "{from:?} to {to:?}");
            }
        }
    }
}
