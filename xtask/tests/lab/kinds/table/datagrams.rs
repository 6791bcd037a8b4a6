//! What asks by datagrams: DNS, UDP and ICMP echo.

use super::super::fault::Fault::{self, End, Rule, Shell, Stop};
use super::super::server::{DNSMASQ, NOBODY};
use super::{Kind, NOT_ACCEPTED, NOTHING, REFUSED, Row, SILENT_TCP, SILENT_UDP};

const KNOWN: &str = "echo 192.0.2.7 www.example >@dir@/hosts && kill -HUP $(cat @dir@/pid)";

/// The name is not known any more.
const UNKNOWN: Fault = Shell("echo >@dir@/hosts && kill -HUP $(cat @dir@/pid)", KNOWN);

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "dns",
        family: 0,
        port: 5301,
        check: "type: dns, question: www.example, answer: 192.0.2.7",
        server: DNSMASQ,
        good: "answers 192.0.2.7",
        rows: &[
            Row("wrong: NXDOMAIN", UNKNOWN, "answers NXDOMAIN"),
            Row(
                "wrong: address",
                Shell(
                    "echo 192.0.2.8 www.example >@dir@/hosts && kill -HUP $(cat @dir@/pid)",
                    KNOWN,
                ),
                "answers 192.0.2.8, not 192.0.2.7",
            ),
            Row("slow: stopped", Stop, NOTHING),
            Row("silent", SILENT_UDP, NOTHING),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "dns-by-tcp",
        family: 0,
        port: 5302,
        check: "type: dns, question: big.example, record: TXT, answer: '@big@'",
        server: DNSMASQ,
        good: "answers \"aaa",
        rows: &[Row("silent: TCP only", SILENT_TCP, NOT_ACCEPTED), Row("refusing", End, REFUSED)],
    },
    Kind {
        name: "udp",
        family: 0,
        port: 5303,
        // The question of `dns`, by hand, and the head of its answer.
        check: "type: udp, expect_hex: 12 34 85 80 00 01 00 01, send_hex: \
                12 34 01 00 00 01 00 00 00 00 00 00 03 77 77 77 07 65 78 61 6d 70 6c 65 00 00 01 00 01",
        server: DNSMASQ,
        good: "the expected reply",
        rows: &[
            Row("wrong: NXDOMAIN", UNKNOWN, "that is not the expected one"),
            Row("slow: stopped", Stop, NOTHING),
            Row("silent", SILENT_UDP, NOTHING),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "udp-quiet",
        family: 0,
        port: 5304,
        check: "type: udp",
        server: DNSMASQ,
        // An octet is no question: silence, and silence is good.
        good: "no refusal",
        rows: &[
            Row(
                "refusing: no host",
                Rule("input", "udp dport @port@ reject with icmp type host-unreachable"),
                "host unreachable",
            ),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "udp-ipv6",
        family: 1,
        port: 5305,
        check: "type: udp",
        server: DNSMASQ,
        good: "no refusal",
        rows: &[
            Row(
                "refusing: no host",
                Rule("input", "udp dport @port@ reject with icmpv6 type addr-unreachable"),
                "host unreachable",
            ),
            Row(
                "refusing: forbidden",
                Rule("input", "udp dport @port@ reject with icmpv6 type admin-prohibited"),
                "prohibited on the way",
            ),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "ping",
        family: 0,
        port: 0,
        check: "type: ping",
        server: NOBODY,
        good: "echo reply",
        rows: &[
            Row(
                "wrong: other reply",
                Rule("output", "icmp type echo-reply icmp sequence set 65000"),
                NOTHING,
            ),
            Row("silent", Rule("input", "icmp type echo-request drop"), NOTHING),
            Row(
                "refusing: no host",
                Rule("input", "icmp type echo-request reject with icmp type host-unreachable"),
                "host unreachable",
            ),
        ],
    },
    Kind {
        name: "ping-ipv6",
        family: 1,
        port: 0,
        check: "type: ping",
        server: NOBODY,
        good: "echo reply",
        rows: &[
            Row("silent", Rule("input", "icmpv6 type echo-request drop"), NOTHING),
            Row(
                "refusing: no host",
                Rule("input", "icmpv6 type echo-request reject with icmpv6 type addr-unreachable"),
                "host unreachable",
            ),
        ],
    },
];
