//! Scenario files: `tests/oracle/scenarios/<topic>.yaml`, a list of scenarios.
//!
//! ```yaml
//! - name: rr_begins_with_the_newest     # unique in its file
//!   why: A.14                           # where it is described
//!   sysctl: {sloppy_tcp: 1}             # of net.ipv4.vs, before the first step
//!   marks: [{mark: 10, destination: 10.9.0.2/32, protocol: tcp, ports: [80, 443]}]
//!   local: [198.18.0.0/15]              # delivered to the director, though no address of its own
//!   steps: [ipvsadm -A -t 10.9.0.1:80 -s rr, open 3 10.9.0.1:80]
//!   kernel: trixie-backports            # if it is not bookworm's
//!   random: true                        # picks are compared by how many each server gets
//!   departs: {why: a reset is kinder, steps: {3: ["front gw tcp 10.9.0.1:80 > 198.18.0.5:9001 R"]}}
//! ```
//! What xlvs does instead is written as a recording has it, or with the packet in words ([`crate::order`]).
//! Instead of `steps`, `sequences` or `states` describes many scenarios, which [`read`] spells out.
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::order::Packet;
use crate::packet::packets;
use crate::sequences::Sequences;
use crate::states::States;
use crate::step::Cast;
use crate::{Fault, Step, difference, fault, recording};

/// A scenario, ready to be played to a director that has just come up.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, unique in its file.
    pub name: String,
    /// The section of the LVS reference, or what is to be shown.
    pub why: String,
    /// `net.ipv4.vs.*`, to be set before the first step.
    pub sysctl: BTreeMap<String, String>,
    /// What gives packets their marks.
    pub marks: Vec<Mark>,
    /// Prefixes beside [`crate::ground::LOCAL`] that are delivered to the director when they come
    /// in at the front, and go on being others' addresses: IPVS takes only what is delivered. xlvs
    /// has no need of it.
    pub local: Vec<String>,
    /// Which of Debian's kernels is asked, if not bookworm's; the same for all of a file.
    pub kernel: Option<String>,
    /// The scheduler draws lots: only how many connections each server gets is compared.
    pub random: bool,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// Where xlvs differs on purpose.
    pub departs: Option<Departure>,
}

/// A rule as netfilter's MARK target has it; the YAML of xlvs' own `marks:`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The mark.
    pub mark: u32,
    /// Destination prefix.
    pub destination: String,
    /// tcp, udp or sctp; absent: any.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Destination ports; empty: all.
    #[serde(default)]
    pub ports: Vec<u16>,
}

/// Where xlvs differs from the kernel on purpose.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Departure {
    /// The reason.
    pub why: String,
    /// What xlvs does instead, by the step's number from 1 on; once read, as a recording has it.
    #[serde(default)]
    pub steps: BTreeMap<usize, Vec<String>>,
}

/// What stands in a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    why: String,
    #[serde(default)]
    sysctl: BTreeMap<String, Scalar>,
    #[serde(default)]
    marks: Vec<Mark>,
    #[serde(default)]
    local: Vec<String>,
    kernel: Option<String>,
    #[serde(default)]
    random: bool,
    #[serde(default)]
    steps: Vec<String>,
    sequences: Option<Sequences>,
    states: Option<States>,
    departs: Option<Departure>,
}

/// A sysctl's value.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(i64),
    Text(String),
}

impl Scenario {
    /// [`difference::difference`] of one of its steps; where picks are random, [`difference::drift`].
    pub fn difference(
        &self,
        step: &str,
        recorded: &[String],
        actual: &[String],
        slack: i64,
    ) -> Option<String> {
        let picks = ["open ", "strangers "].iter().any(|verb| step.starts_with(verb));
        if self.random && picks {
            difference::drift(step, recorded, actual)
        } else {
            difference::difference(step, recorded, actual, slack)
        }
    }
}

/// Reads a scenario file, and spells out what it only describes. The same text gives the same
/// scenarios, always.
///
/// # Errors
/// When it is no list of scenarios, a name comes twice, or a step cannot be read.
pub fn read(text: &str) -> Result<Vec<Scenario>, Fault> {
    let entries: Vec<Entry> =
        serde_yaml::from_str(text).or_else(|error| fault(error.to_string()))?;
    let mut all: Vec<Scenario> = Vec::new();
    for entry in entries {
        for scenario in spell_out(entry)? {
            if all.iter().any(|known| known.name == scenario.name) {
                return fault(format!("two scenarios are called {}", scenario.name));
            }
            all.push(scenario);
        }
    }
    Ok(all)
}

