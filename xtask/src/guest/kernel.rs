//! Debian's kernels, unpacked below `target/`, never installed.
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::failure::{Outcome, fail};
use crate::shell;

/// Which of Debian's kernels. Each comes from a package list of its own, so that the
/// machine's apt, its sources and its pins are left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Release {
    /// 6.1, with ipip, sit, ip6_tunnel and IPVS as modules
    Bookworm,
    /// The newest that Debian has built for its stable release: virtio-net does AF_XDP
    /// zero-copy from 6.13 on (RX since 6.11)
    TrixieBackports,
}

/// What matches all of them: the variant for virtual machines, a third of the full size.
const PACKAGE: &str = "linux-image-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel that is there.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The image that boots.
    pub image: PathBuf,
    /// What `uname -r` says in it.
    pub release: String,
    /// Its modules with modules.dep: `…/lib/modules/<release>`.
    pub modules: PathBuf,
}

impl Release {
    fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::TrixieBackports => "trixie-backports",
        }
    }

    /// The kernel, fetched if it is not there. Two that ask at once wait for each other.
    ///
    /// # Errors
    /// When apt-get cannot reach a mirror, or the package is not as Debian builds it.
    pub fn kernel(self) -> Outcome<Kernel> {
        let home = shell::repository().join("target/guest");
        fs::create_dir_all(&home)?;
        let lock = File::create(home.join(format!("{}.lock", self.suite())))?;
        lock.lock()?;
        let place = home.join(self.suite());
        let unpacked = place.join("kernel");
        if !unpacked.exists() {
            let started = std::time::Instant::now();
            self.fetch(&place)?;
            let took = started.elapsed().as_secs_f32();
            println!("guest: fetched the kernel of {} in {took:.0} s", self.suite());
        }
        Kernel::below(&unpacked)
    }

    fn fetch(self, place: &Path) -> Outcome {
        let apt = Apt::new(place, self.suite())?;
        apt.run("apt-get", &["--quiet", "update"])?;
        let packages = apt.packages()?;
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        apt.run("apt-get", &[&["--quiet", "download"], names.as_slice()].concat())?;
        let half = place.join("half");
        for entry in fs::read_dir(place)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "deb") {
                shell::output(Command::new("dpkg-deb").arg("--extract").arg(&path).arg(&half))?;
                fs::remove_file(path)?;
            }
        }
        let kernel = Kernel::below(&half)?;
        if let Some(base) = kernel.modules.ancestors().nth(3) {
            let mut depmod = Command::new("depmod");
            shell::output(depmod.arg("--basedir").arg(base).arg(&kernel.release))?;
        }
        // Last: whoever sees the name finds all of it.
        Ok(fs::rename(half, place.join("kernel"))?)
    }
}

impl Kernel {
    /// Whether it has this module.
    ///
    /// # Errors
    /// When it has no modules.dep.
    pub fn offers(&self, module: &str) -> Outcome<bool> {
        let modules = fs::read_to_string(self.modules.join("modules.dep"))?;
        Ok(modules.lines().any(|line| line.contains(&format!("/{module}.ko"))))
    }

    /// Finds it in an unpacked package. Newer ones keep the image beside the modules, and
    /// both below /usr.
    fn below(root: &Path) -> Outcome<Self> {
        let homes = ["lib/modules", "usr/lib/modules"].map(|home| root.join(home));
        let Some(home) = homes.iter().find(|home| home.is_dir()) else {
            return fail(format!("no lib/modules in {}; delete it to fetch anew", root.display()));
        };
        let Some(entry) = fs::read_dir(home)?.next() else {
            return fail(format!("{} is empty", home.display()));
        };
        let entry = entry?;
        let release = entry.file_name().to_string_lossy().into_owned();
        let modules = entry.path();
        let images = [modules.join("vmlinuz"), root.join(format!("boot/vmlinuz-{release}"))];
        match images.into_iter().find(|image| image.is_file()) {
            Some(image) => Ok(Self { image, release, modules }),
            None => fail(format!("no vmlinuz of {release} in {}", root.display())),
        }
    }
}

/// apt-get with sources, lists and a cache of its own.
struct Apt {
    place: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(place: &Path, suite: &str) -> Outcome<Self> {
        fs::create_dir_all(place.join("lists/partial"))?;
        fs::create_dir_all(place.join("archives/partial"))?;
        let sources = place.join("sources.list");
        let mirror = "http://deb.debian.org/debian";
        fs::write(&sources, format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))?;
        let options = [
            format!("Dir::Etc::SourceList={}", sources.display()),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State::Lists={}", place.join("lists").display()),
            format!("Dir::Cache={}", place.display()),
            "Acquire::Languages=none".to_owned(),
            // What is below target/ belongs to whoever builds; apt's own user may not go there.
            "APT::Sandbox::User=root".to_owned(),
        ];
        Ok(Self { place: place.to_owned(), options: options.to_vec() })
    }

    fn run(&self, program: &str, words: &[&str]) -> Outcome<String> {
        let mut command = Command::new(program);
        command.current_dir(&self.place).env("LC_ALL", "C");
        for option in &self.options {
            command.args(["--option", option]);
        }
        shell::output(command.args(words))
    }

    /// The packages that hold the image and the modules: one, or four in newer releases.
    fn packages(&self) -> Outcome<Vec<String>> {
        let all = self.run("apt-cache", &["depends", "--recurse", "--important", PACKAGE])?;
        let holds = |name: &&str| {
            let parts = ["linux-image-", "linux-base-", "linux-binary-", "linux-modules-"];
            parts.iter().any(|part| {
                name.strip_prefix(part).is_some_and(|rest| rest.starts_with(char::is_numeric))
            })
        };
        let found: Vec<String> = all.lines().filter(holds).map(str::to_owned).collect();
        if found.is_empty() {
            fail(format!("{PACKAGE} names no kernel:\n{all}"))
        } else {
            Ok(found)
        }
    }
}
