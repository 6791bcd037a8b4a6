//! A server: what its checks together say of it, and whether it is held down because it comes
//! and goes.

use std::time::Duration;

use crate::{
    ServerId,
    check::{Check, Require},
    event::Health,
    outcome::Outcome,
    streak::Streak,
};

/// A server and how it is looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub server: ServerId,
    /// What it is asked; without checks it is up.
    pub checks: Vec<Check>,
    /// How many of them must be up.
    pub require: Require,
    /// What holds it down if it comes and goes.
    pub damping: Option<Damping>,
    /// What an earlier run or configuration knew of it.
    pub known: Option<Health>,
}

/// Holds a server down that comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Damping {
    /// More than so many times down ...
    pub changes: u32,
    /// ... within this time ...
    pub within: Duration,
    /// ... and it stays down until it has been well for this long.
    pub hold: Duration,
}

/// A change of a server's health or of the weight that its checks give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is now.
    pub health: Health,
    /// The weight that its exec and file checks that are up give it together.
    pub weight: Option<u32>,
    /// Why, in words.
    pub why: String,
}

/// What is known of a server. Time is what has passed since any fixed moment.
#[derive(Clone, Debug)]
pub struct State {
    checks: Vec<Checked>,
    require: Require,
    damping: Option<Damping>,
    /// What the checks together say.
    raw: Health,
    /// Since when they say so.
    since: Duration,
    /// When they went down lately.
    downs: Vec<Duration>,
    held: bool,
    /// What was told last.
    told: (Health, Option<u32>),
}

/// One check of it.
#[derive(Clone, Debug)]
pub struct Checked {
    name: String,
    /// Its answers.
    pub streak: Streak,
    /// The last answer in words.
    pub text: String,
    /// What its last good answer said.
    weight: Option<u32>,
}

impl State {
    /// Before any answer.
    pub fn new(member: &Member, now: Duration) -> Self {
        let checked = |check: &Check| Checked {
            name: check.name.clone(),
            streak: Streak::new(&check.timing, member.known),
            text: String::new(),
            weight: None,
        };
        let mut state = Self {
            checks: member.checks.iter().map(checked).collect(),
            require: member.require,
            damping: member.damping,
            raw: Health::Waiting,
            since: now,
            downs: Vec::new(),
            held: false,
            told: (Health::Waiting, None),
        };
        state.raw = state.together();
        state.told = (state.raw, None);
        state
    }

    /// What is told of it before the first answer.
    pub fn first(&self) -> Change {
        let why = match (self.checks.is_empty(), self.raw) {
            (true, _) => "no check is configured",
            (_, Health::Waiting) => "waits for the first answer",
            (..) => "as it was known before",
        };
        Change { health: self.raw, weight: None, why: why.to_owned() }
    }

    /// What it is, damping included.
    pub const fn health(&self) -> Health {
        if self.held { Health::Down } else { self.raw }
    }

    /// Held down because it comes and goes.
    pub const fn held(&self) -> bool {
        self.held
    }

    /// Its checks, in order.
    pub fn checks(&self) -> &[Checked] {
        &self.checks
    }

    /// Takes an answer to a check, by its place in the member's list.
    pub fn take(&mut self, check: usize, outcome: &Outcome, now: Duration) -> Option<Change> {
        let checked = self.checks.get_mut(check)?;
        checked.streak.take(outcome.verdict.is_ok());
        match &outcome.verdict {
            Ok(good) => (checked.text, checked.weight) = (good.text.clone(), good.weight),
            // Until it is down, what it said last holds.
            Err(bad) => checked.text.clone_from(&bad.text),
        }
        self.look(now);
        let now_told = (self.health(), self.weight());
        if std::mem::replace(&mut self.told, now_told) == now_told {
            return None;
        }
        Some(Change { health: now_told.0, weight: now_told.1, why: self.why() })
    }

