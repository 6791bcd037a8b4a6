//! Rules: read as `ipvsadm -R` reads them, and the way around from a table to rules and back.

mod support;

use std::net::IpAddr;

use ipvsadm::restore::{self, Rule};
use ipvsadm::{
    Checksum, Command, Counters, Forward, ListedServer, ListedService, Listing, NoNames, Program,
    Protocol, SchedulerFlag, ServerSpec, ServiceRef, ServiceSpec, Tunnel, parse, save,
};
use support::{Names, Random, argv};

fn read(text: &str) -> Result<Vec<Rule>, (usize, u8, String)> {
    restore::rules(text, "ipvsadm", &Names)
        .map_err(|refusal| (refusal.line.unwrap(), refusal.code, refusal.text))
}

/// The command that a line gives by itself.
fn command(line: &str) -> Command {
    parse(Program::Ipvsadm, &argv(line), &Names).unwrap()
}

#[test]
fn rules_are_read_line_by_line() {
    let rows: &[(&str, &[(usize, &str)])] = &[
        ("", &[]),
        ("\n\n  \n", &[]),
        ("-C", &[(1, "-C")]),
        ("-C \t ", &[(1, "-C")]),
        ("\n-A -t 1.2.3.4:http\r\n-C\r\n", &[(2, "-A -t 1.2.3.4:80"), (3, "-C")]),
        ("  -A   -t\t1.2.3.4:80  \n-C", &[(1, "-A -t 1.2.3.4:80"), (2, "-C")]),
        ("ipvsadm -A -t 1.2.3.4:80\nipvsadm\n", &[(1, "-A -t 1.2.3.4:80")]),
        ("# a comment\n #-C\n--set 1 2 3\n", &[(3, "--set 1 2 3")]),
        ("-A -f 3 -s \"rr\"\n", &[(1, "-A -f 3 -s \"rr\"")]),
        ("-Z\n-D -f 3\n", &[(1, "-Z"), (2, "-D -f 3")]),
    ];
    for (text, expected) in rows {
        let expected: Vec<Rule> = expected
            .iter()
            .map(|(line, words)| Rule { line: *line, command: command(words) })
            .collect();
        assert_eq!(read(text).as_ref(), Ok(&expected), "{text:?}");
    }
}

#[test]
fn one_wrong_line_refuses_all() {
    let try_help = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.";
    // ipvsadm's texts and codes, but for the last four.
    let rows = [
        ("garbage\n", 1, 255, try_help),
        ("-C\n-R\n", 2, 255, try_help),
        ("-A -t 1.2.3.4\n-C\n", 1, 2, "Zero port specified for non-persistent service"),
        ("-C\n\n-A -t 1.2.3.4:80 --zz\n-C\n", 3, 255, "--zz: unknown option"),
        ("-A -t 1.2.3.4:80 # x\n", 1, 2, "unexpected argument #"),
        ("-A -t 1.2.3.4:80 \\\n -s rr\n", 1, 2, "unexpected argument \\"),
        ("-A -t 1.2.3.4:80 -s ipvsadm\n", 1, 255, "-s: missing argument"),
        ("-L\n", 1, 2, "the 'list' command is no rule that can be restored"),
        ("-Sn\n", 1, 2, "the 'save' command is no rule that can be restored"),
        ("-h\n", 1, 2, "the 'help' command is no rule that can be restored"),
        ("-v\n", 1, 2, "the 'version' command is no rule that can be restored"),
    ];
    for (text, line, code, message) in rows {
        assert_eq!(read(text), Err((line, code, message.to_owned())), "{text:?}");
    }
}

#[test]
fn saved_rules_make_the_same_table() {
    for seed in 1..=200 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
        let table = random_table(&mut random);
        let text = save::text(&table, true, &NoNames);
        let rules = restore::rules(&text, "ipvsadm", &NoNames)
            .unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}\n{text}"));
        let commands: Vec<Command> = rules.into_iter().map(|rule| rule.command).collect();
        let json = serde_json::to_string(&commands).unwrap();
        let commands: Vec<Command> = serde_json::from_str(&json).unwrap();
        assert_eq!(rebuilt(commands), contents(&table), "seed {seed}\n{text}");
    }
}

/// Services with their servers, in an order that does not depend on the listing's.
type Contents = Vec<(ServiceSpec, Vec<ServerSpec>)>;

fn contents(table: &Listing) -> Contents {
    let service = |listed: &ListedService| {
        (listed.spec.clone(), listed.servers.iter().map(|server| server.spec).collect())
    };
    ordered(table.services.iter().map(service).collect())
}

fn rebuilt(commands: Vec<Command>) -> Contents {
    let mut services: Contents = Vec::new();
    for command in commands {
        match command {
            Command::AddService(spec) => services.push((spec, Vec::new())),
            Command::AddServer(key, server) => {
                let (spec, servers) = services.last_mut().unwrap();
                assert_eq!(spec.service, key);
                servers.push(server);
            }
            other => panic!("{other:?}"),
        }
    }
    ordered(services)
}

fn ordered(mut services: Contents) -> Contents {
    services.sort_by_key(|(spec, _)| format!("{spec:?}"));
    for (_, servers) in &mut services {
        servers.sort_by_key(|server| format!("{server:?}"));
    }
    services
}

