//! The last events, for who asks later, and for who follows.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use super::{Event, Kind};

/// How many events are kept.
pub const KEPT: usize = 1000;

/// The last events. Who follows reads at its own pace, from here: nobody is waited for, and what a
/// slow reader missed is said.
#[derive(Debug)]
pub struct Chronicle {
    kept: Mutex<VecDeque<Event>>,
    most: usize,
    /// The number of the last event.
    last: watch::Sender<u64>,
    /// How many there were, by kind.
    kinds: Mutex<HashMap<Kind, u64>>,
}

/// A line of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Line {
    /// An event.
    Event(Box<Event>),
    /// Events that are not kept any more.
    Gap(Gap),
}

/// Events that are not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gap {
    /// How many.
    pub missed: u64,
    /// The number of the last of them.
    pub until: u64,
}

impl Default for Chronicle {
    fn default() -> Self {
        Self::keeping(KEPT)
    }
}

impl Chronicle {
    /// An empty one that keeps so many events, at least one.
    pub fn keeping(most: usize) -> Self {
        Self {
            kept: Mutex::default(),
            most: most.max(1),
            last: watch::Sender::new(0),
            kinds: Mutex::default(),
        }
    }

    /// Takes an event and gives it its number.
    pub fn write(&self, event: &mut Event) {
        let mut kept = self.kept();
        event.sequence = *self.last.borrow() + 1;
        *self
            .kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(event.kind)
            .or_default() += 1;
        if kept.len() == self.most {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        self.last.send_replace(event.sequence);
    }

    /// What came after the event of that number: a gap if some of it is not kept any more, then
    /// the events. A number that was never given is an earlier daemon's: then all is new.
    pub fn after(&self, number: u64) -> Vec<Line> {
        let kept = self.kept();
        let number = if number > *self.last.borrow() { 0 } else { number };
        let first = kept.front().map_or(0, |event| event.sequence);
        let gap = first.checked_sub(number + 1).filter(|missed| *missed > 0);
        let gap = gap.map(|missed| Line::Gap(Gap { missed, until: first - 1 }));
        let events = kept.iter().filter(|event| event.sequence > number);
        gap.into_iter().chain(events.map(|event| Line::Event(Box::new(event.clone())))).collect()
    }

    /// How many events there were of each kind, by its word; kinds that never came are there.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |kind: &Kind| kinds.get(kind).copied().unwrap_or_default();
        Kind::ALL.iter().map(|kind| (kind.name().to_owned(), count(kind))).collect()
    }

    /// Rings with every event.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Subject;

    #[test]
    fn the_last_ones_are_kept_and_a_gap_is_said() {
        let chronicle = Chronicle::keeping(3);
        assert_eq!(chronicle.after(0), []);
        let bell = chronicle.bell();
        for number in 1..=5 {
            let mut event = Event::new(Kind::Director, Subject::default(), "", "");
            chronicle.write(&mut event);
            assert_eq!((event.sequence, *bell.borrow()), (number, number));
        }
        // What was read last, what is missing then, what comes.
        let rows: [(u64, Option<Gap>, &[u64]); 6] = [
            (0, Some(Gap { missed: 2, until: 2 }), &[3, 4, 5]),
            (1, Some(Gap { missed: 1, until: 2 }), &[3, 4, 5]),
            (2, None, &[3, 4, 5]),
            (4, None, &[5]),
            (5, None, &[]),
            (9, Some(Gap { missed: 2, until: 2 }), &[3, 4, 5]),
        ];
        for (read, gap, numbers) in rows {
            let lines = chronicle.after(read);
            let gaps = lines.iter().filter_map(|line| match line {
                Line::Gap(gap) => Some(*gap),
                Line::Event(_) => None,
            });
            assert_eq!(gaps.collect::<Vec<_>>(), gap.into_iter().collect::<Vec<_>>(), "{read}");
            let events = lines.iter().filter_map(|line| match line {
                Line::Event(event) => Some(event.sequence),
                Line::Gap(_) => None,
            });
            assert_eq!(events.collect::<Vec<_>>(), numbers, "{read}");
        }
    }
}
