//! `xlvs events`: what happened lately, and what happens.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use control::{
    api::{FetchError, Way, follow},
    event::{Gap, Line},
};

use crate::failure;

/// Prints the events of the daemon at `socket` with a greater number than `after`, one a line;
/// then, if `follows`, each as it comes, until the daemon ends.
pub(crate) fn events(socket: &Way, after: u64, follows: bool, json: bool) -> ExitCode {
    let more = if follows { "&follow" } else { "" };
    let mut out = io::stdout().lock();
    let mut stopped = None;
    let mut print = |line: &str| {
        let printed = match json {
            true => writeln!(out, "{line}"),
            false => writeln!(out, "{}", in_words(line)),
        };
        stopped = printed.and_then(|()| out.flush()).err();
        stopped.is_none()
    };
    let told = follow(socket, &format!("/v1/events?after={after}{more}"), &mut print);
    match (stopped, told) {
        (Some(error), _) if error.kind() != io::ErrorKind::BrokenPipe => {
            failure(&format!("cannot print: {error}"))
        }
        (Some(_), _) => ExitCode::SUCCESS,
        (None, Ok(())) if follows => failure(&format!("{}: xlvs has ended", socket)),
        (None, Err(FetchError::Broken { .. })) if follows => {
            failure(&format!("{}: xlvs has ended", socket))
        }
        (None, Ok(())) => ExitCode::SUCCESS,
        (None, Err(error)) => failure(&error),
    }
}

/// A line of another version is shown as it came.
fn in_words(line: &str) -> String {
    match serde_json::from_str(line) {
        Ok(Line::Event(event)) => format!("{} {} {event}", event.when(), event.sequence),
        Ok(Line::Gap(Gap { missed, until })) => {
            format!("{missed} events, until {until}, are not kept any more")
        }
        Err(_) => line.to_owned(),
    }
}
