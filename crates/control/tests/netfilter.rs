//! Rules as real programs printed them (iptables 1.8.9 on nftables, nft 1.0.6), and what
//! becomes of them. `tests/netfilter` has the texts; the commands stand below.

use std::process::Command;

use control::{
    load,
    netfilter::{import::import, read},
};
use dataplane::forward::Protocol;

/// `iptables-save; ip6tables-save`
const IPTABLES: &str = include_str!("netfilter/iptables.save");
/// The same rules by `nft list ruleset`, and with `-j`.
const IPTABLES_NFT: &str = include_str!("netfilter/iptables.nft");
const IPTABLES_JSON: &str = include_str!("netfilter/iptables.json");
/// Rules made with nft.
const LVS: &str = include_str!("netfilter/lvs.nft");
const LVS_JSON: &str = include_str!("netfilter/lvs.json");

fn yaml(text: &str) -> String {
    import(&read(text).unwrap()).yaml()
}

/// The entries, without the comments.
fn entries(yaml: &str) -> Vec<&str> {
    yaml.lines().filter_map(|line| line.strip_prefix("  - ")).collect()
}

/// The rules that were refused, each with its reason.
fn refused(yaml: &str) -> Vec<(&str, &str)> {
    let lines: Vec<&str> = yaml.lines().collect();
    let pairs = lines.windows(2).filter(|pair| pair[0].starts_with("  # not translated: "));
    pairs.map(|pair| (pair[0], pair[1].trim_start_matches("  #   "))).collect()
}

fn expect_refused(yaml: &str, expected: &[(&str, &str)]) {
    let found = refused(yaml);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((rule, why), (words, reason)) in found.iter().zip(expected) {
        assert!(rule.contains(words) && why.contains(reason), "{rule}: {why}: {words}: {reason}");
    }
}

const OF_IPTABLES: [&str; 9] = [
    "{mark: 10, destination: 203.0.113.10/32, protocol: tcp, ports: [80, 443, 8000-8099]}",
    "{mark: 1, mask: 0xff, destination: 203.0.113.0/24, source: 198.51.100.0/24, \
     protocol: udp, ports: [53], interface: eth0}",
    "{mark: 4, mask: 0x4, destination: 203.0.113.11/32}",
    "{mark: 0, mask: 0xf, destination: 203.0.113.11/32}",
    "{mark: 20, destination: 203.0.113.13/32, protocol: tcp, ports: [80]}",
    "{mark: 21, destination: 203.0.113.13/32, protocol: sctp, ports: [3868]}",
    "{mark: 31, destination: 0.0.0.0/0, interface: eth1}",
    "{mark: 10, destination: \"2001:db8::10/128\", protocol: tcp, ports: [80]}",
    "",
];

#[test]
fn iptables_saves() {
    let yaml = yaml(IPTABLES);
    assert_eq!(entries(&yaml), OF_IPTABLES[..8]);
    expect_refused(
        &yaml,
        &[
            ("--set-xmark 0x4/0x0", "flips bits"),
            ("-m conntrack --ctstate NEW", "does not look at: -m conntrack"),
            ("! -s 10.0.0.0/8", "does not look at: ! -s 10.0.0.0/8"),
            ("! --dport 22", "does not look at: ! --dport 22"),
            ("-A WEB -d 203.0.113.99/32", "both name a destination"),
            ("-p icmp", "does not look at: -p icmp"),
            ("-j RETURN", "gets no mark from later rules"),
            ("-i eth+", "does not look at: -i eth+"),
            ("-j CONNMARK", "nothing for: CONNMARK --restore-mark"),
            ("-i eth1 -p tcp -m tcp --sport 20", "does not look at: --sport 20"),
            ("-A OUTPUT", "packets that leave"),
        ],
    );
    let last = "# left out: 2 rules that set no mark, in ip filter INPUT, ip mangle OUTPUT";
    assert_eq!(yaml.lines().last(), Some(last));
    assert!(yaml.contains("# not translated: line 13: -A PREROUTING -d 203.0.113.12/32 -j MARK"));
}

/// The same rules in another language are the same entries.
#[test]
fn the_same_rules_by_nft() {
    let yaml = yaml(IPTABLES_NFT);
    assert_eq!(entries(&yaml), OF_IPTABLES[..8]);
    expect_refused(
        &yaml,
        &[
            ("mark xor 0x4", "flips bits"),
            ("ct state new", "does not look at: ct state new"),
            ("ip saddr != 10.0.0.0/8", "does not look at: ip saddr != 10.0.0.0/8"),
            ("tcp dport != 22", "does not look at: tcp dport != 22"),
            ("203.0.113.99", "both name a destination"),
            ("l4proto icmp", "does not look at: meta l4proto icmp"),
            ("return", "gets no mark from later rules"),
            ("eth*", "does not look at: iifname eth*"),
            ("ct mark", "nothing for: meta mark set ct mark"),
            ("tcp sport 20", "does not look at: tcp sport 20"),
            ("ip daddr 203.0.113.10 counter packets 0 bytes 0 meta mark set 0x6", "that leave"),
        ],
    );
}