    /// Sees what the checks say now, and whether damping begins or ends.
    fn look(&mut self, now: Duration) {
        let raw = self.together();
        let turned = raw != self.raw;
        if turned {
            (self.raw, self.since) = (raw, now);
        }
        let Some(damping) = self.damping else { return };
        if turned && raw == Health::Down {
            let recent = |down: &Duration| now.saturating_sub(*down) <= damping.within;
            self.downs.retain(recent);
            self.downs.push(now);
            self.held |= self.downs.len() > damping.changes as usize;
        } else if self.held && raw == Health::Up && now.saturating_sub(self.since) >= damping.hold {
            // Forgiven: it counts anew.
            self.held = false;
            self.downs.clear();
        }
    }

    fn together(&self) -> Health {
        let count = |health| self.checks.iter().filter(|c| c.streak.health() == health).count();
        let all = self.checks.len();
        let needed = match self.require {
            Require::All => all,
            Require::Any => 1.min(all),
            Require::AtLeast(count) => all.min(count as usize),
        };
        if count(Health::Up) >= needed {
            Health::Up
        } else if all - count(Health::Down) < needed {
            Health::Down
        } else {
            Health::Waiting
        }
    }

    fn weight(&self) -> Option<u32> {
        let up = self.checks.iter().filter(|checked| checked.streak.health() == Health::Up);
        let weights = up.filter_map(|checked| checked.weight);
        weights.fold(None, |sum, weight| Some(sum.unwrap_or(0u32).saturating_add(weight)))
    }

    /// Why it is what it is: the first check that says so.
    fn why(&self) -> String {
        let health = self.health();
        if let (true, Health::Up, Some(damping)) = (self.held, self.raw, self.damping) {
            let seconds = damping.hold.as_secs();
            return format!("comes and goes; held down until it is well for {seconds} s");
        }
        let says = self.checks.iter().find(|checked| checked.streak.health() == health);
        says.map_or_else(String::new, |checked| format!("{}: {}", checked.name, checked.text))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        check::{Initial, Probe, Question, Target, Timing, Via},
        outcome::{Bad, Good, Kind},
    };

    fn check(name: &str, initial: Initial) -> Check {
        let target = Target {
            address: [10, 0, 0, 1].into(),
            port: 80,
            source: None,
            interface: None,
            via: Via::Direct,
        };
        let timeout = Duration::from_secs(1);
        Check {
            name: name.to_owned(),
            question: Question { probe: Arc::new(Probe::Ping), target, timeout },
            timing: Timing { rise: 1, fall: 1, initial, ..Timing::default() },
        }
    }

    fn member(checks: usize, require: Require, damping: Option<Damping>) -> Member {
        let names = ["a", "b", "c"];
        let checks = names[..checks].iter().map(|name| check(name, Initial::Wait)).collect();
        Member { server: 1, checks, require, damping, known: None }
    }

    fn answer(good: bool, weight: Option<u32>) -> Outcome {
        let verdict = match good {
            true => Ok(Good { text: "fine".to_owned(), weight }),
            false => Err(Bad::new(Kind::Refused, "connection refused")),
        };
        Outcome { verdict, took: Duration::ZERO }
    }

    /// Answers as `a+`, and the health after each.
    #[test]
    fn checks_together() {
        let rows: [(Require, &str, &str); 5] = [
            (Require::All, "a+ b+ c+ b- b+", "wwudu"),
            (Require::All, "a- b+ c+", "ddd"),
            (Require::Any, "a- b- c- b+ b-", "wwdud"),
            (Require::AtLeast(2), "a+ b+ b- c- a- b+ a+", "wuwdddu"),
            (Require::AtLeast(9), "a+ b+ c+", "wwu"),
        ];
        for (require, answers, expected) in rows {
            let mut state = State::new(&member(3, require, None), Duration::ZERO);
            let mut seen = String::new();
            for word in answers.split(' ') {
                let at = usize::from(word.as_bytes()[0] - b'a');
                state.take(at, &answer(word.ends_with('+'), None), Duration::ZERO);
                seen.push(state.health().name().chars().next().expect("a word"));
            }
            assert_eq!(seen, expected, "{require:?} {answers}");
        }
    }

