//! `xlvs token`, and the way to a daemon elsewhere, as an operator types them.

use std::{fs, process::Command};

/// What it prints, what it complains of, and its exit code.
fn xlvs(words: &[&str], server: Option<&str>) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xlvs"));
    command.args(words).env_remove("XLVS_TOKEN_FILE").env_remove("XLVS_REMOTE");
    if let Some(server) = server {
        command.env("XLVS_REMOTE", server);
    }
    let output = command.output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn a_token_is_printed_once_listed_by_name_and_taken_away() {
    let directory = std::env::temp_dir().join(format!("xlvs-token-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("tokens");
    let token = |words: &[&str]| {
        let all = [&["token"], words, &["--file", file.to_str().unwrap()]].concat();
        xlvs(&all, None)
    };
    let (made, complaint, code) = token(&["add", "grafana", "--role", "viewer"]);
    assert_eq!((complaint.as_str(), code), ("", Some(0)));
    assert!(made.starts_with("xlvs_") && made.trim_end().len() == 69, "{made}");
    let (_, complaint, code) = token(&["add", "grafana", "--role", "admin"]);
    assert!(complaint.contains("there is a token grafana"), "{complaint}");
    assert_eq!(code, Some(1));
    let (_, complaint, code) = token(&["add", "other", "--role", "root"]);
    assert!(complaint.contains("[possible values: viewer, operator, admin]"), "{complaint}");
    assert_eq!(code, Some(2));
    assert_eq!(token(&["list"]).0, "Name     Role\ngrafana  viewer\n");
    assert_eq!(token(&["list", "--json"]).0, "[{\"name\":\"grafana\",\"role\":\"viewer\"}]\n");
    assert_eq!(token(&["del", "grafana"]).2, Some(0));
    let (_, complaint, code) = token(&["del", "grafana"]);
    assert!(complaint.contains("there is no token grafana; see `xlvs token list`"), "{complaint}");
    assert_eq!(code, Some(1));
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_server_elsewhere_needs_a_token_and_tls() {
    let (clear, https) = ("http://192.0.2.1:9443", "https://192.0.2.1:9443");
    let rows: &[(&[&str], Option<&str>, &str)] = &[
        (&["list", "--remote", https], None, "no token; name its file with --token-file"),
        (&["list"], Some(https), "no token; name its file with --token-file"),
        (&["list", "--remote", clear, "--token-file", "/t"], None, "in the clear; write https://"),
        (&["list", "--remote", "x", "--token-file", "/t"], None, "not a server; write it like"),
        (&["list", "--remote", https, "--socket", "/s"], None, "cannot be used with"),
        // What is said here counts more than the environment.
        (&["list", "--socket", "/nonexistent/s"], Some(https), "/nonexistent/s: no xlvs answers"),
    ];
    for (words, server, expected) in rows {
        let (_, complaint, code) = xlvs(words, *server);
        assert!(complaint.contains(expected), "{words:?}: {complaint}");
        assert_ne!(code, Some(0), "{words:?}");
    }
}
