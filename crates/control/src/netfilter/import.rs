//! `xlvs import iptables`: netfilter's MARK rules as `marks:` entries.

use std::{collections::BTreeSet, fmt::Write, ops::RangeInclusive};

use dataplane::{forward::Protocol, prefix::Prefix};

use super::{Chain, Does, Hook, Marking, Rule, Ruleset, When};

/// What came of the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// In the order in which netfilter would go through them.
    pub lines: Vec<Line>,
    /// Tables and chains without MARK whose rules were left out, and how many those are.
    pub left_out: (BTreeSet<String>, usize),
}

/// One line under `marks:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// An entry.
    Entry(Entry),
    /// A rule that was not translated.
    Refused {
        /// Where it stands.
        place: String,
        /// Its words.
        text: String,
        /// Why.
        why: String,
    },
}

/// An entry of `marks:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    mark: u32,
    mask: u32,
    destination: Prefix,
    source: Option<Prefix>,
    protocol: Option<Protocol>,
    ports: Vec<RangeInclusive<u16>>,
    interface: Option<String>,
}

/// How deep chains may jump: netfilter's own limit is 16 in nft.
const DEPTH: usize = 16;

/// Translates what marks packets before LVS looks at them: the chains of the hooks prerouting
/// and input, by priority, and what these jump to.
pub fn import(ruleset: &Ruleset) -> Imported {
    let mut imported = Imported::default();
    let mut followed = BTreeSet::new();
    for wanted in [Hook::Prerouting, Hook::Input] {
        let here = |chain: &&Chain| chain.hook.is_some_and(|(hook, _)| hook == wanted);
        let mut chains: Vec<&Chain> = ruleset.chains.iter().filter(here).collect();
        chains.sort_by_key(|chain| chain.hook.map(|(_, priority)| priority));
        for chain in chains.into_iter().filter(|chain| marks(ruleset, chain, 0)) {
            let walk = Walk { ruleset, families: chain.families };
            walk.chain(chain, &When::default(), 0, &mut imported.lines, &mut followed);
        }
    }
    for chain in &ruleset.chains {
        let name = (chain.table.clone(), chain.name.clone(), chain.families);
        if followed.contains(&name) || chain.rules.is_empty() {
            continue;
        }
        let marking = |rule: &&Rule| rule.does.iter().any(|does| matches!(does, Does::Mark(_)));
        let why = "LVS does not see this chain: it is for packets that leave or pass through";
        imported.lines.extend(chain.rules.iter().filter(marking).map(|rule| refused(rule, why)));
        imported.left_out.0.insert(format!("{} {}", chain.table, chain.name));
        imported.left_out.1 += chain.rules.iter().filter(|rule| !marking(rule)).count();
    }
    imported
}

/// The chain or one that it calls changes marks, or does something that is not known.
fn marks(ruleset: &Ruleset, chain: &Chain, depth: usize) -> bool {
    let of_mark = |does: &Does| match does {
        Does::Mark(_) => true,
        Does::Other(words) => words.contains("MARK") || words.contains("mark"),
        Does::Jump(name) | Does::Goto(name) => {
            depth < DEPTH
                && chain.called(ruleset, name).is_some_and(|c| marks(ruleset, c, depth + 1))
        }
        _ => false,
    };
    let unread = |rule: &Rule| rule.unread.iter().any(|words| words.contains("target MARK"));
    chain.rules.iter().any(|rule| rule.does.iter().any(of_mark) || unread(rule))
}

fn refused(rule: &Rule, why: impl Into<String>) -> Line {
    Line::Refused { place: rule.place.clone(), text: rule.text.clone(), why: why.into() }
}

/// What of a rule is not looked at. JSON names libxtables' parts, but not what they ask for.
fn unread(rule: &Rule) -> String {
    let words = rule.unread.join(", ");
    let hint =
        if words.contains("xt ") { "; take iptables-save, which tells all of it" } else { "" };
    format!("xlvs does not look at: {words}{hint}")
}

/// Where a chain left a packet that meets all the conditions on the way.
#[derive(PartialEq)]
enum Left {
    /// At its end, or by return.
    Here,
    /// Out of all chains.
    All,
}

type Followed = BTreeSet<(String, String, [bool; 2])>;

