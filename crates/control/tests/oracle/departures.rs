//! Where xlvs does not do what the kernel does, in `compat: lvs` too, and nobody can write down
//! by hand what it does instead: else the scenario says so itself (`departs`). Exactly these
//! steps differ, so that the list stays true and hides nothing.

/// A scenario and its steps, counted from 1.
type Row = (&'static str, &'static [usize]);

/// Why this step of a scenario may differ from its recording.
pub(crate) fn why(scenario: &str, step: usize) -> Option<&'static str> {
    let mut rows = DEPARTURES.iter().flat_map(|(why, rows)| rows.iter().map(move |row| (why, row)));
    let listed = rows.find(|(_, (name, steps))| *name == scenario && steps.contains(&step));
    listed.map(|(why, _)| *why)
}

/// All rows.
pub(crate) fn all() -> impl Iterator<Item = Row> {
    DEPARTURES.iter().flat_map(|(_, rows)| rows.iter().copied())
}

/// A model of `ip_vs_lblc.c` and `ip_vs_lblcr.c` gives the recorded picks of these sequences, and with
/// a memory that forgets removed servers it differs from them at these steps and no others.
const DEPARTURES: [(&str, &[Row]); 1] = [(
    "lblc and lblcr forget a removed server; the kernel's memory holds it until it comes back",
    &[
        ("lblc_10", &[38, 42]),
        ("lblc_17", &[33, 35, 36, 39, 40]),
        ("lblc_34", &[42, 46]),
        ("lblc_37", &[24, 26, 30, 35, 37, 38, 41, 43]),
        ("lblc_38", &[38, 40]),
        ("lblc_39", &[42, 45]),
        ("lblc_42", &[18, 20, 41, 44]),
        ("lblc_48", &[33, 45]),
        ("lblcr_05", &[34, 36, 38]),
        ("lblcr_47", &[34, 37, 38, 39]),
    ],
)];
