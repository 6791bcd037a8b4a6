//! A file that `ipvsadm-save` wrote, and services on port 0 beside sockets of the box.

use std::convert::Infallible;

use control::front::{Sockets, restore, swallows, warnings};
use dataplane::forward::{Endpoint, Protocol};
use ipvsadm::{Denial, NoNames};

use crate::stage::{Stage, command};

const FILE: &str = "services:\n  - {name: ssh, listen: \"10.9.0.2:22/tcp\", forward: nat, \
     scheduler: rr, servers: [{address: \"10.0.0.11:22\"}]}";

fn sockets(bound: &[&str]) -> Sockets {
    let endpoint = |text: &&str| {
        let (socket, protocol) = text.rsplit_once('/').unwrap();
        let socket: std::net::SocketAddr = socket.parse().unwrap();
        let protocol = if protocol == "tcp" { Protocol::Tcp } else { Protocol::Udp };
        Endpoint { protocol, address: socket.ip(), port: socket.port() }
    };
    Sockets { bound: bound.iter().map(endpoint).collect(), ephemeral: 32768..=60999 }
}

/// Lines, the sockets of the box, and which line is refused because of which ports.
type Row<'a> = (&'a [&'a str], &'a [&'a str], Option<(usize, &'a str)>);

#[test]
fn port_0_may_not_take_what_the_box_listens_to() {
    let wild = "-A -t 10.9.0.1:0 -p";
    let rows: [Row<'_>; 13] = [
        (&[wild], &[], None),
        (&[wild], &["0.0.0.0:22/tcp"], Some((0, "22"))),
        (&[wild], &["[::]:179/tcp", "10.9.0.1:22/tcp", "0.0.0.0:22/tcp"], Some((0, "22, 179"))),
        (&[wild], &["[::ffff:10.9.0.1]:22/tcp"], Some((0, "22"))),
        (&[wild], &["127.0.0.1:22/tcp", "10.9.0.3:22/tcp", "0.0.0.0:53/udp"], None),
        (&["-A -u 10.9.0.1:0 -p"], &["0.0.0.0:53/udp"], Some((0, "53"))),
        // It asks; nobody sends anything to it at a VIP.
        (&["-A -u 10.9.0.1:0 -p"], &["0.0.0.0:40000/udp"], None),
        (&["-A -t [2001:db8::1]:0 -p"], &["0.0.0.0:22/tcp"], None),
        (&["-A -t [2001:db8::1]:0 -p"], &["[::]:22/tcp"], Some((0, "22"))),
        // Another service has that port of the VIP anyway: of the file, or of these lines.
        (&["-A -t 10.9.0.2:0 -p"], &["0.0.0.0:22/tcp"], None),
        (&[wild, "-A -t 10.9.0.1:22"], &["0.0.0.0:22/tcp"], None),
        (&["-A -t 10.9.0.1:80", "-A -f 3", wild], &["0.0.0.0:22/tcp"], Some((2, "22"))),
        (&["-A -t 10.9.0.1:80", "-a -t 10.9.0.1:80 -r 10.0.0.1", "-C"], &["0.0.0.0:80/tcp"], None),
    ];
    for (lines, bound, expected) in rows {
        let stage = Stage::new(FILE);
        let commands: Vec<_> = lines.iter().map(|line| command(line)).collect();
        let found =
            swallows(&stage.registry.model, &commands, || Ok::<_, Infallible>(sockets(bound)));
        let found = found.unwrap().map(|(at, denial)| (at, denial.to_string()));
        match (found, expected) {
            (None, None) => {}
            (Some((at, text)), Some((wanted, ports))) => {
                assert_eq!(at, wanted, "{lines:?}");
                assert!(text.contains(&format!("except_ports: [{ports}]")), "{text}");
            }
            (found, _) => panic!("{lines:?} beside {bound:?}: {found:?}"),
        }
    }
}

