//! The archive: files by their names, each without secrets, and a list of what is there and what
//! is not.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, Header};

use super::secrets::Secrets;

/// Octets of one part that are kept: its end, where newer things stand.
const LARGEST: usize = 4 << 20;

/// What was collected.
pub(super) struct Archive {
    /// The directory in it.
    name: String,
    /// Seconds since 1970.
    time: u64,
    secrets: Secrets,
    parts: Vec<(String, String)>,
    missing: Vec<(String, String)>,
}

impl Archive {
    pub(super) fn new(name: &str, time: u64, secrets: Secrets) -> Self {
        let name = name.to_owned();
        Self { name, time, secrets, parts: Vec::new(), missing: Vec::new() }
    }

    /// A part, or why there is none.
    pub(super) fn add(&mut self, part: &str, text: Result<String, String>) {
        match text {
            Ok(text) => {
                let masked = self.secrets.masked(tail(&text));
                self.parts.push((part.to_owned(), masked));
            }
            Err(why) => self.missing.push((part.to_owned(), self.secrets.masked(&why))),
        }
    }

    /// How many parts could not be had.
    pub(super) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// A tar archive, compressed by gzip.
    pub(super) fn pack(mut self) -> io::Result<Vec<u8>> {
        let contents = self.contents();
        self.parts.insert(0, ("contents.txt".to_owned(), contents));
        let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (part, text) in &self.parts {
            let mut header = Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(self.time);
            tar.append_data(&mut header, format!("{}/{part}", self.name), text.as_bytes())?;
        }
        tar.into_inner()?.finish()
    }

    fn contents(&self) -> String {
        let mut text = format!("xlvs {}: {}\n\n", env!("CARGO_PKG_VERSION"), self.name);
        for (part, content) in &self.parts {
            text.push_str(&format!("{part}: {} octets\n", content.len()));
        }
        for (part, why) in &self.missing {
            text.push_str(&format!("{part}: MISSING: {}\n", why.trim().replace('\n', "; ")));
        }
        text
    }
}

fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(LARGEST);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// For the operator's eyes first.
pub(super) fn write_private(to: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    file.write_all(octets)
}
