//! How what happened compares with what was recorded.
use std::collections::BTreeMap;

use crate::recording::seconds;

/// Whether what a step led to is what was recorded: `None`, or the first difference.
///
/// `slack` is how many seconds expiry times may differ, in `connections` and as `mm:ss` in a
/// command's output (whose connections may come in any order). Rates differ by a thirtieth and one
/// ([`near_rate`]). `punt` among the actual lines
/// stands for `stack` or `routed`, and `P` among picks for `S`: whoever gives a packet back
/// to the kernel does not know which.
pub fn difference(
    step: &str,
    recorded: &[String],
    actual: &[String],
    slack: i64,
) -> Option<String> {
    let (recorded, actual) = if step.starts_with("ipvsadm") {
        (in_order(recorded), in_order(actual))
    } else {
        (recorded.to_vec(), actual.to_vec())
    };
    for at in 0..recorded.len().max(actual.len()) {
        let (was, is) = (recorded.get(at), actual.get(at));
        if let (Some(was), Some(is)) = (was, is)
            && (same_line(was, is, slack, step == "connections")
                || (step.contains(" --rate") && same_rates(was, is)))
        {
            continue;
        }
        let show = |line: Option<&String>| line.map_or("nothing more", String::as_str).to_owned();
        return Some(format!("> {step}\n  recorded: {}\n  actual:   {}", show(was), show(is)));
    }
    None
}

/// Whether random picks are shared out as they were recorded: `None`, or the server of which one
/// has far more. Far is five standard deviations of the difference between two samples, which
/// one comparison in a million exceeds by chance.
pub fn drift(step: &str, recorded: &[String], actual: &[String]) -> Option<String> {
    let (was, is) = (shares(recorded), shares(actual));
    let total: u32 = was.values().sum();
    if total != is.values().sum() {
        return Some(format!("> {step}\n  recorded: {was:?}\n  actual:   {is:?}"));
    }
    let far = |pick: &&String| {
        let [was, is] = [&was, &is].map(|all| f64::from(all.get(*pick).copied().unwrap_or(0)));
        let total = f64::from(total);
        let share = (was + is) / 2.0 / total;
        (was - is).abs() > 5.0 * (2.0 * total * share * (1.0 - share)).sqrt()
    };
    let pick = was.keys().chain(is.keys()).find(far)?;
    Some(format!("> {step}\n  {pick} is drawn far too often or seldom: {was:?} and {is:?}"))
}

/// How often each pick comes.
fn shares(lines: &[String]) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    for line in lines {
        let words: Vec<String> = if line.contains(' ') {
            line.split(' ').map(str::to_owned).collect()
        } else {
            line.chars().map(String::from).collect()
        };
        for word in words {
            *shares.entry(word).or_default() += 1;
        }
    }
    shares
}

/// Lines of connections sorted, whose order in a kernel is that of a keyed hash.
fn in_order(lines: &[String]) -> Vec<String> {
    let is_connection =
        |line: &String| line.split_whitespace().nth(1).is_some_and(|word| seconds(word).is_some());
    let mut connections: Vec<&String> = lines.iter().filter(|line| is_connection(line)).collect();
    // Behind the time, which may differ.
    connections.sort_by_key(|line| {
        line.split_whitespace()
            .enumerate()
            .filter(|(at, _)| *at != 1)
            .map(|(_, word)| word)
            .collect::<Vec<_>>()
    });
    let mut connections = connections.into_iter();
    let sorted = lines
        .iter()
        .map(|line| if is_connection(line) { connections.next().unwrap_or(line) } else { line });
    sorted.cloned().collect()
}

fn same_line(was: &str, is: &str, slack: i64, time_first: bool) -> bool {
    if was == is || (is == "punt" && matches!(was, "stack" | "routed")) {
        return true;
    }
    let (was_words, is_words): (Vec<&str>, Vec<&str>) =
        (was.split(' ').collect(), is.split(' ').collect());
    was_words.len() == is_words.len()
        && was_words.iter().zip(&is_words).enumerate().all(|(at, (was, is))| {
            was == is
                || (*was == "S" && *is == "P")
                || near(was, is, slack, time_first && at == 0)
                || same_octets(was, is)
        })
}