    #[test]
    fn what_is_told() {
        let mut state = State::new(&member(2, Require::All, None), Duration::ZERO);
        assert_eq!(state.first().health, Health::Waiting);
        assert_eq!(state.take(0, &answer(true, None), Duration::ZERO), None);
        let change = state.take(1, &answer(false, None), Duration::ZERO).expect("down");
        assert_eq!((change.health, change.why.as_str()), (Health::Down, "b: connection refused"));
        let change = state.take(1, &answer(true, Some(7)), Duration::ZERO).expect("up");
        assert_eq!((change.health, change.weight), (Health::Up, Some(7)));
        let change = state.take(0, &answer(true, Some(2)), Duration::ZERO).expect("heavier");
        assert_eq!((change.health, change.weight), (Health::Up, Some(9)));
        assert_eq!(state.take(0, &answer(true, Some(2)), Duration::ZERO), None);
        let none = State::new(&member(0, Require::All, None), Duration::ZERO);
        assert_eq!(
            (none.health(), none.first().why.as_str()),
            (Health::Up, "no check is configured")
        );
    }

    /// One bad answer changes a weight as little as it changes health.
    #[test]
    fn a_weight_stays_until_its_check_is_down() {
        let mut member = member(2, Require::Any, None);
        member.checks[0].timing.fall = 2;
        let mut state = State::new(&member, Duration::ZERO);
        let mut told = |check, good, weight| {
            let change = state.take(check, &answer(good, weight), Duration::ZERO);
            change.map(|change| (change.health, change.weight))
        };
        assert_eq!(told(0, true, Some(7)), Some((Health::Up, Some(7))));
        assert_eq!(told(1, true, None), None);
        assert_eq!(told(0, false, None), None);
        assert_eq!(told(0, false, None), Some((Health::Up, None)));
        assert_eq!(told(0, true, Some(5)), Some((Health::Up, Some(5))));
    }

    /// Who was well for the time of `hold` begins anew, whatever time went by before.
    #[test]
    fn who_was_held_is_forgiven() {
        let seconds = Duration::from_secs;
        let damping = Damping { changes: 1, within: seconds(60), hold: seconds(10) };
        for first in [1, 39] {
            let mut state = State::new(&member(1, Require::All, Some(damping)), Duration::ZERO);
            let answers =
                [(0, true), (first, false), (40, true), (41, false), (50, true), (62, true)];
            for (second, good) in answers {
                state.take(0, &answer(good, None), seconds(second));
            }
            assert_eq!((state.health(), state.held()), (Health::Up, false));
            state.take(0, &answer(false, None), seconds(63));
            assert!(!state.held(), "{first}");
        }
    }

    #[test]
    fn who_comes_and_goes_is_held_down() {
        let seconds = Duration::from_secs;
        let damping = Damping { changes: 2, within: seconds(60), hold: seconds(30) };
        let mut state = State::new(&member(1, Require::All, Some(damping)), Duration::ZERO);
        let mut at = |second, good| {
            state.take(0, &answer(good, None), seconds(second));
            (state.health(), state.held())
        };
        let mut expect = |second, good, health, held| {
            assert_eq!(at(second, good), (health, held), "{second}");
        };
        expect(0, true, Health::Up, false);
        expect(1, false, Health::Down, false);
        expect(2, true, Health::Up, false);
        expect(3, false, Health::Down, false);
        expect(4, true, Health::Up, false);
        // The third time within a minute.
        expect(5, false, Health::Down, true);
        expect(6, true, Health::Down, true);
        expect(20, false, Health::Down, true);
        expect(21, true, Health::Down, true);
        expect(50, true, Health::Down, true);
        expect(51, true, Health::Up, false);
        expect(52, false, Health::Down, false);
        expect(53, true, Health::Up, false);
    }
}
