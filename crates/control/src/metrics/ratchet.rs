//! Counters whose source begins anew within the daemon's life: a socket that was opened again, the
//! checks of a server that came back.

use std::collections::HashMap;

/// What was shown of such counters. A number that is less than the last one has begun anew: what
/// it had is added to what it has, so what is shown never goes back.
#[derive(Debug)]
pub struct Ratchets {
    shown: HashMap<String, Ratchet>,
    most: usize,
    page: u64,
}

#[derive(Debug, Default)]
struct Ratchet {
    base: u64,
    last: u64,
    /// The page that it was on last.
    page: u64,
}

impl Default for Ratchets {
    fn default() -> Self {
        Self::remembering(1 << 20)
    }
}

impl Ratchets {
    /// Remembers so many series, those that were shown last.
    pub fn remembering(most: usize) -> Self {
        Self { shown: HashMap::new(), most, page: 0 }
    }

    /// A page begins.
    pub(super) const fn begin(&mut self) {
        self.page += 1;
    }

    /// A page is done: what has not been shown for longest is forgotten, if it is too much.
    pub(super) fn end(&mut self) {
        let surplus = self.shown.len().saturating_sub(self.most);
        if surplus == 0 {
            return;
        }
        let mut pages: Vec<u64> = self.shown.values().map(|ratchet| ratchet.page).collect();
        let (_, oldest, _) = pages.select_nth_unstable(surplus - 1);
        let oldest = *oldest;
        self.shown.retain(|_, ratchet| ratchet.page > oldest || ratchet.page == self.page);
    }

    /// What to show of a series that is at `value`.
    pub(super) fn turn(&mut self, series: &str, value: u64) -> u64 {
        let ratchet = match self.shown.get_mut(series) {
            Some(ratchet) => ratchet,
            None => self.shown.entry(series.to_owned()).or_default(),
        };
        if value < ratchet.last {
            ratchet.base += ratchet.last;
        }
        (ratchet.last, ratchet.page) = (value, self.page);
        ratchet.base + value
    }
}

#[cfg(test)]
mod tests {
    use super::Ratchets;

    #[test]
    fn what_begins_anew_goes_on() {
        let mut ratchets = Ratchets::default();
        let rows = [(0, 0), (5, 5), (7, 7), (2, 9), (2, 9), (8, 15), (0, 15), (1, 16)];
        for (value, shown) in rows {
            assert_eq!(ratchets.turn("a", value), shown);
        }
        assert_eq!(ratchets.turn("b", 3), 3);
    }

    #[test]
    fn who_was_not_seen_for_longest_is_forgotten() {
        let mut ratchets = Ratchets::remembering(2);
        for names in [["a", "b"], ["b", "c"], ["c", "d"]] {
            ratchets.begin();
            for name in names {
                ratchets.turn(name, 5);
            }
            ratchets.end();
        }
        assert_eq!(ratchets.shown.len(), 2);
        assert_eq!((ratchets.turn("a", 1), ratchets.turn("c", 1)), (1, 6));
    }
}
