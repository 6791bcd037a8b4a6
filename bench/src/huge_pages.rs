//! Huge pages for a run, as a director has them; who forwards takes them by itself.

use std::{fs, io};

const POOL: &str = "/proc/sys/vm/nr_hugepages";

/// Given back at the end of the run, also of one that is interrupted.
#[must_use]
pub(crate) struct HugePages {
    before: u32,
}

impl HugePages {
    /// Sees to it that the machine's pool has so many pages, of 2 MiB, and says what it takes.
    ///
    /// # Errors
    /// No root, or so many cannot be had.
    pub(crate) fn reserve(count: u32) -> io::Result<Self> {
        let pages = Self { before: pool()? };
        if pages.before < count {
            println!("vm.nr_hugepages={count} for this run, {} again after it", pages.before);
            fs::write(POOL, count.to_string())?;
        }
        match pool()? {
            enough if enough >= count => Ok(pages),
            few => Err(io::Error::other(format!(
                "{few} huge pages of {count} wanted: free some memory, or take fewer: rig --pages N"
            ))),
        }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // Without root it was not changed.
        let _ = fs::write(POOL, self.before.to_string());
    }
}

/// How many there are.
fn pool() -> io::Result<u32> {
    let text = fs::read_to_string(POOL)?;
    text.trim().parse().map_err(|_| io::Error::other(format!("{POOL}: {text}")))
}
