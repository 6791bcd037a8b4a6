//! `when_down: drop`: programs that stay when the process ends. A pin is a file that holds a
//! program's link; the file of an interface has its name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use xsk::Attached;

use crate::model::{Model, WhenDown};

/// Where links are pinned.
pub(crate) const PINS: &str = "/sys/fs/bpf/xlvs";

/// Nowhere to pin programs.
#[derive(Debug, thiserror::Error)]
#[error(
    "when_down: drop: cannot make {}: {source}; mount the BPF file system (mount -t bpf bpf /sys/fs/bpf)", path.display()
)]
pub struct PinError {
    path: PathBuf,
    source: io::Error,
}

/// The directory of pins.
pub(super) struct Pins {
    directory: PathBuf,
    when_down: WhenDown,
}

impl Pins {
    /// Makes the directory if it is needed, and looks through what earlier runs left there.
    pub(super) fn open(model: &Model) -> Result<Self, PinError> {
        let directory = PathBuf::from(PINS);
        if model.when_down == WhenDown::Drop
            && let Err(source) = fs::create_dir(&directory)
            && source.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(PinError { path: directory, source });
        }
        let served = |name: &str| model.interfaces.iter().any(|interface| interface.name == name);
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(served) {
                look_after(&entry.path());
            }
        }
        Ok(Self { directory, when_down: model.when_down })
    }

    /// Where the link of an interface is pinned, or was by an earlier run: that one is taken
    /// over with `when_down: pass` too, and there is no gap.
    pub(super) fn of(&self, interface: &str) -> Option<PathBuf> {
        let path = self.directory.join(interface);
        (self.when_down == WhenDown::Drop || path.exists()).then_some(path)
    }

    /// With `when_down: pass` nothing stays pinned, and the directory goes with its last pin.
    pub(super) fn settle(&self, interface: &str, attached: &mut Attached) {
        if self.when_down == WhenDown::Drop {
            return;
        }
        match attached.unpin() {
            // Not empty: another interface's pin, or another xlvs's.
            Ok(()) => _ = fs::remove_dir(&self.directory),
            Err(error) => {
                log::error!("{interface}: {}: not removed: {error}", self.directory.display());
            }
        }
    }

    /// For the log, in the end.
    pub(super) fn say_what_stays(&self) {
        if self.when_down == WhenDown::Drop {
            log::info!(
                "when_down: drop: packets for services are dropped until the next start; rm -r {} \
                 gives them to the kernel",
                self.directory.display()
            );
        }
    }
}

/// A pin of an interface that the file does not name: of no use if that is gone, and
/// otherwise perhaps of another xlvs.
fn look_after(path: &Path) {
    match xsk::pinned_interface(path) {
        Ok(None) => match fs::remove_file(path) {
            Ok(()) => log::info!("{}: removed: its interface is gone", path.display()),
            Err(error) => log::warn!("{}: not removed: {error}", path.display()),
        },
        Ok(Some(_)) => log::warn!(
            "{0}: an earlier run with when_down: drop left its program there, and services' \
             packets are dropped; rm {0}, unless another xlvs serves that interface",
            path.display()
        ),
        Err(_) => {}
    }
}