fn spell_out(entry: Entry) -> Result<Vec<Scenario>, Fault> {
    let described = match (&entry.sequences, &entry.states, entry.steps.is_empty()) {
        (Some(sequences), None, true) => sequences.spell_out(),
        (None, Some(states), true) => states.spell_out()?,
        (None, None, false) => vec![(String::new(), entry.steps.clone())],
        _ => {
            return fault(format!("{}: exactly one of steps, sequences and states", entry.name));
        }
    };
    let value = |scalar: &Scalar| match scalar {
        Scalar::Number(number) => number.to_string(),
        Scalar::Text(text) => text.clone(),
    };
    let departs = entry.departs.as_ref().map(departure).transpose();
    let departs = departs.or_else(|Fault(why)| fault(format!("{}: departs: {why}", entry.name)))?;
    let sysctl: BTreeMap<_, _> =
        entry.sysctl.iter().map(|(name, scalar)| (name.clone(), value(scalar))).collect();
    let one = |(suffix, lines): (String, Vec<String>)| {
        let name = format!("{}{suffix}", entry.name);
        let mut cast = Cast::default();
        let steps = lines.iter().map(|line| cast.step(line)).collect::<Result<_, _>>();
        let steps = steps.or_else(|Fault(why)| fault(format!("{name}: {why}")))?;
        Ok(Scenario {
            name,
            why: entry.why.clone(),
            sysctl: sysctl.clone(),
            marks: entry.marks.clone(),
            local: entry.local.clone(),
            kernel: entry.kernel.clone(),
            random: entry.random,
            steps,
            departs: departs.clone(),
        })
    };
    described.into_iter().map(one).collect()
}

/// Its lines as a recording has them.
fn departure(written: &Departure) -> Result<Departure, Fault> {
    let mut steps = BTreeMap::new();
    for (step, lines) in &written.steps {
        let lines = lines.iter().map(|line| in_octets(line)).collect::<Result<Vec<_>, _>>()?;
        steps.insert(*step, lines.concat());
    }
    Ok(Departure { why: written.why.clone(), steps })
}

/// A line whose packet stands in words: one line for each fragment of it.
fn in_octets(line: &str) -> Result<Vec<String>, Fault> {
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    let ["front" | "back", neighbour, packet] = words[..] else {
        return Ok(vec![line.to_owned()]);
    };
    if !packet.contains(" > ") {
        return Ok(vec![line.to_owned()]);
    }
    let frames = packets(&Packet::parse(packet)?);
    let line = |octets| format!("{} {neighbour} {}", words[0], recording::with_holes(octets, &[]));
    Ok(frames.iter().map(|octets| line(octets)).collect())
}

#[cfg(test)]
mod tests {
    use super::read;

    const FILE: &str = "
- {name: plain, why: A.1, sysctl: {sloppy_tcp: 1, sync_threshold: 3 50}, steps: [wait 1, connections]}
- {name: many, why: A.14, sequences: {scheduler: wrr, count: 3, seed: 7, orders: 20}}
";

    #[test]
    fn a_description_is_spelled_out() {
        let all = read(FILE).unwrap();
        let names: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        assert_eq!(names, ["plain", "many_01", "many_02", "many_03"]);
        assert_eq!(all[0].sysctl["sync_threshold"], "3 50");
        assert_ne!(all[1].steps, all[2].steps);
        let again = read(FILE).unwrap();
        assert_eq!(all[3].steps, again[3].steps);
    }

    #[test]
    fn departures_may_be_written_in_words() {
        let segment = "tcp 198.18.0.5:9001 > 10.9.0.1:80 S";
        let steps = format!("{{1: [\"back 11 {segment}\", front gw 45, stack], 2: []}}");
        let text =
            format!("- {{name: a, why: b, steps: [wait 1], departs: {{why: c, steps: {steps}}}}}");
        let departs = read(&text).unwrap().remove(0).departs.unwrap();
        // As `packet.rs` has it from scapy.
        let octets =
            "45000028000100004006aaaec61200050a09000123290050000003e8000000005002200098600000";
        assert_eq!(departs.steps[&1], [&format!("back 11 {octets}"), "front gw 45", "stack"]);
        assert!(departs.steps[&2].is_empty());
    }

    #[test]
    fn faults_name_their_place() {
        for (text, complaint) in [
            ("- {name: a, why: b}", "a: exactly one of steps, sequences and states"),
            ("- {name: a, why: b, steps: [dance]}", "a: step `dance`: not FROM > TO: dance"),
            (
                "- {name: a, why: b, steps: [wait 1], departs: {why: c, steps: {1: [back 11 x > y]}}}",
                "a: departs: not FROM > TO: x > y",
            ),
            (
                "[{name: a, why: b, steps: [wait 1]}, {name: a, why: b, steps: [wait 1]}]",
                "two scenarios are called a",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().0, complaint);
        }
    }
}