#[test]
fn a_file_of_rules_is_loaded_as_a_whole_or_its_line_is_named() {
    let good = "# by ipvsadm-save\n-A -t 10.9.0.1:80 -s rr\n\
                -a -t 10.9.0.1:80 -r 10.0.0.11:80 -m -w 1\n";
    let rows: [(String, Result<usize, &str>); 9] = [
        (good.to_owned(), Ok(2)),
        (String::new(), Ok(1)),
        (
            format!("{good}-a -t 10.9.0.1:80 -r 10.0.0.11:80 -m\n"),
            Err("web.rules:4: Destination already exists; remove the line"),
        ),
        (
            format!("{good}\n-A -t 10.9.0.2:22\n"),
            Err("web.rules:5: Service already exists; rules are added to the configuration"),
        ),
        (
            format!("{good}-A -t 10.9.0.1:0 -p\n"),
            Err("web.rules:4: a service on port 0 of 10.9.0.1 "),
        ),
        (format!("{good}-A -x nonsense\n"), Err("web.rules:4: ")),
        (
            "-a -t 10.9.0.7:80 -r 10.0.0.11:80 -m\n".to_owned(),
            Err("web.rules:1: Service not defined; write the -A line of that service before it"),
        ),
        (
            format!("{good}-A -t 10.9.0.7:80 -s fastest\n"),
            Err("web.rules:4: Scheduler or persistence engine not found; write a scheduler"),
        ),
        (
            format!("{good}-A -t 10.9.0.7 -s rr --colour\n"),
            Err("web.rules:4: --colour: unknown option; write the line as ipvsadm-save does"),
        ),
    ];
    for (text, expected) in rows {
        let mut stage = Stage::new(FILE);
        let before = stage.registry.model.clone();
        let found = restore(&mut stage.registry, "web.rules".as_ref(), &text, &NoNames, || {
            Ok(sockets(&["0.0.0.0:179/tcp"]))
        });
        match (found, expected) {
            (Ok(_), Ok(services)) => assert_eq!(stage.registry.model.services.len(), services),
            (Err(error), Err(start)) => {
                assert!(error.to_string().starts_with(start), "{error}");
                assert!(stage.registry.model == before, "{text}");
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}

/// As a live `-A` warns of it.
#[test]
fn a_rule_for_a_mark_that_no_packet_gets_is_warned_of() {
    let marks = "marks: [{mark: 7, destination: 10.9.0.1/32}]\nservices: []";
    for (line, expected) in [("-A -f 7", None), ("-A -f 10", Some("no packet gets mark 10: "))] {
        let mut stage = Stage::new(marks);
        let done =
            restore(&mut stage.registry, "web.rules".as_ref(), line, &NoNames, || Ok(sockets(&[])));
        let said = warnings(&stage.registry.model, &done.unwrap());
        assert_eq!(said.len(), expected.iter().count(), "{line}: {said:?}");
        assert!(expected.is_none_or(|start| said[0].starts_with(start)), "{said:?}");
    }
}

/// What is there, lines, and which of them is refused while somebody listens on port 22.
#[test]
fn a_port_that_was_a_services_may_not_fall_to_port_0() {
    let service = |listen: &str, more: &str| {
        format!(
            "  - {{name: \"{listen}\", listen: \"{listen}/tcp\", forward: nat, scheduler: rr, \
             persistence: 6m{more}}}\n"
        )
    };
    let exact = service("10.9.0.1:22", "");
    let beside = service("10.9.0.1:0", "") + &exact;
    let kept = service("10.9.0.1:0", ", except_ports: [22]") + &exact;
    let other = service("10.9.0.2:0", "") + &exact;
    let (wild, ssh) = ("10.9.0.1:0", "10.9.0.1:22");
    let delete = |address: &str| format!("-D -t {address}");
    let add = |address: &str| format!("-A -t {address} -p");
    let rows: [(&str, Vec<String>, Option<usize>); 10] = [
        (&beside, vec![delete(ssh)], Some(0)),
        (&beside, vec![add("10.9.0.1:80"), delete(ssh)], Some(1)),
        (&beside, vec![delete(ssh), add(ssh)], None),
        (&beside, vec![delete(ssh), delete(wild)], None),
        (&beside, vec![delete("10.9.0.1:80")], None),
        (&beside, vec!["-C".to_owned()], None),
        (&beside, vec!["-C".to_owned(), add(wild)], Some(1)),
        (&kept, vec![delete(ssh)], None),
        (&other, vec![delete(ssh)], None),
        (&exact, vec![delete(ssh), add(wild)], Some(1)),
    ];
    for (file, lines, expected) in rows {
        let stage = Stage::new(&format!("services:\n{file}"));
        let commands: Vec<_> = lines.iter().map(|line| command(line)).collect();
        let bound = || Ok::<_, Infallible>(sockets(&["0.0.0.0:22/tcp"]));
        let found = swallows(&stage.registry.model, &commands, bound).unwrap();
        assert_eq!(found.as_ref().map(|(at, _)| *at), expected, "{lines:?} after {file}");
        let named = |(_, denial): (usize, Denial)| denial.to_string().contains("tcp port 22;");
        assert!(found.is_none_or(named), "{lines:?}");
    }
}
