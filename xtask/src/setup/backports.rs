//! Packages of the machine's backports suite, where a sibling of them is from there already.
//!
//! A machine whose `qemu-utils` comes from backports refuses the plain `qemu-system-x86`: two
//! versions of QEMU would have to share their files, so `qemu-utils` would have to go. The
//! emulator of the same suite fits. The machine's own sources stay as they are: the suite is
//! in a list of its own, which counts for these calls only.
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::failure::{Outcome, fail};
use crate::shell;

/// What must have the version of its sibling, and the sibling.
const EMULATOR: (&str, &str) = ("qemu-system-x86", "qemu-utils");
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The list that apt reads instead of this one must have what stands here too.
const SOURCES: &str = "/etc/apt/sources.list";

/// The suite that a package has to come from.
pub(super) struct Backports {
    pub(super) package: &'static str,
    options: Vec<String>,
}

impl Backports {
    /// The suite for the emulator, if it is among `packages` and the plain one is refused
    /// because of a sibling of another version; says so. apt's lists must be fresh.
    pub(super) fn needed(packages: &[&str]) -> Outcome<Option<Self>> {
        let (package, sibling) = EMULATOR;
        if !packages.contains(&package) || is_accepted(package) {
            return Ok(None);
        }
        let Some(version) = installed(sibling).filter(|version| version.contains("~bpo")) else {
            return Ok(None);
        };
        let targets = ["indextargets", "--format", "$(CREATED_BY) $(REPO_URI) $(CODENAME)"];
        let targets = shell::output(Command::new("apt-get").args(targets))?;
        let Some((mirror, codename)) = mirror(&targets, &fs::read_to_string("/etc/os-release")?)
        else {
            return fail(format!(
                "{sibling} {version} is of backports, and no source in /etc/apt tells from which mirror; \
                 install {package} of the same version yourself"
            ));
        };
        println!(
            "setup: {sibling} is {version}: taking {package} from {codename}-backports, too; \
             /etc/apt stays as it is"
        );
        let list =
            write_list(&format!("deb [signed-by={KEYRING}] {mirror} {codename}-backports main"))?;
        let options = [
            "-o".to_owned(),
            format!("Dir::Etc::SourceList={}", list.display()),
            "-t".to_owned(),
            format!("{codename}-backports"),
        ];
        Ok(Some(Self { package, options: options.to_vec() }))
    }

    /// The words that make apt know the suite.
    pub(super) fn source(&self) -> Vec<&str> {
        self.options[..2].iter().map(String::as_str).collect()
    }

    /// Those that make apt prefer it, too.
    pub(super) fn preferred(&self) -> Vec<&str> {
        self.options.iter().map(String::as_str).collect()
    }
}

/// Whether apt would install it and remove nothing.
fn is_accepted(package: &str) -> bool {
    let words = ["--simulate", "install", "--no-install-recommends", "--no-remove", package];
    shell::output(Command::new("apt-get").args(words)).is_ok()
}

fn installed(package: &str) -> Option<String> {
    let words = ["--show", "--showformat=${Status} ${Version}", package];
    let output = Command::new("dpkg-query").args(words).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_once(" ok installed ").map(|(_, version)| version.to_owned())
}

/// The machine's mirror of its own release, and the release's codename.
fn mirror(targets: &str, os_release: &str) -> Option<(String, String)> {
    let field = |line: &str| {
        line.strip_prefix("VERSION_CODENAME=").map(|name| name.trim_matches('"').to_owned())
    };
    let codename = os_release.lines().find_map(field)?;
    let uri = targets.lines().find_map(|line| {
        let mut words = line.split(' ');
        let ours = words.next() == Some("Packages");
        let uri = words.next()?;
        (ours && words.next() == Some(&codename)).then(|| uri.to_owned())
    })?;
    Some((uri, codename))
}

fn write_list(line: &str) -> Outcome<PathBuf> {
    let home = shell::repository().join("target/setup");
    fs::create_dir_all(&home)?;
    let list = home.join("backports.list");
    let own = fs::read_to_string(SOURCES).unwrap_or_default();
    fs::write(&list, format!("{own}\n{line}\n"))?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::mirror;

    #[test]
    fn the_mirror_is_that_of_the_release() {
        let release = "ID=debian\nVERSION_CODENAME=bookworm\n";
        let cases = [
            ("Packages http://a/debian/ bookworm\n", release, Some("http://a/debian/")),
            (
                "Packages http://s/ bookworm-security\nDEP-11 http://b/ bookworm\nPackages http://c/ bookworm\n",
                release,
                Some("http://c/"),
            ),
            ("Packages http://a/ trixie\n", release, None),
            ("", release, None),
            ("Packages http://a/ bookworm\n", "ID=debian\n", None),
        ];
        for (targets, release, expected) in cases {
            let found = mirror(targets, release);
            assert_eq!(found.as_ref().map(|(uri, _)| uri.as_str()), expected, "{targets}");
        }
    }
}
