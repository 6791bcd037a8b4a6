//! A file that changed meets what commands made of the former one.

use control::{
    diff::changes,
    load::read,
    merge::{Merged, merge},
    model::{Model, Server},
};
use sched::Kind;

fn model(services: &str) -> Model {
    let text = format!("version: 1\ninterfaces: [eth0]\n{services}");
    read("x.yaml".as_ref(), &text, None).unwrap_or_else(|faults| panic!("{faults}"))
}

/// One service of two servers; `more` are keys of it, `last` of its second server.
fn web(more: &str, last: &str) -> String {
    format!(
        "services:\n  - {{name: web, listen: 203.0.113.10:80/tcp, forward: dr{more}, servers: \
         [{{address: 10.0.0.1}}, {{address: 10.0.0.2{last}}}]}}\n"
    )
}

const DNS: &str =
    "  - {name: dns, listen: 203.0.113.10:53/udp, forward: nat, servers: [{address: 10.0.0.1}]}\n";

fn lines(changes: &[control::diff::Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn differences_are_told_in_the_words_of_the_file() {
    let plain = web("", "");
    let table = [
        (plain.clone(), plain.clone(), vec![]),
        (
            plain.clone(),
            web("", ", weight: 5"),
            vec!["~ server 10.0.0.2:80 of web 203.0.113.10:80/tcp: weight: 5 (was not set)"],
        ),
        (
            web("", ", weight: 5"),
            web("", ", weight: 7"),
            vec!["~ server 10.0.0.2:80 of web 203.0.113.10:80/tcp: weight: 5 -> 7"],
        ),
        (
            plain.clone(),
            web(", scheduler: rr, persistence: 5m", ""),
            vec![
                "~ service web 203.0.113.10:80/tcp: scheduler: wlc -> rr",
                "~ service web 203.0.113.10:80/tcp: persistence: 300s (was not set)",
            ],
        ),
        (
            plain.clone(),
            plain.clone() + DNS,
            vec!["+ service dns 203.0.113.10:53/udp (nat, wlc, 1 server)"],
        ),
        (
            plain.clone() + DNS,
            plain.clone(),
            vec!["- service dns 203.0.113.10:53/udp (nat, wlc, 1 server)"],
        ),
        (
            plain.clone(),
            plain.replace("10.0.0.2", "10.0.0.3"),
            vec![
                "+ server 10.0.0.3:80 of web 203.0.113.10:80/tcp (address: \"10.0.0.3\")",
                "- server 10.0.0.2:80 of web 203.0.113.10:80/tcp (address: \"10.0.0.2\")",
            ],
        ),
        (
            plain.clone(),
            format!("stop_grace: 2s\n{plain}"),
            vec!["~ box: stop_grace: 2s (was not set)"],
        ),
    ];
    for (before, after, expected) in table {
        let found = changes(&model(&before), &model(&after));
        assert_eq!(lines(&found), expected, "{before}{after}");
        // What is put into force differs in nothing from what was wanted.
        assert_eq!(changes(&model(&after), &model(&after)), []);
    }
}

/// What commands do to the running model.
type Deed = fn(&mut Model);

fn weight(model: &mut Model, to: u32) {
    model.services[0].servers[1].weight = to;
}

fn added(model: &mut Model) {
    let one = model.services[0].servers[0].clone();
    let address = "10.0.0.9".parse().expect("an address");
    model.services[0].servers.push(Server { address, ..one });
}

fn made(model: &mut Model) {
    let mut one = model.services[0].clone();
    one.key = self::model(&format!("services:\n{DNS}")).services[0].key;
    one.name = one.key.to_string();
    model.services.push(one);
}

#[test]
fn what_the_file_says_anew_holds_and_the_rest_stays_as_commands_made_it() {
    let base = web("", ", weight: 3");
    let other =
        |more: &str| web(&format!(", timeouts: {{tcp_established: 10m}}{more}"), ", weight: 3");
    let cases: [(&str, Deed, String, &[&str], usize); 9] = [
        ("an edited weight stays", |m| weight(m, 9), other(""), &["weight: 3 -> 9"], 0),
        ("the file's new weight wins", |m| weight(m, 9), web("", ", weight: 4"), &[], 1),
        ("both say the same", |m| weight(m, 4), web("", ", weight: 4"), &[], 0),
        ("an added server stays", added, other(""), &["+ server 10.0.0.9:80"], 0),
        ("a made service stays", made, other(""), &["+ service 203.0.113.10:53/udp"], 0),
        (
            "a removed server stays away",
            |m| drop(m.services[0].servers.pop()),
            other(""),
            &["- server 10.0.0.2:80"],
            0,
        ),
        (
            "a removed server of which the file says something new comes back",
            |m| drop(m.services[0].servers.pop()),
            web("", ", weight: 4"),
            &[],
            1,
        ),
        (
            "an edited scheduler stays",
            |m| m.services[0].policy.scheduler.kind = Kind::Rr,
            other(""),
            &["scheduler: wlc -> rr"],
            0,
        ),
        (
            "the file's new scheduler wins",
            |m| m.services[0].policy.scheduler.kind = Kind::Rr,
            other(", scheduler: sed"),
            &[],
            1,
        ),
    ];
    for (why, deed, file, beside, overruled) in cases {
        let (base, new) = (model(&base), model(&file));
        let mut running = base.clone();
        deed(&mut running);
        let merged = merge(&base, &running, &new, false);
        let told = lines(&merged.beside);
        assert_eq!(told.len(), beside.len(), "{why}: {told:?}");
        for (line, expected) in told.iter().zip(beside) {
            assert!(line.contains(expected), "{why}: {line}");
        }
        assert_eq!(merged.overruled.len(), overruled, "{why}: {:?}", lines(&merged.overruled));
        // A second time it changes nothing.
        let again = merge(&new, &merged.model, &new, false);
        assert_eq!(again.model, merged.model, "{why}");

        let Merged { model: pruned, beside, .. } = merge(&base, &running, &new, true);
        assert_eq!((changes(&new, &pruned), beside), (vec![], vec![]), "{why}");
    }
}

/// `ipvsadm --set` edits the box; services that the file gives times of their own keep them.
#[test]
fn times_of_the_box_are_the_files_where_it_changed_them() {
    use dataplane::tcp::State::Established;
    let file = |seconds: &str| {
        model(&format!("timeouts: {{tcp_established: {seconds}}}\n{}", web("", "")))
    };
    let established = |model: &Model| model.services[0].policy.timeouts.tcp[Established as usize];
    let mut running = file("10m");
    running.timeouts.tcp[Established as usize] = 77;
    running.services[0].policy.timeouts.tcp[Established as usize] = 77;
    let stays = merge(&file("10m"), &running, &file("10m"), false);
    assert_eq!(established(&stays.model), 77);
    let wins = merge(&file("10m"), &running, &file("20m"), false);
    assert_eq!(established(&wins.model), 1200);
}
