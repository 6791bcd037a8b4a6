//! `xlvs import`, as a user calls it.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

const SAVE: &str = "*mangle\n:PREROUTING ACCEPT [0:0]\n\
    -A PREROUTING -d 203.0.113.10/32 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0xa/0xffffffff\n\
    -A PREROUTING -d 203.0.113.10/32 -m recent --set -j MARK --set-xmark 0xb/0xffffffff\nCOMMIT\n";

const YAML: &str = "marks:\n  \
    - {mark: 10, destination: 203.0.113.10/32, protocol: tcp, ports: [80]}\n  \
    # not translated: line 4: -A PREROUTING -d 203.0.113.10/32 -m recent --set -j MARK \
    --set-xmark 0xb/0xffffffff\n  #   xlvs does not look at: -m recent\n";

fn import(words: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_xlvs"))
        .args(["import", "iptables"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that takes a file does not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_save_becomes_marks() {
    let file = std::env::temp_dir().join(format!("xlvs-import-{}.save", std::process::id()));
    std::fs::write(&file, SAVE).unwrap();
    let by_file = import(&[file.to_str().unwrap()], "");
    std::fs::remove_file(&file).unwrap();
    for output in [by_file, import(&[], SAVE), import(&["-"], SAVE)] {
        // Not all of it: one rule is left to the operator.
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), YAML);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.ends_with(": 1 rule is not translated\n"), "{said}");
    }
    let all = import(&[], &SAVE.replace("-m recent --set ", ""));
    assert!(all.status.success() && all.stderr.is_empty(), "{all:?}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let cases = [
        (import(&["/nonexistent/save"], ""), "cannot read /nonexistent/save: "),
        (import(&[], "hello"), "standard input: this is no output of iptables-save"),
    ];
    for (output, sentence) in cases {
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(sentence), "{said}");
    }
}

#[path = "../../import/tests/case/mod.rs"]
mod case;

/// The files of the importers' cases, by the binary: YAML that `xlvs check` takes, and what is
/// left for keepalived, which Debian's keepalived takes.
#[test]
fn other_programs_files_become_files_that_are_taken() {
    let folder = std::env::temp_dir().join(format!("xlvs-import-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("conf.d")).unwrap();
    std::fs::write(folder.join("marks"), SAVE.replace("-m recent --set ", "")).unwrap();
    for case in case::all() {
        // One fault is what it shows; marks of IPv6 need ip6tables' rules.
        if ["unknown", "group"].contains(&case.name.as_str()) {
            continue;
        }
        for (name, text) in case.included("conf.d/") {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let (source, vrrp) = (folder.join("source"), folder.join("vrrp"));
        let _ = std::fs::remove_file(&vrrp);
        std::fs::write(&source, case.section("source").unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xlvs"));
        command.args(["import", &case.importer]).arg(&source);
        command.args(["--interface", "eth0", "--marks"]).arg(folder.join("marks"));
        if case.importer == "keepalived" {
            command.args(["--config-id", "lb1", "--vrrp-out"]).arg(&vrrp);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let lost = case.section("notes").unwrap().contains(": not translated: ");
        assert_eq!(output.status.code(), Some(i32::from(lost)), "{}: {said}", case.name);
        assert_eq!(said.contains("not translated\n"), lost, "{}: {said}", case.name);
        let yaml = folder.join("xlvs.yaml");
        std::fs::write(&yaml, output.stdout).unwrap();
        let check = Command::new(env!("CARGO_BIN_EXE_xlvs")).arg("check").arg(&yaml).output();
        let check = check.unwrap();
        let faults = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(check.status.success(), "{}: {faults}", case.name);
        assert_eq!(vrrp.exists(), case.section("vrrp").is_some(), "{}", case.name);
        if vrrp.exists() {
            accepted_by_keepalived(&vrrp);
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// keepalived -t, but for what depends on the box: its interfaces, and files that are not there.
fn accepted_by_keepalived(file: &std::path::Path) {
    let output = Command::new("keepalived").arg("-t").arg("-f").arg(file).output();
    let output = output.expect("keepalived, of which cargo xtask setup takes care");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let known = [
        "doesn't exist",
        "Non-existent interface",
        "No such file",
        "does not exist",
        "gone.conf",
        "default user",
        "script_security",
        "Unable to find",
        "Configuration file",
        "no global_defs",
    ];
    let odd: Vec<&str> =
        said.lines().filter(|line| !known.iter().any(|known| line.contains(known))).collect();
    assert!(odd.is_empty(), "{}:\n{said}", file.display());
}
