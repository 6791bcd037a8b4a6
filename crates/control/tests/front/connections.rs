//! Connections in pages: a million of them, and filters.

use std::net::Ipv4Addr;

use control::front::{Answer, Ask, Cursor, Filter, Page};
use dataplane::{
    forward::{Address, Forward, Protocol, V4},
    table::{Connection, Keys, TemplateRef},
    tcp::{State, UDP_STATE},
    template::Kind,
};
use ipvsadm::ServiceRef;

use crate::stage::{Stage, command};

const TABLE: [&str; 5] = [
    "-A -t 10.9.0.1:80 -s rr",
    "-a -t 10.9.0.1:80 -r 10.0.0.11:80 -m",
    "-a -t 10.9.0.1:80 -r 10.0.0.12:80 -m",
    "-A -f 7 -s rr",
    "-a -f 7 -r 10.0.0.11:0 -m",
];

fn v4(text: &str) -> V4 {
    V4::from_ip(text.parse().unwrap()).unwrap()
}

/// Client number `number` to the VIP, by NAT.
pub(crate) fn connection(number: u32, server_id: u32, server: &str) -> Connection<V4> {
    let client = V4::from_ip(Ipv4Addr::from(0x6440_0000 + number / 50_000).into()).unwrap();
    let cport = 1024 + (number % 50_000) as u16;
    Connection {
        client,
        cport,
        vip: v4("10.9.0.1"),
        vport: 80,
        server: v4(server),
        rport: 80,
        local: client,
        lport: cport,
        protocol: Protocol::Tcp,
        forward: Forward::Nat,
        server_id,
        flags: 0,
        keys: Keys::Both,
        template: TemplateRef::NONE,
    }
}

/// Calls `each` with every page.
fn pages(stage: &mut Stage, only: &Filter, mut each: impl FnMut(Vec<ipvsadm::Connection>)) {
    let mut from = Cursor::default();
    loop {
        let page = Page { from, only: only.clone() };
        let Answer::Connections { rows, next } = stage.answer(&Ask::Connections(page)) else {
            panic!("no connections");
        };
        each(rows);
        match next {
            Some(next) => from = next,
            None => return,
        }
    }
}

#[test]
fn a_million_connections_are_each_listed_once_in_bounded_pages() {
    const COUNT: u32 = 1_000_000;
    let mut stage = Stage::holding("services: []", COUNT as usize);
    stage.done(&TABLE);
    let id = stage.id("10.9.0.1:80/tcp", "10.0.0.11:80").unwrap();
    for number in 0..COUNT {
        let made = connection(number, id, "10.0.0.11");
        stage.director.v4.insert(&made, State::Established as u8, 900, 0).expect("room");
    }
    let mut seen = vec![false; COUNT as usize];
    let mut longest = 0;
    pages(&mut stage, &Filter::default(), |rows| {
        longest = longest.max(rows.len());
        for row in rows {
            let std::net::IpAddr::V4(client) = row.source.address else { panic!("{row:?}") };
            let number =
                (client.to_bits() - 0x6440_0000) * 50_000 + u32::from(row.source.port) - 1024;
            assert!(!std::mem::replace(&mut seen[number as usize], true), "twice: {row:?}");
        }
    });
    assert!(seen.iter().all(|seen| *seen), "some are missing");
    assert!(longest <= 16_384, "a page of {longest} rows");
    // A page that was asked for beyond the end is empty, not a fault.
    let json = r#"{"from": {"table": 0, "slot": 4294967295}}"#;
    let page: Page = serde_json::from_str(json).unwrap();
    assert!(
        matches!(stage.answer(&Ask::Connections(page)), Answer::Connections { rows, next: Some(_) } if rows.is_empty())
    );
    let json = r#"{"from": {"table": 9, "slot": 4294967295}}"#;
    let page: Page = serde_json::from_str(json).unwrap();
    assert!(
        matches!(stage.answer(&Ask::Connections(page)), Answer::Connections { rows, next: None } if rows.is_empty())
    );
}

