//! wrk: as many requests as go, each connection asking again as soon as it has its answer.

use std::{io, process::Stdio};

use super::{
    ENDS,
    ground::{Ground, VIP},
};

/// What a run of wrk gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    /// Answers a second.
    pub(super) per_second: f64,
    /// All answers.
    pub(super) answers: f64,
    /// Connections and requests that failed, answers other than pages.
    pub(super) errors: u64,
}

/// Runs it on the ends' CPU for whole seconds; each request on a connection of its own, if asked.
///
/// # Errors
/// There is no wrk, or it says something else than expected.
pub(super) fn run(
    ground: &Ground,
    connections: usize,
    seconds: u64,
    each_anew: bool,
) -> io::Result<Run> {
    let (connections, time) = (connections.to_string(), format!("{seconds}s"));
    let url = format!("http://{VIP}/");
    let mut words = vec!["wrk", "-t", "1", "-c", &connections, "-d", &time, "--timeout", "5s"];
    if each_anew {
        words.extend(["-H", "Connection: close"]);
    }
    words.push(&url);
    let output = ground.pinned("client", ENDS, &words).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    read(&said).ok_or_else(|| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!("wrk: {}: {said}{complaint}", output.status))
    })
}

/// Reads what it prints at its end.
fn read(said: &str) -> Option<Run> {
    let (mut per_second, mut answers, mut errors) = (None, None, 0);
    for line in said.lines().map(str::trim) {
        if let Some(rate) = line.strip_prefix("Requests/sec:") {
            per_second = rate.trim().parse().ok();
        } else if let Some((count, _)) = line.split_once(" requests in ") {
            answers = count.parse().ok();
        } else if let Some(counts) = line.strip_prefix("Socket errors:") {
            let numbers = counts.split(|c: char| !c.is_ascii_digit());
            errors += numbers.filter_map(|number| number.parse::<u64>().ok()).sum::<u64>();
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            errors += count.trim().parse::<u64>().ok()?;
        }
    }
    Some(Run { per_second: per_second?, answers: answers?, errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As wrk 4.1.0 prints it.
    const HEAD: &str = "Running 1s test @ http://203.0.113.10/\n  1 threads and 64 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n    \
        Latency     1.84ms  345.20us   6.56ms   78.60%\n    \
        Req/Sec    34.71k     1.02k   36.30k    70.00%\n  \
        34567 requests in 1.00s, 41.10MB read\n";

    #[test]
    fn what_wrk_prints() {
        let rate = "Requests/sec:  34500.25\nTransfer/sec:     41.02MB\n";
        let errors = "  Socket errors: connect 1, read 2, write 0, timeout 4\n";
        let other = "  Non-2xx or 3xx responses: 10\n";
        let run = |errors| Some(Run { per_second: 34500.25, answers: 34567.0, errors });
        let table = [
            (format!("{HEAD}{rate}"), run(0)),
            (format!("{HEAD}{errors}{other}{rate}"), run(17)),
            (HEAD.to_owned(), None),
            ("unable to connect to 203.0.113.10:http Connection refused\n".to_owned(), None),
        ];
        for (said, expected) in table {
            assert_eq!(read(&said), expected, "{said}");
        }
    }
}
