//! `xlvs report` as a user sees it, without a daemon and without secrets.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use std::io::Read;

/// What the configuration and its surroundings hide, each in the way of its place.
const PLANTED: [&str; 12] = [
    "planted-mysql",
    "planted-anchor",
    "planted-header",
    "planted-basic",
    "planted-query",
    "planted-send",
    "planted-word",
    "planted-hook",
    "planted-comment",
    "planted \\\"quoted",
    "planted-folded",
    "planted-include",
];

const MAIN: &str = r#"version: 1     # planted-comment
x-secret-of-all: &anchor planted-anchor
include: [more/*.yaml]
interfaces: [eth0]
checks:
  db: {type: mysql, user: probe, password: planted-mysql}
  redis: {type: redis, password: *anchor}
  web: {type: http, path: "/health?token=planted-query", headers: {X-Key: planted-header, Authorization: "Basic planted-basic"}}
  raw: {type: tcp, send: "AUTH planted-send\r\n"}
  program: {type: exec, argv: [/usr/bin/ask, --password, planted-word]}
  quoted: {type: redis, password: "planted \"quoted"}
  folded:
    type: postgres
    user: probe
    password: >-
      planted-folded
      on-two-lines
hooks: [{argv: [/usr/bin/tell, "key=planted-hook"], on: server.down}]
services: []
"#;

const MORE: &str = "checks: {more: {type: redis, password: planted-include}}\n";

fn report(home: &Path, file: &Path) -> (Output, BTreeMap<String, String>) {
    let bundle = home.join("bundle.tar.gz");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xlvs"));
    command.arg("report").arg(file).arg("--output").arg(&bundle);
    let output = command.arg("--socket").arg(home.join("no.sock")).output().unwrap();
    let mut parts = BTreeMap::new();
    let mut archive =
        tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(&bundle).unwrap()));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let name = path.components().skip(1).collect::<PathBuf>().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        parts.insert(name, text);
    }
    (output, parts)
}

fn home(name: &str) -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}"));
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(home.join("more")).unwrap();
    home
}

#[test]
fn a_report_of_a_dead_daemon_has_all_but_secrets() {
    let home = home("dead");
    let file = home.join("xlvs.yaml");
    fs::write(&file, MAIN).unwrap();
    fs::write(home.join("more/one.yaml"), MORE).unwrap();
    let (output, parts) = report(&home, &file);
    assert!(output.status.success(), "{output:?}");

    for (part, text) in &parts {
        for secret in PLANTED {
            assert!(!text.contains(secret), "{secret} in {part}:\n{text}");
        }
    }
    let contents = &parts["contents.txt"];
    assert!(contents.contains("daemon/status.json: MISSING: "), "{contents}");
    let written = parts.iter().find(|(name, _)| name.ends_with("/xlvs.yaml")).unwrap().1;
    for kept in ["user: probe", "argv:\n", "/usr/bin/ask", "(masked)", "type: mysql"] {
        assert!(written.contains(kept), "{kept:?} in\n{written}");
    }
    assert!(parts.keys().any(|name| name.ends_with("more/one.yaml")), "{contents}");
    for part in ["machine/kernel.txt", "machine/settings.txt", "network/addresses.txt"] {
        assert!(parts.contains_key(part), "{part}: {contents}");
    }
    let mode = fs::metadata(home.join("bundle.tar.gz")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_no_yaml_stays_at_home() {
    let home = home("broken");
    let file = home.join("xlvs.yaml");
    fs::write(&file, "version: 1\nchecks: {db: {password: planted-mysql\nservices: [\n").unwrap();
    let (output, parts) = report(&home, &file);
    assert!(output.status.success(), "{output:?}");
    assert!(parts.values().all(|text| !text.contains("planted")), "{parts:#?}");
    assert!(
        parts["contents.txt"].contains("is no YAML; faults in lines"),
        "{}",
        parts["contents.txt"]
    );
}
