//! Schedulers with the flags that ipvsadm has for them.

use crate::{
    note::{Notes, Place},
    yaml::Yaml,
};

/// LVS's schedulers.
pub(crate) const SCHEDULERS: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq", "twos"];

/// A scheduler with flags of ipvsadm's: their first is the fallback, their second the port.
pub(crate) fn scheduler<'a>(
    name: &str,
    flags: impl Iterator<Item = (&'a str, &'a Place)>,
    notes: &mut Notes,
) -> Yaml {
    let (mut port, mut fallback) = (false, false);
    for (flag, place) in flags {
        match (name, flag) {
            ("sh", "sh-fallback" | "flag-1") | ("mh", "mh-fallback" | "flag-1") => fallback = true,
            ("sh", "sh-port" | "flag-2") | ("mh", "mh-port" | "flag-2") => port = true,
            _ => notes.lost(place, format!("{flag} does nothing with scheduler {name}")),
        }
    }
    if !port && !fallback {
        return Yaml::text(name);
    }
    let mut keys = vec![("name", Yaml::text(name))];
    if port {
        keys.push(("port", Yaml::plain(true)));
    }
    if fallback {
        keys.push(("fallback", Yaml::plain(true)));
    }
    Yaml::Map(keys)
}
