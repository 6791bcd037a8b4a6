//! `xlvs metrics`: what Prometheus scrapes, on standard output.

use std::{io, process::ExitCode};

use control::{
    api::{FetchError, Way, fetch},
    metrics::Group,
};

use crate::{failure, print};

/// Prints the page of the daemon at `socket`, of these groups or of all.
pub(crate) fn metrics(socket: &Way, groups: &[String]) -> ExitCode {
    let known = Group::ALL.map(Group::name);
    if let Some(wrong) = groups.iter().find(|group| !known.contains(&group.as_str())) {
        return failure(&format!(
            "--collect {wrong}: unknown; the groups are {}",
            known.join(", ")
        ));
    }
    let path = match groups {
        [] => "/metrics".to_owned(),
        groups => format!("/metrics?collect={}", groups.join(",")),
    };
    match fetch(socket, &path) {
        Ok(page) => print(&mut io::stdout(), &String::from_utf8_lossy(&page).trim_end()),
        Err(error @ FetchError::Status { .. }) => {
            failure(&format!("{error} (this one is {})", env!("CARGO_PKG_VERSION")))
        }
        Err(error) => failure(&error),
    }
}
