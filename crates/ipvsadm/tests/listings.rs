//! Listings: what Debian's ipvsadm 1.31 printed of the table in `recorded/table.txt` and of the
//! connections in `recorded/connections.txt`, which a stand-in for the kernel handed to it.

mod support;

use std::net::{IpAddr, Ipv4Addr};

use ipvsadm::{
    Checksum, Command, Connection, Counters, DaemonRole, Denial, Endpoint, Forward, ListSpec,
    ListWhat, ListedServer, ListedService, Listing, Program, Protocol, Refusal, Resolver,
    SchedulerFlag, ServerSpec, ServiceRef, ServiceSpec, SyncDaemon, Timeouts, Tunnel, View,
    listing, parse, save,
};
use support::{Names, argv, sections};

#[test]
fn listings_are_those_of_ipvsadm() {
    let table = recorded_table();
    let connections = recorded_connections();
    let sections = sections(include_str!("recorded/listings.txt"));
    assert!(sections.len() > 20);
    for (line, expected) in sections {
        let command = parse(Program::Ipvsadm, &argv(line), &Names).unwrap();
        let mut expected = expected.join("\n") + "\n";
        if matches!(command, Command::Save { .. }) {
            expected = with_thresholds(&expected);
        }
        assert_eq!(print(&command, &table, &connections), expected, "{line}");
    }
}

fn print(command: &Command, table: &Listing, connections: &[Connection]) -> String {
    let spec = match command {
        Command::Save { numeric } => return save::text(table, *numeric, &Names),
        Command::List(spec) => spec,
        other => panic!("{other:?}"),
    };
    match spec.what {
        ListWhat::Table { service, view } => {
            listing::table(table, service, view, spec, &Names).unwrap()
        }
        ListWhat::Connections { engine } => {
            let row = |c: &Connection| listing::connection(c, spec.numeric, engine, &Names);
            let rows: String = connections.iter().map(row).collect();
            listing::connections_title(engine).to_owned() + &rows
        }
        ListWhat::Timeouts => listing::timeouts(&Timeouts { tcp: 900, tcpfin: 120, udp: 300 }),
        ListWhat::Daemons => listing::daemons(&[]),
    }
}

/// What we add to ipvsadm's rules: the thresholds of the recorded table, and the third flag of
/// sh, of which ipvsadm writes `-b` alone, which nothing can read.
fn with_thresholds(rules: &str) -> String {
    let added = [
        ("-r 10.2.0.11:80 -g -w 5\n", "-r 10.2.0.11:80 -g -w 5 -x 4 -y 2\n"),
        ("-r 10.2.0.11:http -g -w 5\n", "-r 10.2.0.11:http -g -w 5 -x 4 -y 2\n"),
        ("-m -w 2147483647\n", "-m -w 2147483647 -x 2147483647 -y 2147483646\n"),
        ("10.2.0.18:443 -i -w 1 ", "10.2.0.18:443 -i -w 1 -x 9 "),
        ("10.2.0.18:https -i -w 1 ", "10.2.0.18:https -i -w 1 -x 9 "),
        ("-s sh -p 7 -M 255.255.255.0 -b \n", "-s sh -p 7 -M 255.255.255.0 -b flag-3\n"),
        ("-s sh -b \n", "-s sh -b flag-3\n"),
    ];
    added.iter().fold(rules.to_owned(), |rules, (from, to)| rules.replace(from, to))
}

