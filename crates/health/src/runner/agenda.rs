//! What is to be asked, and when.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::{Duration, SystemTime},
};

use tokio::{task::AbortHandle, time::Instant};

use crate::{ServerId, check::Question};

/// Two checks with the same of these share their answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) question: Question,
    pub(super) interval: Duration,
    pub(super) retry: Duration,
}

/// The number of an item; never used twice.
pub(super) type ItemId = u64;

/// A question and who wants its answers.
pub(super) struct Item {
    pub(super) key: Key,
    /// Servers with the place of the check in their list.
    pub(super) subscribers: Vec<(ServerId, usize)>,
    /// When it is asked next.
    pub(super) due: Instant,
    /// Under way since then.
    pub(super) running: Option<(Instant, AbortHandle)>,
    /// It was due while all who ask it paused, and waits for nothing now.
    pub(super) passed_over: bool,
    /// The last answer: good or bad, in words, how long it took, when it came.
    pub(super) last: Option<(bool, String, Duration, SystemTime)>,
}

/// All items.
#[derive(Default)]
pub(super) struct Agenda {
    items: HashMap<ItemId, Item>,
    by_key: HashMap<Key, ItemId>,
    /// When items are due. One that was put off is in it more than once: what does not agree with
    /// the item is passed over.
    order: BinaryHeap<Reverse<(Instant, ItemId)>>,
    next: ItemId,
}

impl Agenda {
    /// A check of a server wants answers; `due` counts if nobody else asks that, or all who do
    /// pause.
    pub(super) fn subscribe(&mut self, key: &Key, who: (ServerId, usize), due: Instant) {
        if let Some(&id) = self.by_key.get(key) {
            let Some(item) = self.items.get_mut(&id) else { return };
            item.subscribers.push(who);
            if item.passed_over {
                self.put(id, due);
            }
            return;
        }
        self.next += 1;
        let id = self.next;
        let (key, subscribers) = (key.clone(), vec![who]);
        let item = Item { key, subscribers, due, running: None, passed_over: false, last: None };
        self.by_key.insert(item.key.clone(), id);
        self.items.insert(id, item);
        self.order.push(Reverse((due, id)));
    }

    /// A server wants no answers any more; what nobody wants ends, under way or not.
    pub(super) fn unsubscribe(&mut self, server: ServerId, key: &Key) {
        let Some(&id) = self.by_key.get(key) else { return };
        let Some(item) = self.items.get_mut(&id) else { return };
        item.subscribers.retain(|(who, _)| *who != server);
        if item.subscribers.is_empty() {
            if let Some((_, probe)) = &item.running {
                probe.abort();
            }
            self.items.remove(&id);
            self.by_key.remove(key);
        }
    }

    pub(super) fn get_mut(&mut self, id: ItemId) -> Option<&mut Item> {
        self.items.get_mut(&id)
    }

    pub(super) fn of(&self, key: &Key) -> Option<&Item> {
        self.items.get(self.by_key.get(key)?)
    }

    pub(super) fn id_of(&self, key: &Key) -> Option<ItemId> {
        self.by_key.get(key).copied()
    }

    /// Puts an item's time elsewhere.
    pub(super) fn put(&mut self, id: ItemId, due: Instant) {
        if let Some(item) = self.items.get_mut(&id) {
            (item.due, item.passed_over) = (due, false);
            self.order.push(Reverse((due, id)));
        }
    }

    /// When the next item is due.
    pub(super) fn first(&mut self) -> Option<Instant> {
        while let Some(&Reverse((due, id))) = self.order.peek() {
            if self.items.get(&id).is_some_and(|item| item.due == due && item.running.is_none()) {
                return Some(due);
            }
            self.order.pop();
        }
        None
    }

    /// The next item that is due by `now`, taken out of the order.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<ItemId> {
        let due = self.first().filter(|due| *due <= now)?;
        let Reverse((_, id)) = self.order.pop()?;
        debug_assert!(due <= now);
        Some(id)
    }
}
