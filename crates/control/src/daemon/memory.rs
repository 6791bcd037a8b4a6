//! What is known of servers' health outlives a restart: a file beside the socket, so that it goes
//! with a reboot.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ::health::event::Health;
use hashbrown::HashMap;

/// The file.
pub(super) struct Memory {
    path: PathBuf,
}

impl Memory {
    /// The one that belongs to a daemon with this socket.
    pub(super) fn beside(socket: &Path) -> Self {
        Self { path: socket.with_extension("health.json") }
    }

    /// What an earlier run left; nothing if there is none, or it cannot be read.
    pub(super) fn read(&self) -> HashMap<String, Health> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return HashMap::new(),
            Err(error) => {
                log::warn!("{}: {error}; all checks begin anew", self.path.display());
                return HashMap::new();
            }
        };
        let words: HashMap<String, String> =
            serde_json::from_slice(&text).unwrap_or_else(|error| {
                log::warn!("{}: {error}; all checks begin anew", self.path.display());
                HashMap::new()
            });
        let known = [Health::Up, Health::Down];
        let health = |word: String| known.into_iter().find(|health| health.name() == word);
        words.into_iter().filter_map(|(name, word)| Some((name, health(word)?))).collect()
    }

    /// Leaves it for a later run, whole or not at all.
    pub(super) fn write(&self, memory: &HashMap<String, Health>) {
        let words: HashMap<&str, &str> =
            memory.iter().map(|(name, health)| (name.as_str(), health.name())).collect();
        let half = self.path.with_extension("half");
        let written = serde_json::to_vec(&words)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&half, text))
            .and_then(|()| fs::rename(&half, &self.path));
        if let Err(error) = written {
            log::debug!("{}: {error}", self.path.display());
        }
    }
}