fn recorded_table() -> Listing {
    let mut services: Vec<ListedService> = Vec::new();
    for line in include_str!("recorded/table.txt").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let counters = words.last().and_then(|word| word.strip_prefix("stats="));
        let (stats, rates) = counters.map(counters_of).unwrap_or_default();
        match words[0] {
            "svc" => services.push(ListedService {
                spec: service_of(&words),
                stats,
                rates,
                servers: Vec::new(),
            }),
            "dst" => {
                let number = |index: usize| words[index].parse::<u32>().unwrap();
                services.last_mut().unwrap().servers.push(ListedServer {
                    spec: server_of(&words),
                    active: number(7),
                    inactive: number(8),
                    persistent: number(9),
                    stats,
                    rates,
                });
            }
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
    Listing { size: 4096, services }
}

fn counters_of(text: &str) -> (Counters, Counters) {
    let numbers: Vec<u64> = text.split(',').map(|number| number.parse().unwrap()).collect();
    let five = |n: &[u64]| Counters {
        connections: n[0],
        in_packets: n[1],
        out_packets: n[2],
        in_bytes: n[3],
        out_bytes: n[4],
    };
    (five(&numbers[..5]), five(&numbers[5..]))
}

fn service_of(words: &[&str]) -> ServiceSpec {
    let address: IpAddr = words[2].parse().unwrap();
    let mark = words[4].parse().unwrap();
    let flags = u32::from_str_radix(words[6], 16).unwrap();
    let named = [8, 16, 32].into_iter().zip(SchedulerFlag::of(words[5]));
    ServiceSpec {
        service: if mark == 0 {
            let protocol = match words[1] {
                "6" => Protocol::Tcp,
                "17" => Protocol::Udp,
                _ => Protocol::Sctp,
            };
            ServiceRef::Endpoint { protocol, address, port: words[3].parse().unwrap() }
        } else {
            ServiceRef::Mark { mark, ipv6: address.is_ipv6() }
        },
        scheduler: words[5].to_owned(),
        flags: named.filter(|(bit, _)| flags & bit != 0).map(|(_, flag)| flag).collect(),
        persistent: (flags & 1 != 0).then(|| words[7].parse().unwrap()),
        netmask: match words[8].parse::<Ipv4Addr>() {
            Ok(mask) => mask.to_bits().count_ones() as u8,
            Err(_) => words[8].parse().unwrap(),
        },
        pe: Some(words[9].to_owned()).filter(|name| name != "-"),
        one_packet: flags & 4 != 0,
    }
}

fn server_of(words: &[&str]) -> ServerSpec {
    let number = |index: usize| words[index].parse::<u32>().unwrap();
    let checksum = [Checksum::None, Checksum::Full, Checksum::Remote][number(12) as usize];
    ServerSpec {
        address: words[1].parse().unwrap(),
        port: words[2].parse().unwrap(),
        forward: match (words[3], words[10]) {
            ("0", _) => Forward::Nat,
            ("3", _) => Forward::Dr,
            ("2", "0") => Forward::Tun(Tunnel::Ipip),
            ("2", "1") => Forward::Tun(Tunnel::Gue { port: number(11) as u16, checksum }),
            ("2", "2") => Forward::Tun(Tunnel::Gre { checksum }),
            other => panic!("{other:?}"),
        },
        weight: number(4),
        upper: number(5),
        lower: number(6),
    }
}

fn recorded_connections() -> Vec<Connection> {
    let hex = |word: &str| u16::from_str_radix(word, 16).unwrap();
    let address = |word: &str| -> IpAddr {
        match u32::from_str_radix(word, 16) {
            Ok(bits) => Ipv4Addr::from_bits(bits).into(),
            Err(_) => word.parse().unwrap(),
        }
    };
    let endpoint = |words: &[&str]| Endpoint { address: address(words[0]), port: hex(words[1]) };
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Connection {
            protocol: match words[0] {
                "TCP" => Some(Protocol::Tcp),
                "UDP" => Some(Protocol::Udp),
                "SCTP" => Some(Protocol::Sctp),
                _ => None,
            },
            source: endpoint(&words[1..]),
            virtual_service: endpoint(&words[3..]),
            destination: endpoint(&words[5..]),
            state: words[7].to_owned(),
            expires: words[8].parse().unwrap(),
            engine: words.get(9).map(|name| ((*name).to_owned(), words[10].to_owned())),
        }
    };
    include_str!("recorded/connections.txt").lines().skip(1).map(row).collect()
}

