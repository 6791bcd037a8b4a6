//! The guest's whole system: busybox, a few real programs with their libraries, the modules
//! that are asked for, and files. All of it in memory, none of it left on a disk.
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Kernel;
use crate::failure::{Outcome, fail};
use crate::shell;

const INIT: &str = include_str!("init.sh");
const BUSYBOX: &str = "/bin/busybox";

/// What every guest has beside busybox. busybox's own shell prefers its built-in variants
/// of ip, sysctl and so on; scripts for Debian are to meet Debian's programs.
const PROGRAMS: &[&str] = &["dash", "ip", "sysctl", "modprobe", "grep", "sed"];

/// Every guest's NICs are virtio's.
const MODULES: &[&str] = &["virtio_pci", "virtio_net"];

/// What a guest is to have; packed into an archive when it boots.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    programs: Vec<String>,
    modules: Vec<String>,
    files: Vec<(PathBuf, PathBuf)>,
}

impl Initramfs {
    /// Adds programs of this machine, by name, with their libraries.
    #[must_use]
    pub fn programs<Name: AsRef<str>>(mut self, names: &[Name]) -> Self {
        self.programs.extend(names.iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Adds kernel modules and those that they need: there for `modprobe`, not yet loaded.
    #[must_use]
    pub fn modules<Name: AsRef<str>>(mut self, names: &[Name]) -> Self {
        self.modules.extend(names.iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Adds a file of this machine under another path; a program brings its libraries, and
    /// leaves its debug information.
    #[must_use]
    pub fn file(mut self, here: &Path, there: &str) -> Self {
        self.files.push((here.to_owned(), there.into()));
        self
    }

    /// Writes the archive for a kernel, building it up in a directory that must not exist.
    ///
    /// # Errors
    /// When something that was asked for is not there.
    pub(super) fn pack(&self, kernel: &Kernel, stage: &Path, archive: &Path) -> Outcome {
        let stage = Stage { root: stage };
        stage.skeleton()?;
        let programs = PROGRAMS.iter().copied().chain(self.programs.iter().map(String::as_str));
        for name in programs {
            let path = found(name)?;
            stage.program(&path, &path)?;
        }
        for (here, there) in &self.files {
            stage.program(here, there)?;
            stage.strip(there);
        }
        let modules = MODULES.iter().copied().chain(self.modules.iter().map(String::as_str));
        stage.modules(kernel, modules)?;
        stage.archive(archive)
    }
}

/// The directory that becomes the guest's root.
struct Stage<'a> {
    root: &'a Path,
}

impl Stage<'_> {
    fn place(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn skeleton(&self) -> Outcome {
        for directory in
            ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "run", "tmp"]
        {
            fs::create_dir_all(self.root.join(directory))?;
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), self.root.join(name))?;
        }
        symlink("dash", self.root.join("bin/sh"))?;
        if !Path::new(BUSYBOX).is_file() {
            return fail(format!("there is no {BUSYBOX}: cargo xtask setup"));
        }
        fs::copy(BUSYBOX, self.place(Path::new(BUSYBOX)))?;
        let init = self.root.join("init");
        fs::write(&init, INIT)?;
        Ok(fs::set_permissions(init, fs::Permissions::from_mode(0o755))?)
    }

    /// Copies a file, and what `ldd` says that it needs.
    fn program(&self, here: &Path, there: &Path) -> Outcome {
        self.copy(here, there)?;
        // It ends with 1 for what is no dynamic program: that needs nothing.
        let needed = shell::output(Command::new("ldd").arg(here)).unwrap_or_default();
        for library in needed.lines().filter_map(|line| line.split_whitespace().find(is_path)) {
            self.copy(Path::new(library), Path::new(library))?;
        }
        Ok(())
    }

    /// A dev build is nine tenths debug information; the guest's memory is small. What is no
    /// program stays as it is.
    fn strip(&self, there: &Path) {
        let _ = shell::output(Command::new("strip").arg(self.place(there)));
    }

    fn copy(&self, here: &Path, there: &Path) -> Outcome {
        let target = self.place(there);
        if target.exists() {
            return Ok(());
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        match fs::copy(here, target) {
            Ok(_) => Ok(()),
            Err(error) => fail(format!("{} for the guest: {error}", here.display())),
        }
    }

    fn modules<'n>(&self, kernel: &Kernel, names: impl Iterator<Item = &'n str>) -> Outcome {
        let home = PathBuf::from(format!("lib/modules/{}", kernel.release));
        let read = |name: &str| match fs::read_to_string(kernel.modules.join(name)) {
            Ok(text) => Ok(text),
            Err(error) => fail(format!("{name} of kernel {}: {error}", kernel.release)),
        };
        let (depends, builtin) = (read("modules.dep")?, read("modules.builtin")?);
        let mut needed = BTreeSet::new();
        for name in names {
            match depends.lines().find(|line| module_name(line) == name) {
                // `kernel/net/ipv4/ipip.ko: kernel/net/ipv4/tunnel4.ko …`
                Some(line) => needed.extend(line.split([':', ' ']).filter(|path| !path.is_empty())),
                None if builtin.lines().any(|line| module_name(line) == name) => {}
                None => return fail(format!("kernel {} has no module {name}", kernel.release)),
            }
        }
        for path in needed.into_iter().chain(["modules.builtin", "modules.order"]) {
            self.copy(&kernel.modules.join(path), &home.join(path))?;
        }
        let mut depmod = Command::new("depmod");
        shell::output(depmod.arg("--basedir").arg(self.root).arg(&kernel.release)).map(drop)
    }

    fn archive(&self, archive: &Path) -> Outcome {
        let mut find = Command::new("find");
        find.arg(".").current_dir(self.root).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut find = find.spawn()?;
        let mut cpio = Command::new("cpio");
        cpio.args(["--quiet", "--create", "--format=newc"]).current_dir(self.root);
        if let Some(names) = find.stdout.take() {
            cpio.stdin(names);
        }
        let ended = cpio.stdout(File::create(archive)?).status();
        find.wait()?;
        match ended {
            Ok(status) if status.success() => Ok(fs::remove_dir_all(self.root)?),
            Ok(status) => fail(format!("cpio: {status}")),
            Err(error) => fail(format!("cpio: {error}: cargo xtask setup")),
        }
    }
}

fn is_path(word: &&str) -> bool {
    word.starts_with('/') && !word.ends_with(':')
}

/// The name of a line's (first) module, as `modprobe` takes it.
fn module_name(line: &str) -> String {
    let path = line.split(':').next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split(".ko").next().unwrap_or_default().replace('-', "_")
}

/// A program's place, also where root's path lacks the sbin directories.
fn found(name: &str) -> Outcome<PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let places = system.into_iter().chain(std::env::split_paths(&own));
    match places.map(|place| place.join(name)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => fail(format!("there is no program {name}: cargo xtask setup")),
    }
}

#[cfg(test)]
mod tests {
    use super::module_name;

    #[test]
    fn module_names_are_those_that_modprobe_takes() {
        for (line, name) in [
            ("kernel/net/ipv4/ipip.ko: kernel/net/ipv4/tunnel4.ko", "ipip"),
            ("kernel/drivers/net/virtio_net.ko.xz: a.ko.xz b.ko.xz", "virtio_net"),
            ("kernel/net/netfilter/xt_mark-x.ko.zst:", "xt_mark_x"),
            ("kernel/drivers/virtio/virtio_pci.ko", "virtio_pci"),
        ] {
            assert_eq!(module_name(line), name);
        }
    }
}