/// The same row of `--rate` but for its numbers, whose width is that of their digits.
fn same_rates(was: &str, is: &str) -> bool {
    let (was, is): (Vec<&str>, Vec<&str>) =
        (was.split_whitespace().collect(), is.split_whitespace().collect());
    was.len() == is.len() && was.iter().zip(&is).all(|(was, is)| was == is || near_rate(was, is))
}

/// Rates that a second look at the same packets may give. A packet that comes a moment before a
/// sample, or a moment after it, counts in the one or in the other: of the 100 and more that a
/// scenario has in each sample some three do, when the guest is late by 50 ms. And rates are shown as whole
/// numbers.
fn near_rate(was: &str, is: &str) -> bool {
    match (was.parse::<i64>(), is.parse::<i64>()) {
        (Ok(was), Ok(is)) => (was - is).abs() <= 1 + was.max(is) / 30,
        _ => false,
    }
}

/// Times that differ by no more than `slack`; a plain number is one if it comes first.
fn near(was: &str, is: &str, slack: i64, first: bool) -> bool {
    let time = |text: &str| seconds(text).or_else(|| text.parse().ok().filter(|_| first));
    match (time(was), time(is)) {
        (Some(was), Some(is)) => (was - is).abs() <= slack,
        _ => false,
    }
}

/// Hexadecimal digits with holes in either.
fn same_octets(was: &str, is: &str) -> bool {
    was.len() == is.len()
        && was.len() >= 40
        && was.bytes().zip(is.bytes()).all(|(was, is)| was == is || was == b'?' || is == b'?')
}

#[cfg(test)]
mod tests {
    use super::{difference, drift};

    #[test]
    fn times_may_differ_a_little_and_nothing_else() {
        let differ = |step: &str, was: &str, is: &str| {
            difference(step, &[was.to_owned()], &[is.to_owned()], 1).is_some()
        };
        for (step, was, is, differs) in [
            ("connections", "59 TCP SYN_RECV a b c", "60 TCP SYN_RECV a b c", false),
            ("connections", "59 TCP SYN_RECV a b c", "61 TCP SYN_RECV a b c", true),
            ("connections", "59 TCP SYN_RECV a b c", "59 TCP CLOSE a b c", true),
            ("ipvsadm -Lnc", "TCP 14:59  NONE", "TCP 15:00  NONE", false),
            ("ipvsadm -Ln", "  -> 10.2.0.11:80 1 2", "  -> 10.2.0.11:80 1 3", true),
            ("ipvsadm -Ln --rate", "TCP  a:80   9    10", "TCP  a:80  10     9", false),
            ("ipvsadm -Ln --rate", "TCP  a:80   300  1", "TCP  a:80   311  1", false),
            ("ipvsadm -Ln --rate", "TCP  a:80   300  1", "TCP  a:80   312  1", true),
            ("ipvsadm -Ln --rate", "TCP  a:80   300  1", "UDP  a:80   300  1", true),
            ("ipvsadm -Ln --stats", "TCP  a:80   300", "TCP  a:80   301", true),
            ("open 2 a", "12 S", "12 P", false),
            ("open 2 a", "12 S", "13 S", true),
            ("open 2 a", "12 S", "12 X", true),
            ("tcp a", "routed", "punt", false),
            ("tcp a", "stack", "front gw 45", true),
        ] {
            assert_eq!(differ(step, was, is), differs, "{step}: {was} / {is}");
        }
    }

    #[test]
    fn random_picks_may_differ_as_chance_has_it() {
        let lines = |ones: usize, twos: usize| vec!["1".repeat(ones) + &"2".repeat(twos)];
        for (was, is, drifts) in [
            ((500, 500), (500, 500), false),
            ((500, 500), (550, 450), false),
            ((500, 500), (650, 350), true),
            ((500, 500), (500, 499), true),
            ((1000, 0), (900, 100), true),
        ] {
            let found = drift("open 1000 a", &lines(was.0, was.1), &lines(is.0, is.1));
            assert_eq!(found.is_some(), drifts, "{was:?} {is:?}: {found:?}");
        }
    }
}