struct Walk<'a> {
    ruleset: &'a Ruleset,
    families: [bool; 2],
}

impl Walk<'_> {
    fn chain(
        &self,
        chain: &Chain,
        when: &When,
        depth: usize,
        lines: &mut Vec<Line>,
        followed: &mut Followed,
    ) -> Left {
        followed.insert((chain.table.clone(), chain.name.clone(), chain.families));
        let mut left = None;
        for rule in &chain.rules {
            if left.is_some() {
                lines.push(refused(rule, "a rule before it takes every packet out of the chain"));
                continue;
            }
            if !rule.unread.is_empty() {
                lines.push(refused(rule, unread(rule)));
                continue;
            }
            let both = match when.and(&rule.when) {
                Ok(both) => both,
                Err(word) => {
                    let why = format!("it and the jump to its chain both name a {word}");
                    lines.push(refused(rule, why));
                    continue;
                }
            };
            for does in &rule.does {
                left = left.or(self.does(does, (chain, rule), &both, depth, lines, followed));
            }
        }
        left.unwrap_or(Left::Here)
    }

    /// Returns how the rule ends the chain, if it does for every packet.
    fn does(
        &self,
        does: &Does,
        (chain, rule): (&Chain, &Rule),
        when: &When,
        depth: usize,
        lines: &mut Vec<Line>,
        followed: &mut Followed,
    ) -> Option<Left> {
        let always = rule.when == When::default();
        match does {
            Does::Mark(marking) => {
                lines.extend(self.entries(*marking, rule, when));
                None
            }
            Does::Return if always => Some(Left::Here),
            Does::Accept | Does::Refuse if always => Some(Left::All),
            Does::Jump(name) | Does::Goto(name) if depth < DEPTH => {
                let Some(target) = chain.called(self.ruleset, name) else {
                    lines.push(refused(rule, format!("there is no chain {name} in the text")));
                    return None;
                };
                if !marks(self.ruleset, target, 0) && !ends(self.ruleset, target, 0) {
                    followed.insert((target.table.clone(), target.name.clone(), target.families));
                    return None;
                }
                if matches!(does, Does::Goto(_)) && !always {
                    lines.push(refused(rule, "what it sends away does not come back"));
                    return None;
                }
                let left = self.chain(target, when, depth + 1, lines, followed);
                let goes = always && (left == Left::All || matches!(does, Does::Goto(_)));
                goes.then_some(left)
            }
            Does::Jump(_) | Does::Goto(_) => {
                lines.push(refused(rule, "chains call each other too deep"));
                None
            }
            Does::Return | Does::Accept | Does::Refuse | Does::Redirect => {
                let why = "what it takes out of the chain gets no mark from later rules";
                lines.push(refused(rule, why));
                None
            }
            Does::Other(words) => {
                lines.push(refused(rule, format!("xlvs has nothing for: {words}")));
                None
            }
        }
    }

    /// The entries of a MARK rule: one for each family, address, protocol and interface.
    fn entries(&self, marking: Marking, rule: &Rule, when: &When) -> Vec<Line> {
        let Some((mark, mask)) = marking.mark_and_mask() else {
            let why = "it flips bits of the mark (xor), and marks: only sets them";
            return vec![refused(rule, why)];
        };
        let families = [false, true].into_iter().filter(|ipv6| self.families[usize::from(*ipv6)]);
        let anywhere: Vec<Prefix> = families.map(everywhere).collect();
        let destinations =
            if when.destinations.is_empty() { &anywhere } else { &when.destinations };
        let mut lines = Vec::new();
        for destination in destinations {
            let ipv6 = destination.address().is_ipv6();
            let same = |prefix: &&Prefix| prefix.address().is_ipv6() == ipv6;
            let other_source = !when.sources.is_empty() && !when.sources.iter().any(|s| same(&s));
            if when.ipv6.is_some_and(|only| only != ipv6) || other_source {
                continue;
            }
            for source in some(&when.sources.iter().filter(same).copied().collect::<Vec<_>>()) {
                for protocol in some(&when.protocols) {
                    for interface in some(&when.interfaces) {
                        let entry = Entry {
                            mark,
                            mask,
                            destination: *destination,
                            source,
                            protocol,
                            ports: Vec::new(),
                            interface,
                        };
                        lines.extend(with_ports(&entry, &when.ports));
                    }
                }
            }
        }
        if lines.is_empty() {
            lines.push(refused(rule, "its addresses are of families that never come here"));
        }
        lines
    }
}

