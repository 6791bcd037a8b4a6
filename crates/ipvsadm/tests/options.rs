//! Command lines: what Debian's ipvsadm 1.31 answered to each, and what it asked of the kernel.
//!
//! `recorded/options.txt` holds that program's answers, with the kernel's side of its netlink
//! socket played by a stand-in that wrote down the requests.

mod support;

use std::net::IpAddr;

use ipvsadm::{
    Checksum, Command, DaemonRole, Forward, ListSpec, ListWhat, NoNames, Program, Protocol,
    Refusal, SchedulerFlag, ServerSpec, ServiceRef, ServiceSpec, SyncDaemon, Tunnel, View, parse,
};
use support::{Names, argv, sections};

/// Where we answer otherwise on purpose: the line, our code and text.
const DEPARTURES: &[(&str, u8, &str)] = &[
    // A mask with a hole, 255.255.0.255.
    ("-A -t 1.2.3.4:80 -p -M 255.255.255", 2, "illegal virtual server persistent mask specified"),
];

#[test]
fn command_lines_are_answered_as_by_ipvsadm() {
    let sections = sections(include_str!("recorded/options.txt"));
    assert!(sections.len() > 400);
    let mut wrong = Vec::new();
    for (line, recorded) in sections {
        let ours = answer(line);
        let expected = match DEPARTURES.iter().find(|departure| departure.0 == line) {
            Some((_, code, text)) => refusal_lines(*code, text),
            None => recorded
                .into_iter()
                .filter(|line| !line.is_empty() && !line.starts_with("# "))
                .map(str::to_owned)
                .collect(),
        };
        if ours != expected {
            wrong.push(format!("$ {line}\n  ipvsadm: {expected:?}\n  ours:    {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn answer(line: &str) -> Vec<String> {
    match parse(Program::Ipvsadm, &argv(line), &Names) {
        Ok(command) => request(&command).map(|ask| format!("ask {ask}")).into_iter().collect(),
        Err(refusal) => refusal_lines(refusal.code, &refusal.text),
    }
}

fn refusal_lines(code: u8, text: &str) -> Vec<String> {
    let text = text.split('\n').map(|line| format!("err {line}").trim_end().to_owned());
    std::iter::once(format!("code {code}")).chain(text).collect()
}

/// The request that ipvsadm sends to the kernel for a command; listings are not written down.
fn request(command: &Command) -> Option<String> {
    Some(match command {
        Command::AddService(spec) => format!("new_service {}", service_spec(spec)),
        Command::EditService(spec) => format!("set_service {}", service_spec(spec)),
        Command::DeleteService(key) => format!("del_service {}", service(key)),
        Command::Flush => "flush".to_owned(),
        Command::Zero(None) => "zero".to_owned(),
        Command::Zero(Some(key)) => format!("zero {}", service(key)),
        Command::AddServer(key, spec) => format!("new_dest {} {}", service(key), server(spec)),
        Command::EditServer(key, spec) => format!("set_dest {} {}", service(key), server(spec)),
        Command::DeleteServer(key, server) => {
            format!("del_dest {} dest[{} {}]", service(key), server.address, server.port)
        }
        Command::Timeouts(t) => format!("set_config tcp={} fin={} udp={}", t.tcp, t.tcpfin, t.udp),
        Command::StartDaemon(daemon) => format!("new_daemon {}", sync_daemon(daemon)),
        Command::StopDaemon(role, id) => format!("del_daemon {} id={id}", role_name(*role)),
        Command::List(_)
        | Command::Save { .. }
        | Command::Restore { .. }
        | Command::Help
        | Command::Version => return None,
    })
}

fn service(key: &ServiceRef) -> String {
    let family = if key.is_ipv6() { 10 } else { 2 };
    match key {
        ServiceRef::Mark { mark, .. } => format!("svc[{family} {mark}]"),
        ServiceRef::Endpoint { protocol, address, port } => {
            let protocol = match protocol {
                Protocol::Tcp => 6,
                Protocol::Udp => 17,
                Protocol::Sctp => 132,
            };
            format!("svc[{family} {protocol} {address} {port}]")
        }
    }
}

fn service_spec(spec: &ServiceSpec) -> String {
    let named = SchedulerFlag::of(&spec.scheduler);
    let bits = [0x8, 0x10, 0x20].into_iter().zip(named);
    let flags: u32 =
        bits.map(|(bit, flag)| if spec.flags.contains(&flag) { bit } else { 0 }).sum::<u32>()
            + u32::from(spec.persistent.is_some())
            + 4 * u32::from(spec.one_packet);
    let mask = if spec.service.is_ipv6() {
        spec.netmask.into()
    } else {
        let bits = u32::MAX.checked_shl(32 - u32::from(spec.netmask)).unwrap_or(0);
        u32::from_le_bytes(bits.to_be_bytes())
    };
    let engine = spec.pe.as_ref().map(|name| format!(" pe={name}")).unwrap_or_default();
    format!(
        "{} sched={} flags={flags:x} timeout={} netmask={mask:x}{engine}",
        service(&spec.service),
        spec.scheduler,
        spec.persistent.unwrap_or(0),
    )
}

fn server(spec: &ServerSpec) -> String {
    let checksum = |checksum| match checksum {
        Checksum::None => 0,
        Checksum::Full => 1,
        Checksum::Remote => 2,
    };
    let (forward, tunnel, port, flags) = match spec.forward {
        Forward::Nat => (0, 0, 0, 0),
        Forward::Dr => (3, 0, 0, 0),
        Forward::Tun(Tunnel::Ipip) => (2, 0, 0, 0),
        Forward::Tun(Tunnel::Gue { port, checksum: c }) => (2, 1, port, checksum(c)),
        Forward::Tun(Tunnel::Gre { checksum: c }) => (2, 2, 0, checksum(c)),
        Forward::FullNat => panic!("ipvsadm has no FullNAT"),
    };
    format!(
        "dest[{} {}] fwd={forward} w={} u={} l={} tun={tunnel} tport={port} tflags={flags}",
        spec.address, spec.port, spec.weight, spec.upper, spec.lower
    )
}

fn sync_daemon(daemon: &SyncDaemon) -> String {
    let role = role_name(daemon.role);
    let mut text = format!("{role} interface={} id={}", daemon.interface, daemon.sync_id);
    let more = [
        ("maxlen", daemon.max_length.map(|length| length.to_string())),
        ("group", daemon.group.map(|group| group.to_string())),
        ("port", daemon.port.map(|port| port.to_string())),
        ("ttl", daemon.ttl.map(|ttl| ttl.to_string())),
    ];
    for (name, value) in more {
        text += &value.map(|value| format!(" {name}={value}")).unwrap_or_default();
    }
    text
}

fn role_name(role: DaemonRole) -> &'static str {
    match role {
        DaemonRole::Master => "master",
        DaemonRole::Backup => "backup",
    }
}

fn understood(line: &str) -> Command {
    parse(Program::Ipvsadm, &argv(line), &Names)
        .unwrap_or_else(|refusal| panic!("{line}: {refusal}"))
}

#[test]
fn listings_are_understood() {
    let table = |service, view| ListWhat::Table { service, view };
    let address: IpAddr = "1.2.3.4".parse().unwrap();
    let service = ServiceRef::Endpoint { protocol: Protocol::Udp, address, port: 53 };
    let mark = ServiceRef::Mark { mark: 7, ipv6: true };
    let plain = table(None, View::Plain);
    // The line; what is listed; numeric, exact, sorted.
    let rows = [
        ("", plain.clone(), false, false, true),
        ("-ln", plain.clone(), true, false, true),
        ("-L -n --nosort -X", plain, true, true, false),
        ("-Lnc", ListWhat::Connections { engine: false }, true, false, true),
        ("-lc --persistent-conn", ListWhat::Connections { engine: true }, false, false, true),
        ("-L --timeout", ListWhat::Timeouts, false, false, true),
        ("-L --daemon -n", ListWhat::Daemons, true, false, true),
        ("-L --rate --sort", table(None, View::Rate), false, false, true),
        ("-L --rate --stats", table(None, View::Stats), false, false, true),
        ("-L --tun-info --thresholds", table(None, View::Thresholds), false, false, true),
        ("-Lf 7 -6 --persistent-conn", table(Some(mark), View::PersistentConn), false, false, true),
        (
            "-L -u 1.2.3.4:domain --tun-info",
            table(Some(service), View::TunInfo),
            false,
            false,
            true,
        ),
    ];
    for (line, what, numeric, exact, sorted) in rows {
        let expected = Command::List(ListSpec { what, numeric, exact, sorted });
        assert_eq!(understood(line), expected, "{line}");
    }
    assert_eq!(understood("-S"), Command::Save { numeric: false });
    assert_eq!(understood("-Sn"), Command::Save { numeric: true });
    assert_eq!(understood("-R"), Command::Restore { flush: false });
    assert_eq!(understood("-h"), Command::Help);
    assert_eq!(understood("-vn"), Command::Version);
}

#[test]
fn fullnat_keeps_its_port_and_its_family() {
    let spec = |line: &str| match understood(line) {
        Command::AddServer(_, spec) => spec,
        other => panic!("{other:?}"),
    };
    let server = spec("-a -t 1.2.3.4:80 -r 5.6.7.8:8080 --fullnat -w 3");
    assert_eq!((server.forward, server.port, server.weight), (Forward::FullNat, 8080, 3));
    let rows = [
        (
            "-a -t 1.2.3.4:80 -r [2001:db8::1]:80 --fullnat",
            "Different address family is allowed only for tunneling servers",
        ),
        (
            "-a -t 1.2.3.4:80 -r 5.6.7.8 --fullnat -m",
            "multiple 'forwarding-method' options specified",
        ),
        (
            "-a -t 1.2.3.4:80 -r 5.6.7.8 --fullnat --tun-csum",
            "Tunnel options conflict with forward method",
        ),
        (
            "-A -t 1.2.3.4:80 --fullnat",
            "Illegal 'forwarding-method' option with the 'add-service' command",
        ),
    ];
    for (line, text) in rows {
        let refusal = parse(Program::Ipvsadm, &argv(line), &Names).unwrap_err();
        assert_eq!((refusal.code, refusal.text.as_str()), (2, text), "{line}");
    }
}

#[test]
fn the_scripts_take_their_own_words() {
    let save = |line: &str| parse(Program::Save, &argv(line), &NoNames);
    assert_eq!(save(""), Ok(Command::Save { numeric: false }));
    assert_eq!(save("-n x -n"), Ok(Command::Save { numeric: true }));
    let mut typed = argv("-n -x");
    typed[0] = "/sbin/ipvsadm-save".to_owned();
    let Refusal { text, code, .. } = parse(Program::Save, &typed, &NoNames).unwrap_err();
    assert_eq!(code, 1);
    assert_eq!(
        text,
        "ipvsadm-save: Script to save the IPVS table to stdout.\n   \
         With the -n option, prints out the table in numeric format."
    );
    let restore = parse(Program::Restore, &argv("-x y"), &NoNames);
    assert_eq!(restore, Ok(Command::Restore { flush: true }));
}

#[test]
fn the_name_is_repeated_as_it_was_typed() {
    let typed = ["/opt/x/ipvsadm".to_owned(), "-z".to_owned()];
    let refusal = parse(Program::Ipvsadm, &typed, &NoNames).unwrap_err();
    assert_eq!(
        refusal.text,
        "Try `/opt/x/ipvsadm -h' or '/opt/x/ipvsadm --help' for more information."
    );
    let help = ipvsadm::help::usage("/opt/x/ipvsadm");
    assert!(help.starts_with(ipvsadm::help::VERSION));
    assert!(help.contains("\n  /opt/x/ipvsadm --stop-daemon {master|backup}\n"));
    assert!(!help.contains("{name}") && !help.contains("fullnat"));
}
