//! A Debian below `target/`, made once; each test has a copy.
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::shell;

const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
/// Beside what is essential: what the tests look with, and adduser, which apt needs anyway.
const WITH: &str = "systemd,man-db,adduser,bsdextrautils,libelf1,zlib1g";

/// A copy, gone when dropped.
pub(super) struct Tree(PathBuf);

impl Tree {
    pub(super) fn new() -> Self {
        let home = shell::repository().join("target/debian");
        fs::create_dir_all(&home).unwrap();
        let lock = File::create(home.join("lock")).unwrap();
        lock.lock().unwrap();
        let base = home.join(SUITE);
        if !base.exists() {
            debootstrap(&home.join("half"), &base);
        }
        let copy = home.join(format!("copy-{}", std::process::id()));
        let _ = fs::remove_dir_all(&copy);
        let mut cp = Command::new("cp");
        shell::output(cp.args(["--archive", "--reflink=auto"]).arg(&base).arg(&copy)).unwrap();
        Self(copy)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// What a line of words without quotes prints in there.
    pub(super) fn run(&self, line: &str) -> String {
        shell::output(self.command().args(line.split(' '))).unwrap()
    }

    /// The same, for what fails: then what it prints.
    pub(super) fn try_run(&self, line: &str) -> Result<String, String> {
        let output = self.command().args(line.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    /// What a shell's line prints, whatever it ends with.
    pub(super) fn words(&self, line: &str) -> String {
        let output = self.command().args(["sh", "-c", line]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// In a mount namespace of its own, so that /proc goes with the command.
    fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        command.arg("mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"").arg(&self.0);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// All names in there, but those of dependencies, of apt's and dpkg's books, caches and logs.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let mut find = Command::new("find");
        find.arg(&self.0).args(["-xdev", "-printf", "%P\n"]);
        let all = shell::output(&mut find).unwrap();
        let ours = |name: &&str| {
            ![
                "var/lib/apt/",
                "var/lib/dpkg/",
                "var/cache/",
                "var/log/",
                "proc/",
                "dev/",
                "run/adduser",
                "run/systemd/",
            ]
            .iter()
            .any(|place| name.starts_with(place))
        };
        all.lines().filter(ours).map(ToOwned::to_owned).collect()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn debootstrap(half: &Path, base: &Path) {
    let _ = fs::remove_dir_all(half);
    let mut make = Command::new("debootstrap");
    make.args(["--variant=minbase", &format!("--include={WITH}"), SUITE]).arg(half).arg(MIRROR);
    shell::output(&mut make).unwrap();
    fs::rename(half, base).unwrap();
}
