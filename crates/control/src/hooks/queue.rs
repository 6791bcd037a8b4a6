//! Which hook runs next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hashbrown::HashMap;

use crate::event::{Event, Kind, Subject};

/// A hook that is to run for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which hook, by its place in the list.
    pub hook: usize,
    /// What happened.
    pub event: Event,
    /// How many earlier events of the same subject it stands for as well; `event.old` is what
    /// was before them.
    pub collapsed: u64,
}

/// What an event tells the last state of, to one hook.
type Key = (usize, Kind, Subject);

/// Hooks that wait, in the order of their events.
///
/// At most so many wait as it is told. What comes beyond them replaces the oldest one that the same
/// hook has a later event of the same subject of: that one then leads from the state before the
/// first of both. So the last state of every subject is told, whatever happens; and where no
/// subject waits twice, there are never more than there are subjects.
#[derive(Debug)]
pub struct Queue {
    most: usize,
    ticket: u64,
    jobs: BTreeMap<u64, Job>,
    /// The tickets of each subject, in order.
    subjects: HashMap<Key, VecDeque<u64>>,
    /// Those that have a successor.
    replaceable: BTreeSet<u64>,
}

impl Queue {
    /// An empty one.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            ticket: 0,
            jobs: BTreeMap::new(),
            subjects: HashMap::new(),
            replaceable: BTreeSet::new(),
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Takes a job; gives how many jobs were collapsed into later ones for it.
    pub fn push(&mut self, hook: usize, event: Event) -> u64 {
        self.ticket += 1;
        let tickets = self.subjects.entry(key(hook, &event)).or_default();
        self.replaceable.extend(tickets.back());
        tickets.push_back(self.ticket);
        self.jobs.insert(self.ticket, Job { hook, event, collapsed: 0 });
        let mut collapsed = 0;
        while self.jobs.len() > self.most && self.collapse() {
            collapsed += 1;
        }
        collapsed
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<Job> {
        let (ticket, job) = self.jobs.pop_first()?;
        self.leave(ticket, &job);
        Some(job)
    }

    /// Lets the oldest job go that has a successor; false if there is none.
    fn collapse(&mut self) -> bool {
        let Some(&ticket) = self.replaceable.first() else { return false };
        let Some(job) = self.jobs.remove(&ticket) else { return false };
        let successor = self.leave(ticket, &job).and_then(|next| self.jobs.get_mut(&next));
        if let Some(successor) = successor {
            successor.collapsed += job.collapsed + 1;
            successor.event.old = job.event.old;
            successor.event.initial = job.event.initial;
        }
        true
    }

    /// Forgets the ticket of a job that left, the first of its subject; gives the next one's.
    fn leave(&mut self, ticket: u64, job: &Job) -> Option<u64> {
        self.replaceable.remove(&ticket);
        let key = key(job.hook, &job.event);
        let tickets = self.subjects.get_mut(&key)?;
        let first = tickets.pop_front();
        debug_assert_eq!(first, Some(ticket));
        let next = tickets.front().copied();
        if next.is_none() {
            self.subjects.remove(&key);
        }
        next
    }
}

fn key(hook: usize, event: &Event) -> Key {
    (hook, event.kind, event.subject.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `0a+`: for hook 0, service a is what the sign says.
    fn push(queue: &mut Queue, states: &mut HashMap<u8, char>, word: &str) -> u64 {
        let [hook, service, sign] = *word.as_bytes() else { panic!("{word}") };
        let subject = Subject { service: Some(char::from(service).into()), ..Subject::default() };
        let new = char::from(sign);
        let old = states.insert(service, new).unwrap_or('?');
        let event = Event::new(Kind::Service, subject, old.to_string(), new.to_string());
        queue.push(usize::from(hook - b'0'), event)
    }

    /// `0a?+` for a job, with how many it stands for beside itself behind it, if any.
    fn drain(queue: &mut Queue) -> String {
        let mut words = Vec::new();
        while let Some(Job { hook, event, collapsed }) = queue.pop() {
            let service = event.subject.service.expect("one");
            let more = if collapsed > 0 { format!("*{collapsed}") } else { String::new() };
            words.push(format!("{hook}{service}{}{}{more}", event.old, event.new));
        }
        assert!(queue.subjects.is_empty() && queue.replaceable.is_empty());
        words.join(" ")
    }

    #[test]
    fn events_in_jobs_out() {
        let rows = [
            ("in order", 9, "0a+ 1a+ 0b- 0a-", "0a?+ 1a++ 0b?- 0a+-"),
            ("the oldest that has a successor goes", 2, "0a+ 0a- 0b-", "0a?-*1 0b?-"),
            ("its own, if that is the oldest", 2, "0b- 0a+ 0a-", "0b?- 0a?-*1"),
            ("again and again", 1, "0a+ 0a- 0a+ 0a- 0a+", "0a?+*4"),
            ("another hook is told by itself", 2, "0a+ 1b+ 1b- 0a-", "1b?-*1 0a?-*1"),
            ("the last state is never lost", 2, "0a+ 0b+ 0c+ 0d-", "0a?+ 0b?+ 0c?+ 0d?-"),
            ("more subjects than places", 2, "0a+ 0b+ 0c+ 0a- 0b-", "0c?+ 0a?-*1 0b?-*1"),
        ];
        for (name, most, events, expected) in rows {
            let (mut queue, mut states) = (Queue::new(most), HashMap::new());
            let collapsed: u64 =
                events.split(' ').map(|word| push(&mut queue, &mut states, word)).sum();
            let jobs = drain(&mut queue);
            assert_eq!(jobs, expected, "{name}");
            let told = jobs.split('*').skip(1).filter_map(|text| text[..1].parse::<u64>().ok());
            assert_eq!(collapsed, told.sum::<u64>(), "{name}");
        }
    }

    /// However many events come: each subject's chain of states has no hole, and ends in its last.
    #[test]
    fn chains_have_no_holes() {
        let (mut queue, mut states) = (Queue::new(5), HashMap::new());
        let mut told: HashMap<(usize, String), (String, u64)> = HashMap::new();
        let mut seed = 88_172_645_463_325_252_u64;
        let (mut pushed, mut jobs) = (0, 0);
        let mut next = |below: u64| {
            // xorshift64 (Marsaglia 2003).
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let mut take = |job: Job| {
            let service = job.event.subject.service.expect("one");
            let (last, count) = told.entry((job.hook, service)).or_default();
            assert!(last.is_empty() || *last == *job.event.old, "{last} {:?}", job.event.old);
            *last = job.event.new.into_owned();
            *count += job.collapsed + 1;
            jobs += 1;
        };
        for _ in 0..20_000 {
            // One hook a service: its states are told to it alone.
            let service = next(8) as u8;
            let sign = ['+', '-', '~'][next(3) as usize];
            let word = format!("{}{}{sign}", service % 3, char::from(b'a' + service));
            push(&mut queue, &mut states, &word);
            pushed += 1;
            assert!(queue.len() <= 8, "no more than there are subjects");
            if next(4) == 0 {
                queue.pop().into_iter().for_each(&mut take);
            }
        }
        while let Some(job) = queue.pop() {
            take(job);
        }
        assert!(jobs < pushed && told.values().map(|(_, count)| count).sum::<u64>() == pushed);
        for ((_, service), (last, _)) in told {
            assert_eq!(last, states[&service.as_bytes()[0]].to_string());
        }
    }
}