/// JSON keeps the parts of libxtables to itself: nothing of theirs is made up.
#[test]
fn the_same_rules_by_json() {
    let yaml = yaml(IPTABLES_JSON);
    assert_eq!(entries(&yaml), <[&str; 0]>::default(), "{yaml}");
    assert!(yaml.starts_with("marks: []\n"));
    for (rule, why) in refused(&yaml) {
        let known = ["take iptables-save", "gets no mark from later rules"];
        assert!(known.iter().any(|words| why.contains(words)), "{rule}: {why}");
    }
}

#[test]
fn rules_of_nft_as_text_and_as_json() {
    let expected = [
        "{mark: 10, destination: 203.0.113.10/32, protocol: tcp, ports: [80, 443, 8000-8099]}",
        "{mark: 1, mask: 0xff, destination: 203.0.113.0/24, source: 198.51.100.0/24, \
         protocol: udp, ports: [53], interface: eth0}",
        "{mark: 32, destination: \"2001:db8::10/128\", protocol: tcp, ports: [53]}",
        "{mark: 32, destination: \"2001:db8::10/128\", protocol: udp, ports: [53]}",
        "{mark: 32, destination: \"2001:db8::20/128\", protocol: tcp, ports: [53]}",
        "{mark: 32, destination: \"2001:db8::20/128\", protocol: udp, ports: [53]}",
        "{mark: 6, destination: 203.0.113.20/30}",
        "{mark: 20, destination: 203.0.113.13/32, protocol: tcp, ports: [80]}",
        "{mark: 21, destination: 203.0.113.13/32, protocol: sctp, ports: [3868]}",
        "{mark: 9, destination: 0.0.0.0/0, interface: lo}",
        "{mark: 9, destination: \"::/0\", interface: lo}",
        "{mark: 77, destination: 0.0.0.0/0}",
        "{mark: 77, destination: \"::/0\"}",
    ];
    for text in [LVS, LVS_JSON] {
        let yaml = yaml(text);
        assert_eq!(entries(&yaml), expected);
        expect_refused(
            &yaml,
            &[
                ("203.0.113.11", "flips bits"),
                ("ip daddr @vips", "does not look at: ip daddr @vips"),
                ("ip daddr != 203.0.113.9", "does not look at: ip daddr != 203.0.113.9"),
                ("ct state new", "does not look at: ct state new"),
            ],
        );
    }
}

/// What is printed is what the file's own reader takes, with nothing lost.
#[test]
fn the_file_reads_what_is_printed() {
    for text in [IPTABLES, IPTABLES_NFT, LVS, LVS_JSON] {
        let yaml = yaml(text);
        let file = format!(
            "version: 1\ninterfaces: [eth0, eth1, lo]\n{yaml}services:\n  - {{name: web, mark: 10, \
             family: ipv4, forward: dr, scheduler: rr, servers: [{{address: 10.0.0.1}}]}}\n"
        );
        let model = load::read("x.yaml".as_ref(), &file, None)
            .unwrap_or_else(|faults| panic!("{file}{faults}"));
        assert_eq!(model.marks.len(), entries(&yaml).len());
        let web = &model.marks[0];
        assert_eq!((web.mark, web.mask), (10, u32::MAX));
        assert_eq!(web.destination.to_string(), "203.0.113.10/32");
        assert_eq!(web.protocol, Some(Protocol::Tcp));
        assert_eq!(web.ports, [80..=80, 443..=443, 8000..=8099]);
        let dns = &model.marks[1];
        assert_eq!((dns.mark, dns.mask, dns.interface), (1, 0xff, Some(0)));
        assert_eq!(dns.source.map(|source| source.to_string()).as_deref(), Some("198.51.100.0/24"));
    }
}

