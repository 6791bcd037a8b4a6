//! Answers that are none: whatever servers say, a probe ends at its deadline, nothing panics, and
//! memory is bounded.

#[path = "../model/chance.rs"]
mod chance;
mod hostile;
mod octets;
mod parsers;

use std::time::{Duration, Instant};

use octets::Octets;
use parsers::PARSERS;

/// Inputs for each parser; one in a hundred is large.
const INPUTS: usize = 20_000;
/// Longer than any of them takes, on a busy machine, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Memory that reading so many octets may take at once. A message of DNS may name the same long
/// name again and again in two octets (RFC 1035 section 4.1.4).
fn allowed(parser: &str, length: usize) -> u64 {
    let each = if parser == "dns" { 128 } else { 8 };
    (64 * 1024 + each * length) as u64
}

/// Reads, and gives what memory that took at most and what it kept.
fn measured(parser: fn(&[u8]), octets: &[u8]) -> (u64, i64) {
    let info = allocation_counter::measure(|| parser(octets));
    (info.bytes_max, info.bytes_current)
}

#[test]
fn no_answer_takes_much_time_or_memory() {
    let only = std::env::var("XLVS_SEED").ok().map(|seed| seed.parse().expect("a number"));
    for (name, parser) in PARSERS {
        let mut octets = Octets::new(name, only.unwrap_or(1));
        let mut most = 0;
        // What is made once: regular expressions.
        octets.corpus.iter().for_each(|known| parser(known));
        for at in 0..INPUTS {
            let input = octets.next(at % 100 == 0);
            let begun = Instant::now();
            let (peak, kept) = measured(parser, &input);
            let shown = || {
                format!("{name}, {} octets: {:02x?}", input.len(), &input[..input.len().min(64)])
            };
            assert!(begun.elapsed() < PATIENCE, "{}", shown());
            assert!(peak <= allowed(name, input.len()), "{peak} octets for {}", shown());
            // Regular expressions keep room for their next use.
            assert!(kept <= if name == "body" { 1 << 20 } else { 0 }, "{kept} kept, {}", shown());
            most = most.max(peak);
        }
        println!("{name}: {INPUTS} inputs, at most {most} octets");
    }
}
