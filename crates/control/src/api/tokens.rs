//! The tokens of those who ask over TCP: a file with a line for each, `NAME ROLE SHA256`. What a
//! token is, stands in no file: only its SHA-256 does, and that of 256 random bits tells nothing.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Caller, Role, stamp::Stamp};

/// Bits that others than the owner must not have.
const OTHERS: u32 = 0o177;
/// Octets of a tokens file: more than ten thousand lines.
const LARGEST: u64 = 1 << 20;
/// Characters of a token's name.
const LONGEST_NAME: usize = 64;
/// What every token begins with, so that scanners for leaked secrets can know it.
const PREFIX: &str = "xlvs_";

/// Why tokens cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The kernel refused.
    #[error("{}: cannot {action}: {source}; see that it is there and yours", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others may read or write it.
    #[error(
        "{}: mode {mode:04o}: others than its owner may use it; chmod 600 {}, and make new tokens if \
         they may have been read",
        path.display(), path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is somebody else's.
    #[error("{}: owned by uid {owner}, not by root or xlvs; chown root {}", path.display(), path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// A line that is none.
    #[error("{}:{line}: {fault}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// What is wrong, and the remedy.
        fault: String,
    },
    /// Not a name.
    #[error(
        "{0:?}: not a name of a token; use 1 to {LONGEST_NAME} letters, digits, dots, dashes and underscores"
    )]
    Name(String),
    /// It is there already.
    #[error("{}: there is a token {name}; choose another name, or `xlvs token del {name}` first", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// It is not there.
    #[error("{}: there is no token {name}; see `xlvs token list`", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// No random bits.
    #[error("no random bits: {0}; try again")]
    Random(String),
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is, for the audit log.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    digest: [u8; 32],
}

/// Makes a token: the only time that anybody sees it. The file is made if it is not there, and
/// replaced as a whole.
///
/// # Errors
/// See [`TokenError`]; then the file is as it was.
pub fn add(path: &Path, name: &str, role: Role) -> Result<String, TokenError> {
    if !is_name(name) {
        return Err(TokenError::Name(name.to_owned()));
    }
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(|error| TokenError::Random(error.to_string()))?;
    let token = format!("{PREFIX}{}", hexadecimal(&bits));
    change(path, |entries| {
        if entries.iter().any(|entry| entry.name == name) {
            return Err(TokenError::Taken { path: path.to_owned(), name: name.to_owned() });
        }
        entries.push(Entry { name: name.to_owned(), role, digest: digest(&token) });
        Ok(())
    })?;
    Ok(token)
}

/// Takes a token away: from then on it is refused.
///
/// # Errors
/// See [`TokenError`]; then the file is as it was.
pub fn remove(path: &Path, name: &str) -> Result<(), TokenError> {
    change(path, |entries| {
        let before = entries.len();
        entries.retain(|entry| entry.name != name);
        if entries.len() == before {
            return Err(TokenError::Unknown { path: path.to_owned(), name: name.to_owned() });
        }
        Ok(())
    })
}

/// All of the file's.
///
/// # Errors
/// See [`TokenError`].
pub fn list(path: &Path) -> Result<Vec<Entry>, TokenError> {
    read(path).map(|(entries, _)| entries)
}

