//! Man pages: one for each verb, of the command line's own tree, and xlvs.yaml(5), of the file
//! that shows every key. `xlvs generate man DIR` writes them when a package is built.

mod file_format;
mod page;

use std::{fs, io, path::Path, process::ExitCode};

use clap::Command;

use crate::{command, failure};

/// The section of an administrator's commands.
const SECTION: &str = "8";

/// Writes all pages into a directory, which is made if need be.
pub(crate) fn generate(directory: &Path) -> ExitCode {
    match write(directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&format!("{}: {error}", directory.display())),
    }
}

fn write(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut tree = command::tree().disable_help_subcommand(true);
    tree.build();
    for (name, text) in pages(&tree, &["xlvs"])? {
        fs::write(directory.join(format!("{name}.{SECTION}")), text)?;
    }
    fs::write(directory.join("xlvs.yaml.5"), file_format::page())
}

/// The page of a verb and those of its verbs, each with its name: `xlvs-server-drain`.
fn pages(verb: &Command, path: &[&str]) -> io::Result<Vec<(String, String)>> {
    let shown = || verb.get_subcommands().filter(|verb| !verb.is_hide_set());
    let mut all = vec![(path.join("-"), page::page(verb, path)?)];
    for verb in shown() {
        all.extend(pages(verb, &[path, &[verb.get_name()]].concat())?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page() {
        let mut tree = command::tree();
        tree.build();
        let pages = pages(&tree, &["xlvs"]).unwrap();
        let text = |name: &str| &pages.iter().find(|(known, _)| known == name).unwrap().1;
        for section in [".SH NAME", ".SH FILES", ".SH SIGNALS", ".SH \"EXIT STATUS\""] {
            assert!(text("xlvs").contains(section), "{section}");
        }
        assert!(text("xlvs-status").contains("track_script"), "{}", text("xlvs-status"));
        assert!(!pages.iter().any(|(name, _)| name.contains("generate")));
    }

    #[test]
    fn the_files_page_has_every_key() {
        let page = file_format::page();
        for key in ["interfaces", "limits", "checks", "hooks", "services"] {
            assert!(page.contains(&format!(".SS {key}\n")), "{key}");
        }
        assert!(page.contains("sctp_shutdown_ack_sent: 61s"));
    }
}
