//! What others make of a page.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

/// Debian's own: its modules are there, whatever other Python comes first in PATH.
const PYTHON: &str = "/usr/bin/python3";

/// `promtool check metrics` finds nothing.
pub(crate) fn promtool(page: &str) {
    let said = judge(Command::new("promtool").args(["check", "metrics"]), page);
    let words = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && words.is_empty(), "{}: {words}\n{page}", said.status);
}

/// Reads all families with a parser of Python's prometheus_client.
pub(crate) fn python(page: &str, module: &str) {
    let program = format!(
        "import sys\nfrom {module} import text_string_to_metric_families as read\n\
         print(len(list(read(sys.stdin.read()))))"
    );
    let said = judge(Command::new(PYTHON).args(["-c", &program]), page);
    let families: usize = String::from_utf8_lossy(&said.stdout).trim().parse().unwrap_or_default();
    let headers = page.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(families, headers, "{}\n{page}", String::from_utf8_lossy(&said.stderr));
}

fn judge(command: &mut Command, page: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run cargo xtask setup"));
    child.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("a reader");
    child.wait_with_output().expect("an end")
}
