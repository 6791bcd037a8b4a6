//! The Debian package, installed in a clean Debian and purged again. Needs root, and the network
//! for the first tree.
#![forbid(unsafe_code)]

mod tree;

use std::fs;

use xtask::deb::{self, Options};

use tree::Tree;

/// What the package is, from `apt install` to `apt purge`, in one clean tree.
#[test]
fn it_installs_reads_well_and_leaves_nothing() {
    let package = deb::build(&Options { dev: true }).unwrap();
    let tree = Tree::new();
    let before = tree.names();
    fs::copy(&package, tree.path("tmp/xlvs.deb")).unwrap();
    tree.run("apt-get install -q -y --no-install-recommends /tmp/xlvs.deb");

    starts_nothing(&tree);
    has_its_places(&tree);
    its_words_read_well(&tree);
    its_unit_is_right(&tree);
    keeps_what_was_written(&tree);

    tree.run("apt-get purge -q -y xlvs");
    fs::remove_file(tree.path("tmp/xlvs.deb")).unwrap();
    let left: Vec<String> =
        tree.names().into_iter().filter(|name| !before.contains(name)).collect();
    assert!(left.is_empty(), "purge leaves {left:?}");
    assert!(!tree.read("etc/passwd").contains("xlvs") && !tree.read("etc/group").contains("xlvs"));
}

/// A director decides when it runs.
fn starts_nothing(tree: &Tree) {
    let enabled = tree.try_run("systemctl is-enabled xlvs.service");
    assert_eq!(enabled.unwrap_err().trim(), "disabled");
    assert!(!tree.path("run/xlvs").exists());
}

fn has_its_places(tree: &Tree) {
    for place in [
        "etc/xlvs/xlvs.yaml",
        "usr/lib/systemd/system/xlvs.service",
        "usr/lib/xlvs/realserver",
        "usr/lib/xlvs/hooks/mail",
        "usr/share/doc/xlvs/configs/full.yaml",
        "usr/share/doc/xlvs/grafana/xlvs.json",
        "usr/share/doc/xlvs/prometheus/alerts.yml",
        "usr/share/zsh/vendor-completions/_xlvs",
        "usr/share/fish/vendor_completions.d/xlvs.fish",
    ] {
        let packed = tree.path(&format!("{place}.gz"));
        assert!(tree.path(place).exists() || packed.exists(), "no {place}");
    }
    for name in ["usr/sbin/ipvsadm", "usr/local/sbin/ipvsadm"] {
        assert!(!tree.path(name).exists(), "{name}: a link that nobody asked for");
    }
    assert_eq!(tree.run("stat -c %a:%G /etc/xlvs /etc/xlvs/xlvs.yaml"), "750:xlvs\n640:xlvs\n");
    let needs = tree.run("dpkg-query --show --showformat=${Depends} xlvs");
    for package in ["libc6", "libelf1", "zlib1g"] {
        assert!(needs.contains(package), "{needs}");
    }
}

fn its_words_read_well(tree: &Tree) {
    let help = tree.run("xlvs --help");
    for part in ["Run it:", "See how it is:", "Examples:"] {
        assert!(help.contains(part), "{help}");
    }
    let said = tree.run("xlvs check");
    assert!(said.contains("0 services"), "{said}");
    let pages = tree.run("find /usr/share/man -name xlvs*.gz");
    assert!(pages.lines().count() > 10, "{pages}");
    for page in pages.lines() {
        // As Debian's own checks do it.
        let warnings = tree.words(&format!(
            "LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z {page} 2>&1 >/dev/null"
        ));
        assert_eq!(warnings, "", "{page}");
    }
    let text = tree.words("LC_ALL=C.UTF-8 MANWIDTH=80 man -P cat xlvs 2>&1 | col -b");
    for part in ["EXIT STATUS", "SIGTERM, SIGINT", "/etc/xlvs/xlvs.yaml"] {
        assert!(text.contains(part), "{text}");
    }
    let completed = tree.words(
        "bash -c '. /usr/share/bash-completion/completions/xlvs; COMP_WORDS=(xlvs stat); COMP_CWORD=1; \
         _xlvs xlvs stat xlvs; echo ${COMPREPLY[@]}'",
    );
    assert_eq!(completed.trim(), "status stats", "{completed}");
}

fn its_unit_is_right(tree: &Tree) {
    assert_eq!(tree.words("systemd-analyze verify xlvs.service 2>&1"), "");
    println!("{}", tree.words("systemd-analyze security --offline=true xlvs.service | tail -n 1"));
}

/// An upgrade leaves the operator's file alone.
fn keeps_what_was_written(tree: &Tree) {
    let file = "etc/xlvs/xlvs.yaml";
    let text = format!("{}# the operator's\n", tree.read(file));
    fs::write(tree.path(file), &text).unwrap();
    tree.run("dpkg --install --force-confdef --force-confold /tmp/xlvs.deb");
    assert_eq!(tree.read(file), text);
    assert_eq!(tree.run("stat -c %a:%G /etc/xlvs/xlvs.yaml"), "640:xlvs\n");
}
