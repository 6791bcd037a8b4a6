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
