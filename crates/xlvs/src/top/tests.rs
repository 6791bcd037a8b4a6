//! Reports and keys in, pictures out.

use std::time::Duration;

use control::report::Report;
use ratatui::{Terminal, backend::TestBackend};
use serde_json::{Value, json};

use super::{
    rates::{Rates, short},
    state::{Act, Key, Screen, Sort, State},
    view,
};

fn counts(connections: u64, packets: u64) -> Value {
    json!({"active": 7, "inactive": 12, "connections": connections, "in_packets": packets,
        "in_bytes": packets * 100, "out_packets": packets * 2, "out_bytes": packets * 1000})
}

fn with(mut value: Value, more: Value) -> Value {
    let (Value::Object(into), Value::Object(more)) = (&mut value, more) else { panic!("objects") };
    into.extend(more);
    value
}

/// `seconds` after the start: web has 100 new connections a second, dns 3 packets.
fn report(seconds: u64) -> Report {
    let server = |address: &str, state: &str, counts: Value| {
        with(
            json!({"address": address, "port": 8080, "forward": "nat", "weight": 1, "state": state}),
            counts,
        )
    };
    let down = with(
        server("10.0.2.12", "down", counts(0, 0)),
        json!({"health": {
        "state": "down", "why": "web: HTTP 503", "for_s": 61, "paused": false, "held": false,
        "checks": [{"name": "web", "type": "http", "state": "down", "last": "HTTP 503",
            "took_ms": 12, "ago_s": 1, "good": 0, "bad": 9, "next_ms": 900}]}}),
    );
    let web = with(
        json!({"name": "web", "key": "203.0.113.10:80/tcp", "protocol": "tcp",
            "address": "203.0.113.10", "port": 80, "scheduler": "wlc",
            "standing": {"quorum": true, "waiting": false, "weight": 1, "needed": 1, "sorry": false},
            "servers": [server("10.0.2.11", "up", counts(100 * seconds, 1000 * seconds)), down]}),
        counts(100 * seconds, 1000 * seconds),
    );
    let dns = with(
        json!({"name": "dns", "key": "mark 7 IPv6", "protocol": "mark", "mark": 7, "port": 0,
            "scheduler": "rr", "servers": [server("fd00::53", "up", counts(0, 3 * seconds))]}),
        counts(0, 3 * seconds),
    );
    let worker = json!({"worker": 0, "alive": true, "core": 2, "generation": 4, "rx_packets": 1,
        "tx_packets": 5, "breaths": 9, "busy_breaths": 8, "busy_ns": 250_000_000 * seconds,
        "waiting": 1, "ledger": {"total": 10, "pool": 10, "rx_lent": 0, "tx_lent": 0, "held": 0}});
    let mut report = Report {
        version: "1.2.3".to_owned(),
        uptime_s: seconds,
        services: serde_json::from_value(json!([web, dns])).expect("services"),
        workers: serde_json::from_value(json!([worker])).expect("workers"),
        ..Report::default()
    };
    report.totals.drops.insert("no_route".to_owned(), 4 * seconds);
    report.totals.drops.insert("table_full".to_owned(), 9);
    report
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn watching() -> State {
    let mut state = State::new(String::new(), false);
    state.report(report(100), at(0));
    state.report(report(101), at(1));
    state
}

/// What an 80 x 24 terminal shows.
fn picture(state: &State, now: Duration) -> String {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
    terminal.draw(|frame| view::draw(frame, state, now)).expect("a picture");
    let buffer = terminal.backend().buffer();
    let lines = (0..24).map(|y| {
        let line: String = (0..80).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

#[test]
fn services_with_their_rates() {
    let state = watching();
    let shown = picture(&state, at(1));
    let expected = "\
xlvs 1.2.3  up 1 min 41 s  conns 0/0 v6 0/0
100 new/s   in 1003 pps 802kbps   out 2006 pps 8024kbps   half-open 0
busy 0:25%
drops/s no_route 4.0
  SERVICE                         UP   CONNS  NEW/S PPS IN BPS IN    OUT BPS OUT
> web 203.0.113.10:80/tcp        1/2      19    100   1000   800k   2000   8000k
  dns mark 7 IPv6                1/1      19      0    3.0   2400    6.0     24k
";
    assert!(shown.starts_with(expected), "{shown}");
    let last = shown.lines().last().expect("a line");
    assert_eq!(
        last,
        "q quit  Enter servers  c conns  / filter  s sort (listing)  r reverse  Space pau"
    );
}

#[test]
fn a_service_with_its_servers_and_the_last_words() {
    let mut state = watching();
    assert_eq!(state.press(Key::Enter), None);
    state.press(Key::Down);
    let shown = picture(&state, at(1));
    for line in [
        "web 203.0.113.10:80/tcp  wlc  quorum met: 1 of 1",
        "  10.0.2.11:8080            up      1      7     12    100   1000   800k   8000k",
        "> 10.0.2.12:8080          down      1      7     12      0      0      0       0",
        "10.0.2.12:8080 down for 1 min 1 s: web: HTTP 503",
        "  web (http) down: HTTP 503, 12 ms, 1 s ago",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    assert_eq!(state.press(Key::Escape), None);
    assert_eq!(state.screen, Screen::Services);
}

/// Nothing is done but on a `y`.
#[test]
fn a_server_is_drained_when_it_is_confirmed() {
    let mut state = watching();
    assert_eq!(state.press(Key::Letter('d')), None);
    assert!(state.message.is_some(), "there is no server yet");
    state.press(Key::Enter);
    assert_eq!(state.press(Key::Letter('d')), None);
    let last = picture(&state, at(1)).lines().last().expect("a line").to_owned();
    assert_eq!(last, "drain 203.0.113.10:80/tcp/10.0.2.11:8080? y: yes, any other key: no");
    assert_eq!(state.press(Key::Letter('n')), None);
    state.press(Key::Letter('d'));
    let server = "203.0.113.10:80/tcp/10.0.2.11:8080".to_owned();
    assert_eq!(state.press(Key::Letter('y')), Some(Act::Order { server, to: "drain" }));
    state.press(Key::Escape);
    state.press(Key::Down);
    state.press(Key::Enter);
    state.press(Key::Letter('u'));
    let server = "mark:7/ipv6/[fd00::53]:8080".to_owned();
    assert_eq!(state.press(Key::Letter('y')), Some(Act::Order { server, to: "ready" }));
}

#[test]
fn connections_of_a_service() {
    let mut state = watching();
    let wanted = Act::Connections("203.0.113.10:80/tcp".to_owned());
    assert_eq!(state.press(Key::Letter('c')), Some(wanted));
    assert!(picture(&state, at(1)).contains("connections are read"));
    let row = json!({"protocol": "tcp", "expires": 899, "state": "ESTABLISHED",
        "source": {"address": "198.51.100.7", "port": 40001},
        "virtual_service": {"address": "203.0.113.10", "port": 80},
        "destination": {"address": "10.0.2.11", "port": 8080}, "engine": null});
    state.connections(vec![serde_json::from_value(row).expect("a connection")], true);
    let shown = picture(&state, at(1));
    assert!(shown.contains("TCP 14:59  ESTABLISHED 198.51.100.7:40001 203.0.113.10:80"), "{shown}");
    assert!(shown.contains("1 from 1 of 1, and more: xlvs conn list has all"), "{shown}");
}

#[test]
fn order_and_filter() {
    let mut state = watching();
    let names = |state: &State| -> Vec<String> {
        state.services().iter().map(|service| service.name.clone()).collect()
    };
    assert_eq!(names(&state), ["web", "dns"]);
    state.press(Key::Letter('s'));
    assert_eq!((state.sort, names(&state)), (Sort::Name, vec!["dns".to_owned(), "web".to_owned()]));
    state.press(Key::Letter('r'));
    assert_eq!(names(&state), ["web", "dns"]);
    for _ in 0..3 {
        state.press(Key::Letter('s'));
    }
    assert_eq!((state.sort, names(&state)[0].as_str()), (Sort::Packets, "dns"), "reversed");
    for letter in "/FD00".chars() {
        state.press(Key::Letter(letter));
    }
    assert_eq!(names(&state), ["dns"], "a server's address fits, too");
    let last = picture(&state, at(1)).lines().last().expect("a line").to_owned();
    assert_eq!(last, "filter: FD00_   Enter: keep, Esc: all");
    state.press(Key::Enter);
    // Letters are keys again.
    assert_eq!(state.press(Key::Letter('q')), Some(Act::Quit));
    state.press(Key::Escape);
    assert_eq!(names(&state).len(), 2);
}

/// The last picture stays, and says how old it is; after a restart counters begin anew.
#[test]
fn a_daemon_that_is_gone_and_comes_back() {
    let mut state = watching();
    assert!(!picture(&state, at(3)).contains("STALE"));
    state.silent("no xlvs answers here".to_owned());
    let shown = picture(&state, at(9));
    assert!(shown.contains("STALE: 8 s old") && shown.contains("no xlvs answers here"), "{shown}");
    assert!(shown.contains("web 203.0.113.10:80/tcp"), "{shown}");
    state.report(report(0), at(10));
    let shown = picture(&state, at(10));
    assert!(!shown.contains("STALE") && shown.contains("0 new/s"), "{shown}");
    state.report(report(1), at(11));
    assert!(picture(&state, at(11)).contains("100 new/s"));
    // Before the first report there is nothing but what is wrong.
    let mut empty = State::new(String::new(), true);
    assert!(picture(&empty, at(0)).contains("waiting for the daemon"));
    empty.silent("you may not ask".to_owned());
    assert!(picture(&empty, at(0)).contains("you may not ask"));
}

#[test]
fn a_pause_holds_the_picture() {
    let mut state = watching();
    state.press(Key::Letter(' '));
    state.report(report(150), at(50));
    let shown = picture(&state, at(50));
    assert!(shown.contains("up 1 min 41 s") && shown.contains("PAUSED for 49 s"), "{shown}");
    state.press(Key::Letter(' '));
    state.report(report(151), at(51));
    assert!(picture(&state, at(51)).contains("100 new/s"));
}

/// No size of a terminal is too small.
#[test]
fn any_terminal() {
    let mut state = watching();
    for _ in 0..2 {
        for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 24), (300, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
            terminal.draw(|frame| view::draw(frame, &state, at(1))).expect("a picture");
        }
        state.press(Key::Enter);
    }
}

#[test]
fn numbers_are_short() {
    let table = [
        (0.0, "0"),
        (0.04, "0.0"),
        (7.25, "7.2"),
        (9.96, "10"),
        (9999.0, "9999"),
        (12_345.0, "12k"),
        (9_999_600.0, "10M"),
        (1.5e15, "1500T"),
        (1.0e19, "10000000T"),
    ];
    for (rate, text) in table {
        assert_eq!(short(rate), text, "{rate}");
    }
    // No time between two reports is no division by nothing.
    let rates = Rates::between(&report(1), &report(2), Duration::ZERO);
    assert!(rates.total.connections.is_finite());
}