#[test]
fn what_ipvsadm_has_no_word_for() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let service = ServiceRef::Mark { mark: 4_000_000_000, ipv6: false };
    let server = ServerSpec {
        address: address("10.2.0.11"),
        port: 8080,
        forward: Forward::FullNat,
        weight: 1,
        upper: 0,
        lower: 0,
    };
    let table = Listing {
        size: 4096,
        services: vec![ListedService {
            spec: ServiceSpec {
                service,
                scheduler: "rr".to_owned(),
                flags: vec![],
                persistent: None,
                netmask: 32,
                pe: None,
                one_packet: false,
            },
            stats: Counters::default(),
            rates: Counters::default(),
            servers: vec![ListedServer {
                spec: server,
                active: 1,
                inactive: 2,
                persistent: 3,
                stats: Counters::default(),
                rates: Counters::default(),
            }],
        }],
    };
    let what = ListWhat::Table { service: None, view: View::TunInfo };
    let spec = ListSpec { what, numeric: true, exact: false, sorted: true };
    let rows = [
        (View::Plain, "  -> 10.2.0.11:8080               FullNat 1      1          2         "),
        (
            View::TunInfo,
            "  -> 10.2.0.11:8080               FullNat n/a           1      1          2         ",
        ),
    ];
    for (view, row) in rows {
        let text = listing::table(&table, Some(service), view, &spec, &Names).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2..], ["FWM  4000000000 rr", row]);
    }
    assert_eq!(
        save::text(&table, true, &Names),
        "-A -f 4000000000 -s rr\n-a -f 4000000000 -r 10.2.0.11:8080 --fullnat -w 1\n"
    );
    let absent = Some(ServiceRef::Mark { mark: 7, ipv6: false });
    let denial = listing::table(&table, absent, View::Plain, &spec, &Names);
    assert_eq!(denial, Err(Denial::NoSuchService));
}

#[test]
fn daemons_are_listed_each_on_its_line() {
    let daemon = |role, interface: &str| SyncDaemon {
        role,
        interface: interface.to_owned(),
        sync_id: 7,
        max_length: Some(1472),
        group: Some("224.0.0.81".parse().unwrap()),
        port: Some(8848),
        ttl: Some(1),
    };
    let bare = SyncDaemon {
        max_length: None,
        group: None,
        port: None,
        ttl: None,
        ..daemon(DaemonRole::Master, "eth0")
    };
    assert_eq!(
        listing::daemons(&[
            daemon(DaemonRole::Master, "r0"),
            daemon(DaemonRole::Backup, "c0"),
            bare
        ]),
        "master sync daemon (mcast=r0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n\
         backup sync daemon (mcast=c0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n\
         master sync daemon (mcast=eth0, syncid=7)\n"
    );
}

/// A machine on which every address has one long name.
struct LongNames;

impl Resolver for LongNames {
    fn host(&self, name: &str) -> Option<Ipv4Addr> {
        Names.host(name)
    }

    fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        Names.port(name, protocol)
    }

    fn host_name(&self, _: IpAddr) -> Option<String> {
        Some("a-host-with-a-name.of-many-letters.in-a-zone.of-a-domain.example.com".to_owned())
    }

    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String> {
        Names.port_name(port, protocol)
    }
}

#[test]
fn long_names_are_cut_where_ipvsadm_cuts_them() {
    let what = ListWhat::Table { service: None, view: View::Plain };
    let spec = ListSpec { what, numeric: false, exact: false, sorted: true };
    let text = listing::table(&recorded_table(), None, View::Plain, &spec, &LongNames).unwrap();
    assert_eq!(text, include_str!("recorded/long-names.txt"));
}

#[test]
fn denials_are_in_ipvsadms_words() {
    let rows = [
        (Refusal::denied(&Denial::ServiceExists), 255, "Service already exists"),
        (
            Refusal::denied(&Denial::SchedulerNotFound),
            255,
            "Scheduler or persistence engine not found",
        ),
        (Refusal::unlisted(&Denial::NoSuchService), 1, "No such service"),
        (Refusal::denied(&Denial::ServiceNotDefined), 255, "Service not defined"),
        (Refusal::denied(&Denial::DestinationExists), 255, "Destination already exists"),
        (Refusal::denied(&Denial::NoSuchDestination), 255, "No such destination"),
        (Refusal::denied(&Denial::OutOfRange), 255, "Numerical result out of range"),
        (
            Refusal::unreachable(&Denial::NoProtocol),
            2,
            "Can't initialize ipvs: Protocol not available\nAre you sure that IP Virtual Server \
             is built in the kernel or as module?",
        ),
        (
            Refusal::unreachable(&Denial::NotPermitted),
            2,
            "Can't initialize ipvs: Permission denied (you must be root)\nAre you sure that IP \
             Virtual Server is built in the kernel or as module?",
        ),
    ];
    for (refusal, code, text) in rows {
        assert_eq!((refusal.code, refusal.text.as_str()), (code, text));
    }
}
