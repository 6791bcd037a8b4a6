//! README's table and curves: written from a run, and held to it by a test.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Sheets, markdown};
use crate::{plot, sheet::Run};

/// From which run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A directory of `bench/runs`; the one that README names if none is named here
    run: Option<PathBuf>,
}

/// What stands around them; the run's directory is in the first one.
const BEGIN: &str = "<!-- goals of ";
const BY_WHOM: &str = ": written by `cargo xtask bench --readme [RUN_DIR]` -->\n";
const END: &str = "<!-- end of goals -->\n";

/// Draws the run's curves anew and writes README's part of it.
///
/// # Errors
/// README has no place for it, or the run cannot be read.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let file = repository().join("README.md");
    let readme = fs::read_to_string(&file)?;
    let place = Place::find(&readme).ok_or_else(|| {
        io::Error::other(format!("{}: no \"{BEGIN}bench/runs/...{BY_WHOM}\"", file.display()))
    })?;
    let named = match &options.run {
        Some(run) => in_repository(run)?,
        None => place.run.to_owned(),
    };
    plot::draw(&run_named(&named)?)?;
    let part = part(&named)?;
    if part != place.part {
        fs::write(&file, [place.before, &part, place.after].concat())?;
        println!("{}", file.display());
    }
    Ok(())
}

/// README in three pieces.
struct Place<'a> {
    before: &'a str,
    /// The run's directory in the repository.
    run: &'a str,
    /// With the lines around it.
    part: &'a str,
    after: &'a str,
}

impl<'a> Place<'a> {
    fn find(readme: &'a str) -> Option<Self> {
        let begin = readme.find(BEGIN)?;
        let end = begin + readme[begin..].find(END)? + END.len();
        let part = &readme[begin..end];
        let (run, _) = part[BEGIN.len()..].split_once(BY_WHOM)?;
        Some(Self { before: &readme[..begin], run, part, after: &readme[end..] })
    }
}

/// README's part of a run.
fn part(named: &str) -> io::Result<String> {
    let run = run_named(named)?;
    let sheets = Sheets::read(&run)?;
    let mut text = format!("{BEGIN}{named}{BY_WHOM}");
    text += &format!("Figures of [{named}]({named}/): {}.\n\n", sheets.origins().join("; "));
    text += &markdown(&sheets)?;
    for plot in &plot::PLOTS {
        if plot.svg(&run)?.is_some() {
            text += &format!("\n![{}]({named}/{})\n", plot.shows, plot.file());
        }
    }
    Ok(text + END)
}

fn run_named(named: &str) -> io::Result<Run> {
    Run::named_or_newest(Some(&repository().join(named)))
}

/// A directory as README names it.
fn in_repository(run: &Path) -> io::Result<String> {
    let (root, run) = (repository().canonicalize()?, run.canonicalize()?);
    let within = run.strip_prefix(&root);
    let outside = |_| io::Error::other(format!("{}: not in this repository", run.display()));
    Ok(within.map_err(outside)?.to_string_lossy().into_owned())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMEDY: &str = "cargo xtask bench --readme writes it anew";

    #[test]
    fn readme_claims_what_its_run_shows() -> io::Result<()> {
        let readme = fs::read_to_string(repository().join("README.md"))?;
        let place = Place::find(&readme).expect("README has a place for the goals");
        assert_eq!(place.part, part(place.run)?, "{REMEDY}");
        let run = run_named(place.run)?;
        for plot in &plot::PLOTS {
            let drawn = fs::read_to_string(run.directory().join(plot.file())).ok();
            assert!(drawn == plot.svg(&run)?, "{}: {REMEDY}", plot.file());
        }
        Ok(())
    }
}