/// One rule each, as it would stand in `PREROUTING` of `mangle`.
#[test]
fn rules_of_iptables_one_by_one() {
    let mark = "-j MARK --set-xmark 0xa/0xffffffff";
    let rows = [
        (format!("-d 192.0.2.1/32 {mark}"), "{mark: 10, destination: 192.0.2.1/32}"),
        (format!("-d 192.0.2.0/255.255.255.255 {mark}"), "-d 192.0.2.0/255.255.255.255"),
        (
            "-d 192.0.2.1/32 -j MARK --set-mark 0xa/0xc".to_owned(),
            "{mark: 10, mask: 0xe, destination: 192.0.2.1/32}",
        ),
        (
            "-d 192.0.2.1/32 -j MARK --or-mark 3".to_owned(),
            "{mark: 3, mask: 0x3, destination: 192.0.2.1/32}",
        ),
        (
            "-d 192.0.2.1/32 -j MARK --and-mark 0xff".to_owned(),
            "{mark: 0, mask: 0xffffff00, destination: 192.0.2.1/32}",
        ),
        ("-d 192.0.2.1/32 -j MARK --xor-mark 1".to_owned(), "flips bits"),
        ("-d 192.0.2.1/32 -j MARK --set-xmark 0x3/0x1".to_owned(), "flips bits"),
        (
            format!("-d 192.0.2.1/32 -p tcp -m tcp --dport 1024: {mark}"),
            "{mark: 10, destination: 192.0.2.1/32, protocol: tcp, ports: [1024-65535]}",
        ),
        (
            format!("-d 192.0.2.1/32 -p 132 {mark}"),
            "{mark: 10, destination: 192.0.2.1/32, protocol: sctp}",
        ),
        (
            format!("-d 192.0.2.1/32 -i no {mark}"),
            "{mark: 10, destination: 192.0.2.1/32, interface: \"no\"}",
        ),
        (format!("-d 192.0.2.1/32 -o eth1 {mark}"), "does not look at: -o eth1"),
        (format!("-d 192.0.2.1/32 -m mark --mark 0x1 {mark}"), "does not look at: -m mark"),
        (
            format!("-d 192.0.2.1/32 -p tcp -m tcp --tcp-flags SYN,RST SYN {mark}"),
            "does not look at: --tcp-flags SYN,RST SYN",
        ),
        ("-d 192.0.2.1/32 -j NOWHERE".to_owned(), "there is no chain NOWHERE"),
    ];
    for (rule, expected) in rows {
        // A second rule, so that the chain is one that marks.
        let text = format!(
            "*mangle\n:PREROUTING ACCEPT [0:0]\n[3:180] -A PREROUTING {rule}\n\
             -A PREROUTING -d 192.0.2.99/32 -j MARK --set-xmark 0x63/0xffffffff\nCOMMIT\n"
        );
        let yaml = yaml(&text);
        assert!(yaml.contains(expected), "{rule}: {yaml}");
        assert_eq!(yaml.matches("mark: ").count() + refused(&yaml).len(), 2, "{rule}: {yaml}");
    }
}

#[test]
fn a_set_of_many_ports() {
    let ports: Vec<String> = (1..=31).map(|port| port.to_string()).collect();
    let text = format!(
        "table ip t {{\nchain c {{\ntype filter hook prerouting priority mangle; policy accept;\n\
         ip daddr 192.0.2.1 tcp dport {{ {} }} meta mark set 1\n}}\n}}\n",
        ports.join(", ")
    );
    let yaml = yaml(&text);
    let lists = [&ports[..15], &ports[15..30], &ports[30..]].map(|part| part.join(", "));
    let entry =
        |list| format!("{{mark: 1, destination: 192.0.2.1/32, protocol: tcp, ports: [{list}]}}");
    assert_eq!(entries(&yaml), lists.map(entry));
}

#[test]
fn what_ends_a_chain() {
    let text = "*mangle\n:PREROUTING ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n\
        -A PREROUTING -j A\n-A PREROUTING -j B\n\
        -A PREROUTING -d 192.0.2.3/32 -j MARK --set-xmark 0x3/0xffffffff\n\
        -A A -d 192.0.2.1/32 -j MARK --set-xmark 0x1/0xffffffff\n-A A -j RETURN\n\
        -A A -d 192.0.2.9/32 -j MARK --set-xmark 0x9/0xffffffff\n\
        -A B -d 192.0.2.2/32 -j MARK --set-xmark 0x2/0xffffffff\n-A B -j ACCEPT\nCOMMIT\n";
    let yaml = yaml(text);
    let expected = ["{mark: 1, destination: 192.0.2.1/32}", "{mark: 2, destination: 192.0.2.2/32}"];
    assert_eq!(entries(&yaml), expected);
    let why = "a rule before it takes every packet out";
    expect_refused(&yaml, &[("192.0.2.9", why), ("192.0.2.3", why)]);
}

#[test]
fn other_texts() {
    for text in ["", "hello", "{\"a\": 1}", "{", "version: 1\nservices: []\n"] {
        assert!(read(text).is_err(), "{text:?}");
    }
    assert_eq!(yaml("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"), "marks: []\n");
}

/// What nft prints here, of rules that it was just given, is read as the text in the file.
#[test]
fn the_nft_of_this_machine() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netfilter/lvs.nft");
    let script = format!("nft -f {path} && nft list ruleset && echo ---- && nft -j list ruleset");
    let output = Command::new("unshare").args(["--net", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "needs root, unshare and nft: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (plain, json) = text.split_once("----\n").unwrap();
    assert_eq!(entries(&yaml(plain)), entries(&yaml(LVS)));
    assert_eq!(entries(&yaml(json)), entries(&yaml(LVS)));
}
