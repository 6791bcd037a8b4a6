//! The mail hook, with a sendmail that writes down what it gets.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A directory with programs of the test's own; removed in the end.
struct Programs(PathBuf);

impl Programs {
    /// Each program prints its words, then its standard input.
    fn new(name: &str, programs: &[&str]) -> Self {
        let path = std::env::temp_dir().join(format!("xlvs-mail-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        for program in programs {
            let file = path.join(program);
            fs::write(&file, format!("#!/bin/sh\necho {program} \"$@\"\ncat\n")).expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        for tool in ["uname", "tr", "cat", "sh"] {
            let found = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(tool));
            let found = found.into_iter().find(|path| path.exists()).expect(tool);
            std::os::unix::fs::symlink(found, path.join(tool)).expect("a link");
        }
        Self(path)
    }

    fn hook(&self, words: &[&str], environment: &[(&str, &str)]) -> Output {
        let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/hooks/mail");
        let mut command = Command::new("/bin/sh");
        command.arg(hook).args(words).env_clear().env("PATH", &self.0);
        command.envs(environment.iter().copied()).output().expect("it runs")
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// This box, as `uname -n` has it.
fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim().to_owned()
}

const SERVER: [(&str, &str); 16] = [
    ("XLVS_EVENT", "server.down"),
    ("XLVS_KIND", "server"),
    ("XLVS_OLD", "up"),
    ("XLVS_NEW", "down"),
    ("XLVS_REASON", "web: HTTP 503"),
    ("XLVS_TIME", "2026-11-28T01:02:03.456Z"),
    ("XLVS_SEQUENCE", "7"),
    ("XLVS_COLLAPSED", "0"),
    ("XLVS_SERVICE", "web"),
    ("XLVS_VIP", "203.0.113.10"),
    ("XLVS_PORT", "80"),
    ("XLVS_PROTOCOL", "tcp"),
    ("XLVS_SERVER", "fd00::11"),
    ("XLVS_SERVER_PORT", "8080"),
    ("XLVS_UP", "1"),
    ("XLVS_SERVERS", "2"),
];

#[test]
fn the_mail_of_a_server() {
    let more = [("XLVS_WEIGHT", "3"), ("XLVS_QUORUM", "2")];
    let environment = [&SERVER[..], &more].concat();
    let programs = Programs::new("server", &["sendmail", "mail"]);
    let addresses = ["-f", "lb@example.net", "ops@example.net", "root"];
    let host = host();
    let expected = format!(
        "\
sendmail -i -- ops@example.net root
From: lb@example.net
To: ops@example.net, root
Subject: [xlvs {host}] web (203.0.113.10:80/tcp), server [fd00::11]:8080: down
Auto-Submitted: auto-generated
X-XLVS-Event: server.down
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8

web (203.0.113.10:80/tcp), server [fd00::11]:8080: up -> down
reason: web: HTTP 503
time: 2026-11-28T01:02:03.456Z
event: server.down, number 7
director: {host}
servers up: 1 of 2
weight: 3, quorum 2
"
    );
    assert_eq!(said(&programs.hook(&addresses, &environment)), expected);
}

#[test]
fn the_subject_of_each_kind() {
    let of = |kind: &'static str, new: &'static str, more: &[(&'static str, &'static str)]| {
        let event = [("XLVS_EVENT", "any"), ("XLVS_KIND", kind), ("XLVS_NEW", new)];
        [&event[..], more].concat()
    };
    let service = [
        ("XLVS_SERVICE", "web"),
        ("XLVS_VIP", "2001:db8::10"),
        ("XLVS_PORT", "80"),
        ("XLVS_PROTOCOL", "tcp"),
    ];
    let mark = [("XLVS_SERVICE", "shop"), ("XLVS_MARK", "10")];
    let broken = [("XLVS_SERVICE", "a\r\nBcc: everybody@example.net"), ("XLVS_MARK", "10")];
    let rows = [
        (of("quorum", "lost", &service), "web ([2001:db8::10]:80/tcp), quorum: lost"),
        (of("service", "sorry", &mark), "shop (mark 10), service: sorry"),
        (of("vip", "withdrawn", &service[1..2]), "vip 2001:db8::10: withdrawn"),
        (of("director", "stopping", &[]), "director: stopping"),
        (of("quorum", "lost", &broken), "aBcc: everybody@example.net (mark 10), quorum: lost"),
    ];
    let programs = Programs::new("kinds", &["sendmail"]);
    for (environment, subject) in rows {
        let mail = said(&programs.hook(&["root"], &environment));
        let (head, _) = mail.split_once("\n\n").expect("a head");
        let line = format!("Subject: [xlvs {}] {subject}", host());
        assert_eq!(head.lines().nth(2), Some(line.as_str()), "{mail}");
        assert_eq!(head.lines().count(), 7, "{head}");
    }
}

#[test]
fn mail_does_where_there_is_no_sendmail() {
    let programs = Programs::new("mail", &["mail"]);
    let mail = said(&programs.hook(&["root"], &SERVER));
    let first = format!(
        "mail -s [xlvs {}] web (203.0.113.10:80/tcp), server [fd00::11]:8080: down root\n",
        host()
    );
    assert!(mail.starts_with(&first) && mail.contains("\nreason: web: HTTP 503\n"), "{mail}");

    let none = Programs::new("none", &[]);
    let output = none.hook(&["root"], &SERVER);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(words.starts_with("there is neither sendmail nor mail"), "{words}");
}

#[test]
fn used_wrongly_it_says_how() {
    let programs = Programs::new("usage", &["sendmail"]);
    for (words, environment) in [(&[][..], &SERVER[..]), (&["root"], &[]), (&["-x"], &SERVER)] {
        let output = programs.hook(words, environment);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("usage: mail [-f FROM] ADDRESS..."), "{said}");
    }
}
