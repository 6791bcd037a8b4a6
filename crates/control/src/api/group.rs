//! The unix socket's group: who may use it beside root.

use std::{io, os::unix::fs::chown, path::Path};

use nix::unistd::Group;

/// Why the socket is not given to a group.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// There is none.
    #[error(
        "api: group: there is no group {0}; make it (groupadd --system {0}), or choose another"
    )]
    Unknown(String),
    /// It could not be looked up, or the kernel refused.
    #[error(
        "api: group: the socket cannot be given to {group}: {source}; run as root, or with CAP_CHOWN, or as a member of {group}"
    )]
    Refused {
        /// Its name.
        group: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Gives the socket at `path` to the group of that name.
///
/// # Errors
/// See [`GroupError`].
pub fn give(path: &Path, group: &str) -> Result<(), GroupError> {
    let refused = |source| GroupError::Refused { group: group.to_owned(), source };
    let found = Group::from_name(group).map_err(|error| refused(error.into()))?;
    let found = found.ok_or_else(|| GroupError::Unknown(group.to_owned()))?;
    chown(path, None, Some(found.gid.as_raw())).map_err(refused)
}
