//! Who may open connections: allowed and denied sources, and how many a second one source gets.
//! Asked only when a connection would open.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use hashbrown::HashMap;

use crate::{
    breath::Breath,
    clock::Now,
    policy::Access,
    prefix::{Prefix, PrefixSet, masked},
    snapshot::{ServiceId, Services},
    verdict::Drop,
};

/// An [`Access`] in the form that it is asked in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Denied for a while.
    denied: PrefixSet,
    allow: PrefixSet,
    deny: PrefixSet,
    per_second: Option<u32>,
}

/// The box's gate and those of its services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// There is anything to ask.
    closed: bool,
    all: Gate,
    /// By service id; empty if no service has one.
    services: Vec<Gate>,
}

impl Gate {
    /// The gate that these rules make.
    pub fn new(access: &Access) -> Self {
        Self {
            denied: PrefixSet::default(),
            allow: PrefixSet::new(&access.allow),
            deny: PrefixSet::new(&access.deny),
            per_second: access.new_connections,
        }
    }

    /// Why a source may not connect at all.
    fn refuses(&self, source: IpAddr) -> Option<Drop> {
        if self.denied.contains(source) {
            return Some(Drop::DeniedForNow);
        }
        if self.deny.contains(source) {
            return Some(Drop::SourceDenied);
        }
        let stranger = !self.allow.is_empty() && !self.allow.contains(source);
        stranger.then_some(Drop::SourceNotAllowed)
    }
}

impl Gates {
    /// The gates of a configuration.
    pub fn new(services: &Services) -> Self {
        let policies = || services.services.iter().map(|s| s.as_ref().map(|s| &s.policy.access));
        let closed = policies().flatten().any(|access| *access != Access::default());
        let closed = closed || services.denied.iter().any(|denial| denial.service.is_some());
        let gate = |access: Option<&Access>| access.map(Gate::new).unwrap_or_default();
        let mut sources: HashMap<Option<ServiceId>, Vec<Prefix>> = HashMap::new();
        for denial in &services.denied {
            sources.entry(denial.service).or_default().push(denial.source);
        }
        let denied = |service| {
            sources.get(&service).map(|sources| PrefixSet::new(sources)).unwrap_or_default()
        };
        let mut own: Vec<Gate> = if closed { policies().map(gate).collect() } else { Vec::new() };
        for (gate, id) in own.iter_mut().zip(0..) {
            gate.denied = denied(Some(id));
        }
        let all = Gate { denied: denied(None), ..Gate::new(&services.settings.access) };
        let closed = closed || all != Gate::default();
        Self { closed, all, services: own }
    }
}

impl Breath<'_> {
    /// Why the source may not use a service at all.
    pub(crate) fn refused(&self, source: IpAddr, service: ServiceId) -> Option<Drop> {
        let gates = &self.snapshot.services.gates;
        let own = gates.services.get(service as usize);
        [Some(&gates.all), own].into_iter().flatten().find_map(|gate| gate.refuses(source))
    }

    /// Whether the source may open a connection to a service now; counts it then.
    ///
    /// # Errors
    /// The name of the drop.
    #[inline]
    pub(crate) fn screen(&self, source: IpAddr, service: ServiceId) -> Result<(), Drop> {
        if let Some(reason) = self.refused(source, service) {
            return Err(reason);
        }
        let gates = &self.snapshot.services.gates;
        if gates.closed { self.ask(gates, source, service) } else { Ok(()) }
    }

    #[inline(never)]
    fn ask(&self, gates: &Gates, source: IpAddr, service: ServiceId) -> Result<(), Drop> {
        let own = gates.services.get(service as usize);
        // Numbers of services begin at 1 here, 0 is the box.
        for (scope, gate) in [(0, Some(&gates.all)), (service + 1, own)] {
            if let Some(rate) = gate.and_then(|gate| gate.per_second)
                && !self.director.sources.allow((scope, source), rate, self.now)
            {
                return Err(Drop::SourceRate);
            }
        }
        Ok(())
    }
}

/// Sources of one set.
const WAYS: usize = 8;
/// Low bits of a word: the time (us) up to which the source's allowance is spent.
const TIME_BITS: u32 = 44;
const TIME: u64 = (1 << TIME_BITS) - 1;

/// How many connections each source opened lately: token buckets in sets of eight. A source
/// that finds its set full takes the place of the one that was quiet for longest, so those that
/// matter, the busy ones, stay.
pub struct Sources {
    sets: Box<[Set]>,
    hasher: RandomState,
}

/// Each word: a tag (20) | the time (44).
#[derive(Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