/// Four connections; which of them fit.
#[test]
fn filters_choose() {
    let mut stage = Stage::new("services: []");
    stage.done(&TABLE);
    let web = "10.9.0.1:80/tcp";
    let [first, second] =
        ["10.0.0.11", "10.0.0.12"].map(|s| stage.id(web, &format!("{s}:80")).unwrap());
    let marked = stage.id("mark 7", "10.0.0.11:0").unwrap();
    let tcp = |number, id, server| connection(number, id, server);
    let udp = Connection {
        protocol: Protocol::Udp,
        vip: v4("10.9.0.7"),
        vport: 53,
        rport: 53,
        ..tcp(60_000, marked, "10.0.0.11")
    };
    let rows = [
        (tcp(0, first, "10.0.0.11"), State::Established as u8),
        (tcp(1, second, "10.0.0.12"), State::FinWait as u8),
        (tcp(50_000, first, "10.0.0.11"), State::FinWait as u8),
        (udp, UDP_STATE),
    ];
    for (connection, state) in &rows {
        stage.director.v4.insert(connection, *state, 100, 0).expect("room");
    }
    stage.done(&["-D -f 7"]);
    let client = |text: &str| control::registry::source(text).ok();
    let address = |text: &str| Some(text.parse().unwrap());
    let service = |line: &str| -> Option<ServiceRef> {
        match command(line) {
            ipvsadm::Command::AddService(spec) => Some(spec.service),
            other => panic!("{other:?}"),
        }
    };
    let any = Filter::default;
    let cases: [(Filter, &[usize]); 15] = [
        (any(), &[0, 1, 2, 3]),
        (Filter { client: client("100.64.0.0"), ..any() }, &[0, 1]),
        (Filter { client: client("100.64.0.0/31"), ..any() }, &[0, 1, 2, 3]),
        (Filter { name: Some("web".to_owned()), ..any() }, &[]),
        (Filter { name: Some("10.9.0.1:80/tcp".to_owned()), ..any() }, &[0, 1, 2]),
        (Filter { vip: address("10.9.0.7"), ..any() }, &[3]),
        (Filter { server: address("10.0.0.11"), ..any() }, &[0, 2, 3]),
        (Filter { state: Some("FIN_WAIT".to_owned()), ..any() }, &[1, 2]),
        (Filter { state: Some("UDP".to_owned()), ..any() }, &[3]),
        (Filter { protocol: Some(ipvsadm::Protocol::Tcp), ..any() }, &[0, 1, 2]),
        (Filter { protocol: Some(ipvsadm::Protocol::Sctp), ..any() }, &[]),
        (Filter { service: service("-A -t 10.9.0.1:80"), ..any() }, &[0, 1, 2]),
        // It is gone; its connections are not.
        (Filter { service: service("-A -f 7"), ..any() }, &[3]),
        (Filter { service: service("-A -f 8"), ..any() }, &[]),
        (
            Filter {
                server: address("10.0.0.11"),
                state: Some("FIN_WAIT".to_owned()),
                service: service("-A -t 10.9.0.1:80"),
                ..any()
            },
            &[2],
        ),
    ];
    for (filter, expected) in cases {
        let mut found = Vec::new();
        pages(&mut stage, &filter, |page| found.extend(page));
        let at = |row: &ipvsadm::Connection| {
            rows.iter().position(|(c, _)| {
                (c.client.ip(), c.cport) == (row.source.address, row.source.port)
                    && c.vip.ip() == row.virtual_service.address
            })
        };
        let mut found: Vec<usize> = found.iter().map(|row| at(row).unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[test]
fn a_listing_is_ipvsadms() {
    let mut stage = Stage::new("services: []");
    stage.done(&TABLE);
    let id = stage.id("10.9.0.1:80/tcp", "10.0.0.11:80").unwrap();
    let made = connection(0, id, "10.0.0.11");
    stage.director.v4.insert(&made, State::Established as u8, 900, 0).expect("room");
    stage.now = 5;
    let (code, out, said) = stage.run("-Lnc", "");
    assert_eq!((code, said.as_str()), (0, ""));
    let expected = "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:55  ESTABLISHED 100.64.0.0:1024    10.9.0.1:80        10.0.0.11:80
";
    assert_eq!(out, expected);
}

/// Rows as the kernel has them (lvs-semantics, A.1 and A.5): no port of the client's, for a mark
/// the protocol IP and the mark as an address. The entry of a single packet is no connection.
#[test]
fn templates_are_listed_and_single_packets_are_not() {
    let mut stage = Stage::new("services: []");
    stage.done(&TABLE);
    let web = stage.id("10.9.0.1:80/tcp", "10.0.0.12:80").unwrap();
    let marked = stage.id("mark 7", "10.0.0.11:0").unwrap();
    let single = Connection { keys: Keys::Answers, ..connection(0, web, "10.0.0.12") };
    stage.director.v4.insert(&single, UDP_STATE, 300, 0).expect("room");
    let of_web = Connection {
        client: v4("198.18.0.0"),
        cport: Kind::Endpoint as u16,
        lport: 0,
        forward: Forward::Dr,
        ..connection(0, web, "10.0.0.12")
    };
    let of_mark = Connection {
        cport: Kind::Mark as u16,
        vip: v4("0.0.0.7"),
        vport: 0,
        rport: 0,
        server_id: marked,
        server: v4("10.0.0.11"),
        ..of_web
    };
    for (template, state) in [(of_web, 1), (of_mark, 0)] {
        stage.director.templates_v4.table().insert(&template, state, 60, 0).expect("room");
    }
    stage.now = 1;
    let (_, out, _) = stage.run("-Lnc", "");
    let mut rows: Vec<&str> = out.lines().skip(2).collect();
    rows.sort_unstable();
    let expected = [
        "IP  00:59  NONE        198.18.0.0:0       0.0.0.7:0          10.0.0.11:0",
        "TCP 00:59  ASSURED     198.18.0.0:0       10.9.0.1:80        10.0.0.12:80",
    ];
    assert_eq!(rows, expected);
    let only = Filter { state: Some("ASSURED".to_owned()), ..Filter::default() };
    let mut found = 0;
    pages(&mut stage, &only, |page| found += page.len());
    assert_eq!(found, 1);
}

/// As lvs-semantics has them, A.5, A.8 and A.9.
#[test]
fn all_states_have_names() {
    let expected = "ASSURED C-ECHOED C-REPLIED C-SENT C-WAIT CLOSE CLOSED CLOSE_WAIT COOKIE \
        ESTABLISHED FIN_WAIT INIT INIT1 LAST_ACK LISTEN NONE REJECTED S-ACK-SENT S-RECEIVED S-SENT \
        SYNACK SYN_RECV SYN_SENT TIME_WAIT UDP";
    assert_eq!(control::front::states().join(" "), expected);
}
