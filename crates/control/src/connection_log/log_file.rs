//! The file, under its name as long as it has that, and not larger than it may be.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Who talks to whom is not for everybody: owner and group.
const MODE: u32 = 0o640;

/// A file that is appended to.
pub(super) struct LogFile {
    path: PathBuf,
    /// Octets at which it is set aside.
    size: u64,
    open: Option<File>,
}

impl LogFile {
    /// Opens it, and makes its directory if need be.
    pub(super) fn open(path: &Path, size: u64) -> io::Result<Self> {
        let mut file = Self { path: path.to_owned(), size, open: None };
        file.reopen()?;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends lines, to a new file if this one has been moved away, or is large.
    pub(super) fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if !self.is_in_place() {
            self.reopen()?;
        }
        let Some(file) = &mut self.open else { return Ok(()) };
        file.write_all(text)?;
        if file.metadata()?.len() >= self.size {
            self.set_aside()?;
        }
        Ok(())
    }

    /// The name stands for the open file.
    fn is_in_place(&self) -> bool {
        let Some(Ok(ours)) = self.open.as_ref().map(File::metadata) else { return false };
        fs::metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()))
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.open = None;
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut options = OpenOptions::new();
        self.open = Some(options.append(true).create(true).mode(MODE).open(&self.path)?);
        Ok(())
    }

    /// The one that was set aside before goes.
    fn set_aside(&mut self) -> io::Result<()> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".1");
        fs::rename(&self.path, aside)?;
        self.reopen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_moved_or_large_is_begun_anew() {
        let directory = std::env::temp_dir().join(format!("xlvs-log-{}", std::process::id()));
        let path = directory.join("deep/connections.jsonl");
        let read = |name: &str| fs::read_to_string(path.with_file_name(name)).unwrap();
        let mut file = LogFile::open(&path, 10).unwrap();
        file.append(b"one\n").unwrap();
        fs::rename(&path, path.with_file_name("moved")).unwrap();
        file.append(b"two\n").unwrap();
        assert_eq!((read("moved"), read("connections.jsonl")), ("one\n".into(), "two\n".into()));
        file.append(b"three, four\n").unwrap();
        file.append(b"five\n").unwrap();
        let aside = read("connections.jsonl.1");
        assert_eq!((&*aside, &*read("connections.jsonl")), ("two\nthree, four\n", "five\n"));
        fs::remove_file(&path).unwrap();
        file.append(b"six\n").unwrap();
        assert_eq!(read("connections.jsonl"), "six\n");
        fs::remove_dir_all(&directory).unwrap();
    }
}