impl Sources {
    /// For so many sources.
    pub fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).max(1).next_power_of_two();
        Self { sets: (0..sets).map(|_| Set::default()).collect(), hasher: RandomState::new() }
    }

    /// One that says the same, from now on apart.
    pub(crate) fn replica(&self) -> Self {
        let set = |Set(words): &Set| Set(words.each_ref().map(|w| AtomicU64::new(w.load(Relaxed))));
        Self { sets: self.sets.iter().map(set).collect(), hasher: self.hasher.clone() }
    }

    /// True if the source (an IPv4 address, an IPv6 /64) may open one more connection in this
    /// scope, of `per_second` and as many at once; then it is counted.
    pub fn allow(&self, (scope, source): (u32, IpAddr), per_second: u32, now: Now) -> bool {
        let network = if source.is_ipv4() { source } else { masked(source, 64) };
        let hash = self.hasher.hash_one((scope, network));
        let tag = hash & !TIME;
        let set = &self.sets[hash as usize & (self.sets.len() - 1)].0;
        loop {
            let words = set.each_ref().map(|word| word.load(Relaxed));
            let known = words.iter().position(|word| word & !TIME == tag);
            let quietest = || (0..WAYS).min_by_key(|at| words[*at] & TIME).unwrap_or(0);
            let at = known.unwrap_or_else(quietest);
            let spent = if known.is_some() { words[at] & TIME } else { 0 };
            let Some(next) = spend(spent, (now.millis * 1000) & TIME, per_second) else {
                return false;
            };
            let next = tag | next & TIME;
            if set[at].compare_exchange(words[at], next, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
    }
}

/// Takes one of `per_second` tokens: the time up to which they are spent then.
fn spend(spent: u64, now: u64, per_second: u32) -> Option<u64> {
    const SECOND: u64 = 1_000_000;
    let interval = SECOND.checked_div(per_second.into())?.max(1);
    // A time further ahead than any bucket reaches is from before the clock went round.
    let spent = if spent > now + 2 * SECOND { 0 } else { spent };
    let next = spent.max(now) + interval;
    (next <= now + interval * u64::from(per_second)).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    #[test]
    fn denied_goes_before_allowed() {
        type Row = (&'static [&'static str], &'static [&'static str], &'static str, Option<Drop>);
        let rows: [Row; 8] = [
            (&[], &[], "1.2.3.4", None),
            (&["1.0.0.0/8"], &[], "1.2.3.4", None),
            (&["1.0.0.0/8"], &[], "2.2.3.4", Some(Drop::SourceNotAllowed)),
            // Allowed IPv4 sources leave no IPv6 ones.
            (&["1.0.0.0/8"], &[], "2001:db8::1", Some(Drop::SourceNotAllowed)),
            (&["1.0.0.0/8"], &["1.2.0.0/16"], "1.2.3.4", Some(Drop::SourceDenied)),
            (&["1.2.3.4/32"], &["1.0.0.0/8"], "1.2.3.4", Some(Drop::SourceDenied)),
            (&[], &["2001:db8::/32"], "2001:db8::1", Some(Drop::SourceDenied)),
            (&[], &["2001:db8::/32"], "2001:db9::1", None),
        ];
        for (allow, deny, source, expected) in rows {
            let list = |texts: &[&str]| texts.iter().map(|text| prefix(text)).collect();
            let access = Access { allow: list(allow), deny: list(deny), new_connections: None };
            let refused = Gate::new(&access).refuses(source.parse().unwrap());
            assert_eq!(refused, expected, "{source} allow {allow:?} deny {deny:?}");
        }
    }

    #[test]
    fn a_source_gets_its_rate_and_no_more() {
        let sources = Sources::new(64);
        let count = |scope: u32, source: &str, rate: u32, millis: u64| {
            let key = (scope, source.parse().unwrap());
            (0..100).filter(|_| sources.allow(key, rate, Now { millis })).count()
        };
        assert_eq!(count(0, "10.0.0.1", 10, 5_000), 10);
        assert_eq!(count(0, "10.0.0.1", 10, 5_099), 0);
        assert_eq!(count(0, "10.0.0.1", 10, 5_100), 1);
        assert_eq!(count(0, "10.0.0.1", 10, 5_600), 5);
        assert_eq!(count(0, "10.0.0.1", 10, 99_000), 10);
        assert_eq!(count(1, "10.0.0.1", 3, 99_000), 3, "each service has its own");
        assert_eq!(count(0, "10.0.0.2", 10, 5_000), 10, "and each source");
        // One IPv6 network is one source.
        assert_eq!(count(0, "2001:db8::1", 7, 5_000), 7);
        assert_eq!(count(0, "2001:db8::ffff:1", 7, 5_000), 0);
        assert_eq!(count(0, "2001:db8:0:1::1", 7, 5_000), 7);
        assert_eq!(count(0, "10.0.0.9", 0, 5_000), 0);
    }

    /// Many others that come once each do not make a busy source's past forgotten.
    #[test]
    fn a_crowd_does_not_hide_one_that_floods() {
        let sources = Sources::new(64);
        let flooder = (0, IpAddr::from([10, 9, 9, 9]));
        let mut passed = 0;
        for n in 0..10_000u32 {
            let now = Now { millis: 1_000 + u64::from(n) / 10 };
            passed += usize::from(sources.allow(flooder, 20, now));
            let other = IpAddr::from((0x0b00_0000 + n).to_be_bytes());
            sources.allow((0, other), 1000, now);
        }
        // 20 at once and 20 in the second that passed.
        assert!((20..=45).contains(&passed), "{passed}");
    }
}
