//! Cases in files: what another program's file is, and what becomes of it.

use std::{fs, path::PathBuf};

/// One file below `tests/cases`.
pub(crate) struct Case {
    /// The folder's name and the file's.
    pub(crate) importer: String,
    pub(crate) name: String,
    sections: Vec<(String, String)>,
}

impl Case {
    /// What stands below `--- NAME`.
    pub(crate) fn section(&self, name: &str) -> Option<&str> {
        let of = |(known, _): &&(String, String)| known == name;
        self.sections.iter().find(of).map(|(_, text)| text.as_str())
    }

    /// The files that a pattern names.
    pub(crate) fn included(&self, pattern: &str) -> Vec<(String, String)> {
        let start = pattern.split('*').next().unwrap_or("");
        let here = self.sections.iter().filter_map(|(name, text)| {
            let name = name.strip_prefix("include ")?;
            name.starts_with(start).then(|| (name.to_owned(), text.clone()))
        });
        here.collect()
    }
}

/// All cases of the crate, in the order of their names.
pub(crate) fn all() -> Vec<Case> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../import/tests/cases");
    let mut cases = Vec::new();
    for importer in ["ipvsadm", "keepalived", "ldirectord"] {
        for entry in fs::read_dir(root.join(importer)).expect("a folder of cases") {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a case");
            let mut sections: Vec<(String, String)> = Vec::new();
            for line in text.lines() {
                match (line.strip_prefix("--- "), sections.last_mut()) {
                    (Some(name), _) => sections.push((name.to_owned(), String::new())),
                    (None, Some((_, text))) => {
                        text.push_str(line);
                        text.push('\n');
                    }
                    (None, None) => panic!("{}: text before the first section", path.display()),
                }
            }
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            cases.push(Case { importer: importer.to_owned(), name, sections });
        }
    }
    cases.sort_by(|one, other| (&one.importer, &one.name).cmp(&(&other.importer, &other.name)));
    assert!(cases.len() > 10, "the cases are there");
    cases
}
