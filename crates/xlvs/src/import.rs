//! `xlvs import`.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    process::ExitCode,
};

use control::netfilter;

use crate::failure;

/// Prints `marks:` entries for the MARK rules of a save, from a file or from standard input. A rule
/// that could not be translated is a failure: the rest of them may mean something else without it.
pub(crate) fn iptables(file: Option<&Path>) -> ExitCode {
    let (name, text) = match file.filter(|file| *file != Path::new("-")) {
        Some(file) => (file.display().to_string(), fs::read_to_string(file)),
        None => ("standard input".to_owned(), stdin()),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => return failure(&format!("cannot read {name}: {error}")),
    };
    match netfilter::read(&text) {
        Ok(ruleset) => {
            let imported = netfilter::import::import(&ruleset);
            let printed = crate::print(&mut io::stdout(), &imported.yaml().trim_end());
            match imported.refused() {
                0 => printed,
                1 => failure(&format!("{name}: 1 rule is not translated")),
                rules => failure(&format!("{name}: {rules} rules are not translated")),
            }
        }
        Err(error) => failure(&format!("{name}: {error}")),
    }
}

fn stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}
