//! What operators ordered outlives a restart: a file in the state directory, written whole or not
//! at all. One that cannot be read is said, and kept aside: nothing is lost in silence.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::registry::{Denials, Overrides};

/// The file.
#[derive(Debug)]
pub(super) struct Notes {
    path: PathBuf,
}

/// What is in it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Noted {
    version: u32,
    #[serde(default)]
    pub(super) servers: Overrides,
    #[serde(default)]
    pub(super) denied: Denials,
}

const VERSION: u32 = 1;

impl Notes {
    /// The one in `directory`, which is made if it is not there; beside the socket if it cannot be
    /// used: there it lasts until the box is started anew.
    pub(super) fn within(directory: &Path, socket: &Path) -> Self {
        match usable(directory) {
            Ok(()) => Self { path: directory.join("overrides.json") },
            Err(error) => {
                let path = socket.with_extension("overrides.json");
                log::warn!(
                    "{}: {error}; overrides are kept in {} and end with a reboot; make the \
                     directory, or name another one with --state",
                    directory.display(),
                    path.display()
                );
                Self { path }
            }
        }
    }

    /// What an earlier run left. One that cannot be read is renamed, for somebody to look at.
    pub(super) fn read(&self) -> Noted {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Noted::default(),
            Err(error) => {
                log::error!("{}: {error}; no override holds", self.path.display());
                return Noted::default();
            }
        };
        let read = serde_json::from_slice::<Noted>(&text).map_err(|error| error.to_string());
        let read = read.and_then(|noted| match noted.version {
            VERSION => Ok(noted),
            other => Err(format!("version {other}, and this xlvs reads {VERSION}")),
        });
        read.unwrap_or_else(|why| {
            let aside = self.path.with_extension("json.unread");
            let kept = match fs::rename(&self.path, &aside) {
                Ok(()) => format!("it is kept as {}", aside.display()),
                Err(error) => format!("and cannot be renamed: {error}"),
            };
            log::error!(
                "{}: cannot be read: {why}; {kept}; no override holds: drain again what was drained",
                self.path.display()
            );
            Noted::default()
        })
    }

    /// Leaves it for a later run, on the disk when this returns.
    ///
    /// # Errors
    /// In words: what holds now would not after a restart.
    pub(super) fn write(&self, servers: &Overrides, denied: &Denials) -> Result<(), String> {
        let noted = Noted { version: VERSION, servers: servers.clone(), denied: denied.clone() };
        let half = self.path.with_extension("half");
        let written = serde_json::to_vec_pretty(&noted).map_err(io::Error::from).and_then(|text| {
            let mut file = File::create(&half)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&half, &self.path)?;
            File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
        });
        written.map_err(|error| {
            format!("{}: {error}; it holds now, and not after a restart", self.path.display())
        })
    }
}

/// It is there, or can be made, and can be written to.
fn usable(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let probe = directory.join(".writable");
    File::create(&probe)?;
    fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of the test's own; removed in the end.
    struct Place(PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn place(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("xlvs-notes-{}-{name}", std::process::id()));
        Place(path)
    }

    const TEXT: &str = r#"{"version": 1,
        "servers": [{"service": "203.0.113.10:80/tcp", "address": "10.0.2.11", "port": 80,
            "state": {"value": "drain", "file_value": "ready", "who": "alice",
                      "when": "2026-11-28T01:02:03.456Z", "why": "a new disk"},
            "weight": {"value": 5, "file_value": 1, "who": "bob", "when": "2026-11-28T01:02:04Z"}},
          {"service": "mark 7 IPv6", "address": "fd00::1", "port": 0,
            "state": {"value": "maint", "file_value": "drain_persistent", "who": "alice",
                      "when": "2026-11-28T01:02:03Z"}, "gone_since": "2026-11-28T02:00:00Z"}],
        "denied": [{"source": "192.0.2.0/24", "who": "bob", "when": "2026-11-28T01:02:03Z"},
          {"source": "2001:db8::/32", "service": "mark 7 IPv6", "until": "2026-11-29T00:00:00Z",
           "who": "bob", "when": "2026-11-28T01:02:03Z", "why": "a flood"}]}"#;

    #[test]
    fn what_is_written_is_read() {
        let place = place("round");
        let notes = Notes::within(&place.0, Path::new("/nowhere/x.sock"));
        let nothing = notes.read();
        assert!(nothing.servers.is_empty() && nothing.denied.all().is_empty());
        fs::write(&notes.path, TEXT).unwrap();
        let first = notes.read();
        assert!(!first.servers.is_empty());
        assert_eq!(first.denied.all().len(), 2);
        notes.write(&first.servers, &first.denied).unwrap();
        let second = notes.read();
        assert_eq!((second.servers, second.denied), (first.servers, first.denied));
    }

    #[test]
    fn what_cannot_be_read_is_kept_aside() {
        for (at, text) in [
            "{",
            r#"{"version": 2}"#,
            r#"{"version": 1, "servers": 7}"#,
            r#"{"version": 1, "more": []}"#,
            &TEXT.replace("maint", "resting"),
            &TEXT.replace("mark 7", "mark 0"),
            &TEXT.replace("192.0.2.0/24", "192.0.2.1/24"),
        ]
        .into_iter()
        .enumerate()
        {
            let place = place(&format!("bad{at}"));
            let notes = Notes::within(&place.0, Path::new("/nowhere/x.sock"));
            fs::write(&notes.path, text).unwrap();
            assert!(notes.read().servers.is_empty(), "{text}");
            assert!(!notes.path.exists(), "{text}");
            let aside = place.0.join("overrides.json.unread");
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
        }
    }

    #[test]
    fn without_its_directory_it_lies_beside_the_socket() {
        let place = place("fallback");
        fs::create_dir_all(&place.0).unwrap();
        let file = place.0.join("file");
        fs::write(&file, "").unwrap();
        let notes = Notes::within(&file.join("state"), &place.0.join("xlvs.sock"));
        assert_eq!(notes.path, place.0.join("xlvs.overrides.json"));
        assert!(notes.write(&Overrides::default(), &Denials::default()).is_ok());
    }
}
