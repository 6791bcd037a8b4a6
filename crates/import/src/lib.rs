//! What other programs have configured, as a file of xlvs.
//!
//! Pure: text in, YAML and notes out. The result does what the other program did, not what xlvs
//! does unless told otherwise: defaults of the other program are written out. What has no equal
//! is a [`Note`] with the line that it stands on, and a comment in the YAML at the place that it
//! belongs to. Nothing is dropped in silence: a word that no importer knows is a note, too.
//!
//! [`keepalived::import`] also gives back what is not LVS's, as a keepalived.conf to run beside
//! xlvs.
#![forbid(unsafe_code)]

mod document;
pub mod ipvsadm;
pub mod keepalived;
pub mod ldirectord;
mod note;
mod scheduler;
mod server_address;
mod yaml;

pub use note::{Note, Place};

/// What the files of other programs cannot tell.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The interfaces to serve. Without them the result has none, and `xlvs check` refuses it.
    pub interfaces: Vec<String>,
    /// Entries of `marks:`, each on a line that begins with `- `, as they stand in the file;
    /// comments among them.
    pub marks: Option<String>,
}

/// What came of a file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The file of xlvs, with the notes as comments.
    pub yaml: String,
    /// In the order of the source's lines.
    pub notes: Vec<Note>,
}

impl Imported {
    /// How many things have no equal.
    pub fn lost(&self) -> usize {
        self.notes.iter().filter(|note| note.lost).count()
    }
}