/// Reads, changes and replaces the file; one at a time, by a lock on its directory.
fn change(
    path: &Path,
    change: impl FnOnce(&mut Vec<Entry>) -> Result<(), TokenError>,
) -> Result<(), TokenError> {
    // What a link leads to is replaced, not the link.
    let real = fs::canonicalize(path);
    let path = real.as_deref().unwrap_or(path);
    let refused = refused(path);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory).map_err(refused("make its directory"))?;
    let directory = File::open(directory).map_err(refused("open its directory"))?;
    directory.lock().map_err(refused("lock its directory"))?;
    let mut entries = match read(path) {
        Ok((entries, _)) => entries,
        Err(TokenError::Refused { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    change(&mut entries)?;
    let mut text = String::from("# Made by `xlvs token`: NAME ROLE SHA256\n");
    for Entry { name, role, digest } in &entries {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name} {} {}", role.name(), hexadecimal(digest));
    }
    replace(path, &directory, text.as_bytes())
}

/// Whole or not at all, also over a loss of power.
fn replace(path: &Path, directory: &File, content: &[u8]) -> Result<(), TokenError> {
    let refused = refused(path);
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    let new = PathBuf::from(new);
    // One that a killed process left may have another mode.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(refused("make a new one beside it"))?;
    file.write_all(content).map_err(refused("write a new one beside it"))?;
    file.sync_all().map_err(refused("write a new one beside it"))?;
    fs::rename(&new, path).map_err(refused("replace it"))?;
    directory.sync_all().map_err(refused("write its directory"))
}

fn refused(path: &Path) -> impl Fn(&'static str) -> Box<dyn FnOnce(io::Error) -> TokenError> + '_ {
    move |action| {
        let path = path.to_owned();
        Box::new(move |source| TokenError::Refused { path, action, source })
    }
}

/// The tokens, and what the file was when they were read.
fn read(path: &Path) -> Result<(Vec<Entry>, Stamp), TokenError> {
    let refused = refused(path);
    let file = File::open(path).map_err(refused("read it"))?;
    // Of what is open: another file may have the name by now.
    let found = file.metadata().map_err(refused("look at it"))?;
    if found.mode() & OTHERS != 0 {
        return Err(TokenError::Open { path: path.to_owned(), mode: found.mode() & 0o7777 });
    }
    if found.uid() != 0 && found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(TokenError::Foreign { path: path.to_owned(), owner: found.uid() });
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(refused("read it"))?;
    let lines = text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim();
        (!line.is_empty() && !line.starts_with('#')).then_some((index + 1, line))
    });
    let mut entries: Vec<Entry> = Vec::new();
    for (number, line) in lines {
        let fault = |fault| TokenError::Line { path: path.to_owned(), line: number, fault };
        let entry = entry(line).map_err(fault)?;
        if entries.iter().any(|other| other.name == entry.name) {
            return Err(fault(format!("a second token {}; remove one", entry.name)));
        }
        entries.push(entry);
    }
    Ok((entries, Stamp::of(&found)))
}

fn entry(line: &str) -> Result<Entry, String> {
    const REMEDY: &str = "make tokens by `xlvs token add`";
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, role, hash] = words[..] else {
        return Err(format!("not NAME ROLE SHA256; {REMEDY}"));
    };
    if !is_name(name) {
        return Err(format!("{name:?} is no name; {REMEDY}"));
    }
    let role = Role::named(role)
        .ok_or_else(|| format!("{role:?} is no role; it is viewer, operator or admin"))?;
    let digest = octets(hash).ok_or_else(|| format!("no SHA-256 of 64 hex digits; {REMEDY}"))?;
    Ok(Entry { name: name.to_owned(), role, digest })
}

fn is_name(name: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(fits)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a String does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn octets(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return None;
    }
    let mut octets = [0; 32];
    for (octet, digits) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(octets)
}

/// The file, as a server sees it: looked at for each request, read anew when it changed. A file
/// that cannot be used lets nobody in.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What was looked at; none if it could not be.
    stamp: Option<Stamp>,
    entries: Vec<Entry>,
    /// What was last said of it in the log.
    told: String,
}

impl Tokens {
    /// Those of this file.
    ///
    /// # Errors
    /// The file cannot be used: better known at the start than by the first client.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let (entries, stamp) = read(path)?;
        let known = Known { stamp: Some(stamp), entries, told: String::new() };
        Ok(Self { path: path.to_owned(), known: known.into() })
    }

    /// Whose token it is.
    pub(super) fn caller(&self, token: &str) -> Option<Caller> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.look(&self.path);
        let presented = digest(token);
        // All are compared, each wholly: the time tells nothing of where they differ.
        let mut found = None;
        for entry in &known.entries {
            if bool::from(entry.digest[..].ct_eq(&presented[..])) {
                found = Some(entry);
            }
        }
        found.map(|entry| Caller { name: format!("token {}", entry.name).into(), role: entry.role })
    }
}

impl Known {
    /// Reads the file anew if it is another than before.
    fn look(&mut self, path: &Path) {
        let stamp = fs::metadata(path).ok().map(|found| Stamp::of(&found));
        if stamp.is_some() && stamp == self.stamp {
            return;
        }
        match read(path) {
            Ok((entries, stamp)) => {
                log::info!("{}: {} tokens", path.display(), entries.len());
                *self = Self { stamp: Some(stamp), entries, told: String::new() };
            }
            Err(error) => {
                let told = error.to_string();
                if told != self.told {
                    log::error!("{told}; until then every token is refused");
                }
                *self = Self { stamp, entries: Vec::new(), told };
            }
        }
    }
}