/// As many ranges of ports as an entry can have (those of iptables' multiport match); nft's
/// sets are longer, and setting the same bits by another entry is the same.
const PORTS_MOST: usize = 15;

fn with_ports(entry: &Entry, ports: &[RangeInclusive<u16>]) -> Vec<Line> {
    if ports.is_empty() {
        return vec![Line::Entry(entry.clone())];
    }
    let part = |ports: &[RangeInclusive<u16>]| Entry { ports: ports.to_vec(), ..entry.clone() };
    ports.chunks(PORTS_MOST).map(part).map(Line::Entry).collect()
}

/// Each of them, or none once.
fn some<T: Clone>(values: &[T]) -> Vec<Option<T>> {
    if values.is_empty() { vec![None] } else { values.iter().cloned().map(Some).collect() }
}

fn everywhere(ipv6: bool) -> Prefix {
    let address = if ipv6 { "::" } else { "0.0.0.0" };
    Prefix::new(address.parse().expect("an address"), 0).expect("a length")
}

/// A chain that may take packets out for good.
fn ends(ruleset: &Ruleset, chain: &Chain, depth: usize) -> bool {
    let away = |does: &Does| match does {
        Does::Accept | Does::Refuse | Does::Redirect => true,
        Does::Jump(name) | Does::Goto(name) => {
            depth >= DEPTH
                || chain.called(ruleset, name).is_some_and(|c| ends(ruleset, c, depth + 1))
        }
        _ => false,
    };
    chain.rules.iter().any(|rule| rule.does.iter().any(away))
}

impl Imported {
    /// How many rules were not translated.
    pub fn refused(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line, Line::Refused { .. })).count()
    }

    /// The YAML, with a comment for each rule that is not in it.
    pub fn yaml(&self) -> String {
        let entries = self.lines.iter().any(|line| matches!(line, Line::Entry(_)));
        let mut text = String::from(if entries { "marks:\n" } else { "marks: []\n" });
        for line in &self.lines {
            let _ = match line {
                Line::Entry(entry) => writeln!(text, "  - {{{}}}", entry.fields().join(", ")),
                Line::Refused { place, text: words, why } => {
                    writeln!(text, "  # not translated: {place}: {words}\n  #   {why}")
                }
            };
        }
        let (chains, rules) = &self.left_out;
        if *rules > 0 {
            let chains: Vec<&str> = chains.iter().map(String::as_str).collect();
            let _ = writeln!(
                text,
                "# left out: {rules} rules that set no mark, in {}",
                chains.join(", ")
            );
        }
        text
    }
}

impl Entry {
    fn fields(&self) -> Vec<String> {
        let prefix = |prefix: &Prefix| match prefix.address().is_ipv6() {
            true => format!("\"{prefix}\""),
            false => prefix.to_string(),
        };
        let mut fields = vec![format!("mark: {}", self.mark)];
        if self.mask != u32::MAX {
            fields.push(format!("mask: {:#x}", self.mask));
        }
        fields.push(format!("destination: {}", prefix(&self.destination)));
        fields.extend(self.source.map(|source| format!("source: {}", prefix(&source))));
        fields.extend(self.protocol.map(|protocol| format!("protocol: {}", protocol.name())));
        if !self.ports.is_empty() {
            let ports: Vec<String> = self.ports.iter().map(range).collect();
            fields.push(format!("ports: [{}]", ports.join(", ")));
        }
        fields.extend(self.interface.as_ref().map(|name| format!("interface: {}", quoted(name))));
        fields
    }
}

fn range(ports: &RangeInclusive<u16>) -> String {
    match (ports.start(), ports.end()) {
        (low, high) if low == high => low.to_string(),
        (low, high) => format!("{low}-{high}"),
    }
}

/// A name that YAML could take for something else is quoted.
fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && !["no", "off", "on", "y", "n", "yes", "true", "false", "null"]
            .contains(&name.to_lowercase().as_str());
    if plain { name.to_owned() } else { format!("{name:?}") }
}
