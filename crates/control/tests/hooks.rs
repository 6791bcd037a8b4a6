//! Hooks: which ones an event wants, and how they run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use control::{
    event::{Event, Kind, Subject},
    hooks::{Counts, Hooks},
    load,
    model::Hook,
};

/// A directory of the test's own, for everybody; removed in the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xlvs-hooks-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The hooks of a file with those of the box and of its service `web`.
fn hooks(of_box: &str, of_web: &str) -> Vec<Hook> {
    let text = format!(
        "version: 1\ninterfaces: [eth0]\nhooks: [{of_box}]\nservices:\n  - {{name: web, listen: 203.0.113.10:80/tcp, forward: nat, servers: [], hooks: [{of_web}]}}\n"
    );
    load::read(Path::new("x.yaml"), &text, None).unwrap_or_else(|why| panic!("{why}")).hooks
}

/// `web server up>down`.
fn event(text: &str) -> Event {
    let [service, kind, states] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let kind = Kind::ALL.into_iter().find(|of| of.name() == kind).expect("a kind");
    let (old, new) = states.split_once('>').expect("two states");
    let service = Some(service.to_owned()).filter(|service| service != "-");
    let subject = Subject { service, ..Subject::default() };
    let initial = matches!(old, "unknown" | "waiting");
    Event { initial, ..Event::new(kind, subject, old.to_owned(), new.to_owned()) }
}

#[test]
fn who_wants_what() {
    let argv = "argv: [/bin/true]";
    let news = "web server up>down, mail server down>up, web quorum met>lost, web service up>sorry, - vip announced>withdrawn";
    let rest = "web weight 3>4, web drain off>on, - director forwarding>stopping";
    let begins = "web server waiting>up, web server unknown>up, web quorum waiting>met, web service unknown>up, - vip unknown>announced, web server unknown>down, web quorum unknown>lost";
    let fails = "web server waiting>down, web quorum waiting>lost, web service waiting>down";
    // A hook of the box, or of web; what it wants; what it does not want.
    let rows = [
        (format!("{{{argv}}}"), String::new(), [news, fails].join(", "), [rest, begins].join(", ")),
        (
            format!("{{{argv}, at_start: true}}"),
            String::new(),
            [news, fails, begins].join(", "),
            rest.to_owned(),
        ),
        (
            format!("{{{argv}, on: [server.down, weight, drain.on, director]}}"),
            String::new(),
            format!("web server up>down, {rest}"),
            "web server down>up, web quorum met>lost, web drain on>off".to_owned(),
        ),
        (
            format!("{{{argv}, on: service}}"),
            String::new(),
            "web service up>down, mail service down>forced".to_owned(),
            "web server up>down, - vip announced>withdrawn".to_owned(),
        ),
        (
            String::new(),
            format!("{{{argv}}}"),
            "web server up>down, web quorum met>lost".to_owned(),
            "mail server up>down, - vip announced>withdrawn".to_owned(),
        ),
    ];
    for (of_box, of_web, wanted, unwanted) in rows {
        let hook = &hooks(&of_box, &of_web)[0];
        for (texts, wants) in [(wanted, true), (unwanted, false)] {
            for text in texts.split(", ") {
                assert_eq!(hook.wants(&event(text)), wants, "{of_box}{of_web} {text}");
            }
        }
    }
}

#[test]
fn they_run_in_order_one_at_a_time() {
    let place = Place::new("order");
    let file = place.0.join("ran");
    // It takes longer for the first ones, and writes its beginning and its end.
    let script =
        "printf '<%s' $2 >>$1; sleep 0.$((9 - XLVS_SEQUENCE)); printf '%s>' $XLVS_NEW >>$1";
    let hook = |who: &str| {
        format!("{{user: root, argv: [/bin/sh, -c, \"{script}\", sh, {}, {who}]}}", file.display())
    };
    let hooks = Hooks::start(&hooks(&hook("box"), &hook("web"))).expect("a thread");
    let counts = hooks.counter();
    let begun = Instant::now();
    for (sequence, states) in (7..).zip(["web server up>down", "web server down>up"]) {
        hooks.tell(&Event { sequence, ..event(states) });
    }
    assert!(begun.elapsed() < Duration::from_millis(100), "who tells does not wait");
    until("all have run", || counts().waiting == 0);
    assert_eq!(place.read("ran"), "<boxdown><webdown><boxup><webup>");
    assert_eq!(counts(), Counts { succeeded: 4, ..Counts::default() });
    hooks.finish(Duration::ZERO);
}

#[test]
fn one_that_hangs_or_fails_does_not_stop_the_next() {
    let place = Place::new("hangs");
    let word = format!("7{}", std::process::id());
    let file = place.0.join("ran");
    let hang = format!("trap '' TERM; sleep {word} & sleep {word}");
    let of_box = format!(
        "{{argv: [/bin/sh, -c, \"{hang}\"], timeout: 300ms}}, {{argv: [/bin/sh, -c, \"echo no >&2; exit 3\"]}}, {{argv: [/nonexistent]}}, {{argv: [/bin/true], user: nonexistent}}, {{user: root, argv: [/usr/bin/touch, {}]}}",
        file.display()
    );
    let hooks = Hooks::start(&hooks(&of_box, "")).expect("a thread");
    let counts = hooks.counter();
    hooks.tell(&event("web server up>down"));
    assert_eq!(counts().waiting, 5);
    until("the last one has run", || counts().waiting == 0);
    assert_eq!(counts(), Counts { succeeded: 1, failed: 3, killed: 1, ..Counts::default() });
    assert!(file.exists());
    let found = Command::new("pgrep").args(["-f", &format!("sleep {word}")]).output();
    assert!(found.expect("pgrep").stdout.is_empty(), "something is left of it");
}

#[test]
fn the_end_waits_for_those_that_wait_but_not_for_ever() {
    let place = Place::new("end");
    let file = place.0.join("ran");
    let quick =
        format!("{{user: root, argv: [/bin/sh, -c, \"sleep 0.1; echo >>{}\"]}}", file.display());
    let three = [quick.as_str(); 3].join(", ");
    let hooks_of = |text: &str| Hooks::start(&hooks(text, "")).expect("a thread");
    let quick = hooks_of(&three);
    quick.tell(&event("web server up>down"));
    quick.finish(Duration::from_secs(10));
    assert_eq!(place.read("ran").len(), 3);

    let word = format!("8{}", std::process::id());
    let slow = hooks_of(&format!("{{argv: [/bin/sleep, \"{word}\"], timeout: 10m}}, {three}"));
    slow.tell(&event("web server up>down"));
    let begun = Instant::now();
    slow.finish(Duration::from_millis(200));
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(place.read("ran").len(), 3, "those behind it have not run");
    until("it is gone", || {
        let found = Command::new("pgrep").args(["-f", &format!("sleep {word}")]).output();
        found.expect("pgrep").stdout.is_empty()
    });
}
