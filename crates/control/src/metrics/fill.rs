//! From the report to samples, family by family.

mod director;
mod interfaces;
mod services;
mod workers;

use std::collections::BTreeSet;

use super::{family::Group, page::Page};
use crate::report::Report;

/// Writes a group's families.
type Part = fn(&mut Page<'_>, &Report);

/// Writes the families of these groups.
pub(super) fn fill(page: &mut Page<'_>, report: &Report, groups: &BTreeSet<Group>) {
    let parts: [(Group, Part); 6] = [
        (Group::Director, director::fill),
        (Group::Workers, workers::fill),
        (Group::Interfaces, interfaces::fill),
        (Group::Services, services::of_services),
        (Group::Servers, services::of_servers),
        (Group::Checks, services::of_checks),
    ];
    for (group, part) in parts {
        if groups.contains(&group) {
            part(page, report);
        }
    }
}

/// Microseconds in seconds.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