fn random_table(random: &mut Random) -> Listing {
    let mut services: Vec<ListedService> = Vec::new();
    for _ in 0..random.below(12) {
        let spec = random_service(random);
        if services.iter().any(|listed| listed.spec.service == spec.service) {
            continue;
        }
        let servers = (0..random.below(6)).map(|_| random_server(random, &spec.service)).collect();
        let counters = Counters::default();
        services.push(ListedService { spec, stats: counters, rates: counters, servers });
    }
    Listing { size: 4096, services }
}

fn random_address(random: &mut Random, ipv6: bool) -> IpAddr {
    if ipv6 {
        // Words of zero are what addresses are shortened by.
        let words: [u16; 8] =
            std::array::from_fn(|_| if random.below(2) == 0 { 0 } else { random.next() as u16 });
        words.into()
    } else {
        (random.next() as u32).to_be_bytes().into()
    }
}

fn random_service(random: &mut Random) -> ServiceSpec {
    let ipv6 = random.below(2) == 0;
    let one_packet = random.below(4) == 0;
    let service = if random.below(3) == 0 {
        ServiceRef::Mark { mark: random.next() as u32 | 1, ipv6 }
    } else {
        let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let protocol = if one_packet { Protocol::Udp } else { random.pick(&protocols) };
        let port = random.pick(&[0, 1, 80, 65535]);
        ServiceRef::Endpoint { protocol, address: random_address(random, ipv6), port }
    };
    let wildcard = matches!(service, ServiceRef::Endpoint { port: 0, .. });
    let persistent = wildcard || random.below(2) == 0;
    let scheduler = random.pick(&["rr", "sh", "mh", "wlc", "some-scheduler1"]);
    let flags = SchedulerFlag::of(scheduler).into_iter().filter(|_| random.below(3) == 0).collect();
    let host = service.host_prefix();
    // A mask is saved with persistence only: without, it has no meaning.
    let netmask = if !persistent || random.below(2) == 0 {
        host
    } else if ipv6 {
        1 + random.below(128) as u8
    } else {
        random.below(33) as u8
    };
    ServiceSpec {
        service,
        scheduler: scheduler.to_owned(),
        flags,
        persistent: persistent.then(|| 1 + random.below(86400 * 31) as u32),
        netmask,
        pe: (random.below(4) == 0).then(|| "sip".to_owned()),
        one_packet,
    }
}

fn random_server(random: &mut Random, service: &ServiceRef) -> ListedServer {
    let checksum = random.pick(&[Checksum::None, Checksum::Full, Checksum::Remote]);
    let gre = random.pick(&[Checksum::None, Checksum::Full]);
    let gue = Tunnel::Gue { port: 1 + random.below(65535) as u16, checksum };
    let forward = random.pick(&[
        Forward::Nat,
        Forward::FullNat,
        Forward::Dr,
        Forward::Tun(Tunnel::Ipip),
        Forward::Tun(gue),
        Forward::Tun(Tunnel::Gre { checksum: gre }),
    ]);
    let tunnelled = matches!(forward, Forward::Tun(_));
    let ipv6 = service.is_ipv6() != (tunnelled && random.below(3) == 0);
    let port = match service {
        ServiceRef::Endpoint { port, .. } if tunnelled || forward == Forward::Dr => *port,
        _ => random.next() as u16,
    };
    let threshold = |random: &mut Random| {
        if random.below(2) == 0 { 0 } else { random.below(1 << 31) as u32 }
    };
    let counters = Counters::default();
    ListedServer {
        spec: ServerSpec {
            address: random_address(random, ipv6),
            port,
            forward,
            weight: random.pick(&[0, 1, 65535, 70000, i32::MAX as u32]),
            upper: threshold(random),
            lower: threshold(random),
        },
        active: 0,
        inactive: 0,
        persistent: 0,
        stats: counters,
        rates: counters,
    }
}

/// Options, values, and words that break off in the middle.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "-A", "-a", "-E", "-e", "-D", "-d", "-L", "-Z", "-S", "-R", "-C", "--set", "-t", "-u",
    "--sctp-service", "-f", "-r", "-s", "-p", "-M", "-b", "-w", "-x", "-y", "-6", "-o", "-m",
    "-i", "-g", "--fullnat", "-n", "-c", "--tun-type", "--tun-port", "--tun-csum", "gue",
    "1.2.3.4:80", "[::1]:80", "[::1", "]", ":", "[]:", "", "-", "--", "=", "-=", "--=", "é", "-é",
    "-té", "--é=", "0x", "1.", ".", ",", "sh", "sh-port", "99999999999999999999", "-1", "\u{0}",
    "--pe", "--syncid", "--mcast-group", "ff02::1", "--start-daemon", "master",
];

#[test]
fn no_words_make_the_parser_stumble() {
    let mut random = Random(42);
    for _ in 0..50_000 {
        let count = random.below(9);
        let words = (0..count).map(|_| random.pick(WORDS).to_owned());
        let argv: Vec<String> = std::iter::once("ipvsadm".to_owned()).chain(words).collect();
        if let Err(refusal) = parse(Program::Ipvsadm, &argv, &Names) {
            assert!(!refusal.text.is_empty() && refusal.code != 0, "{argv:?}");
        }
    }
}
