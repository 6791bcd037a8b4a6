//! What is asked, of whom, what goes wrong there, and what xlvs says of it.

use super::fault::Fault::{self, Closing, End, Hold, Instead, Lasts, Rule, Shell, Stop};
use super::server::{DNSMASQ, EXIM, MARIADB, NGINX, NGINX_TLS, NOBODY, POSTGRES, REDIS, Server};

/// A check and the server that it asks.
pub(super) struct Kind {
    /// Of the service, the check, and the directory.
    pub(super) name: &'static str,
    /// The server's port; 0 if nothing listens.
    pub(super) port: u16,
    /// The check's own keys.
    pub(super) check: &'static str,
    pub(super) server: Server,
    /// What the listing says of a good answer.
    pub(super) good: &'static str,
    /// What goes wrong, one after the other, and is set right again in between.
    pub(super) rows: &'static [Row],
}

/// What goes wrong, and what the listing then says.
pub(super) struct Row(pub(super) &'static str, pub(super) Fault, pub(super) &'static str);

impl Kind {
    /// The transport of its port: that of nftables and of ss.
    pub(super) fn protocol(&self) -> &'static str {
        if self.check.contains("type: dns") || self.check.contains("type: udp") {
            "udp"
        } else {
            "tcp"
        }
    }
}

const NOT_ACCEPTED: &str = "no answer to the connection request within 400 ms";
const NOT_COMPLETE: &str = "connected, but no complete answer within 400 ms";
const NOTHING: &str = ": no answer within 400 ms";
const REFUSED: &str = "connection refused";

const SILENT_TCP: Fault = Rule("input", "tcp dport @port@ drop");
const SILENT_UDP: Fault = Rule("input", "udp dport @port@ drop");
const BROKEN: Fault = Shell("touch @dir@/broken", "rm @dir@/broken");
const OTHER: Fault = Shell("touch @dir@/other", "rm @dir@/other");
const MUTE: Fault = Shell("touch @dir@/mute", "rm @dir@/mute");
const DRIP: Fault = Shell("touch @dir@/drip", "rm @dir@/drip");

/// In the place of the certificate another one.
macro_rules! certificate {
    ($name:literal) => {
        Shell(
            concat!("cp @dir@/", $name, " @dir@/new && mv @dir@/new @dir@/www.example.pem"),
            "cp @dir@/good.pem @dir@/new && mv @dir@/new @dir@/www.example.pem",
        )
    };
}
const EXPIRED: Row =
    Row("wrong: expired", certificate!("expired.pem"), "the certificate has expired");
const OTHER_NAME: Row = Row(
    "wrong: other name",
    certificate!("other.pem"),
    "the certificate is not for www.example, but for api.example",
);
const UNKNOWN_CA: Row = Row(
    "wrong: unknown CA",
    certificate!("unknown.pem"),
    "the certificate is signed by nobody whom we trust",
);

const HTTPS: &[Row] = &[
    Row("wrong: 500", BROKEN, "HTTP 500 instead of 200-299"),
    Row("wrong: body", OTHER, "the body (12 octets) has no \"well\""),
    EXPIRED,
    OTHER_NAME,
    UNKNOWN_CA,
    Row("slow: drips", DRIP, NOT_COMPLETE),
    Row("silent", SILENT_TCP, NOT_ACCEPTED),
    Row("refusing", End, REFUSED),
];

const KNOWN: &str = "echo 192.0.2.7 www.example >@dir@/hosts && kill -HUP $(cat @dir@/pid)";

pub(super) const ALL: &[Kind] = &[
    Kind {
        name: "tcp",
        port: 8001,
        check: r#"type: tcp, send: "GET / HTTP/1.0\r\n\r\n", expect: all is well"#,
        server: NGINX,
        good: "connected, and the expected answer",
        rows: &[
            Row("wrong: other answer", OTHER, "connection closed before the expected answer"),
            Row("slow: drips", DRIP, NOT_COMPLETE),
            Row("slow: stopped", Stop, NOT_COMPLETE),
            Row("silent", SILENT_TCP, NOT_ACCEPTED),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "http",
        port: 8002,
        check: "type: http, path: /healthz, body: {contains: well}",
        server: NGINX,
        good: "HTTP 200, and the expected body",
        rows: &[
            Row("wrong: 500", BROKEN, "HTTP 500 instead of 200-299"),
            Row("wrong: body", OTHER, "the body (12 octets) has no \"well\""),
            Row("wrong: hangs up", MUTE, "connection closed in the middle of the answer"),
            Row("slow: drips", DRIP, NOT_COMPLETE),
            Row("slow: stopped", Stop, NOT_COMPLETE),
            Row("silent", SILENT_TCP, NOT_ACCEPTED),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "https",
        port: 8003,
        check: "type: https, host: www.example, verify: true, ca: @dir@/ca.pem, \
                body: {contains: well}",
        server: NGINX_TLS,
        good: "HTTP 200, and the expected body",
        rows: HTTPS,
    },
    Kind {
        name: "http2",
        port: 8004,
        check: "type: https, version: 2, host: www.example, verify: true, ca: @dir@/ca.pem, \
                body: {contains: well}",
        server: NGINX_TLS,
        good: "HTTP 200, and the expected body",
        rows: HTTPS,
    },
    Kind {
        name: "tls",
        port: 8005,
        check: "type: tls, sni: www.example, verify: true, ca: @dir@/ca.pem",
        server: NGINX_TLS,
        good: "TLSv1.2",
        rows: &[
            EXPIRED,
            OTHER_NAME,
            UNKNOWN_CA,
            Row("wrong: no TLS", Instead(&NGINX), "the server does not speak TLS"),
            Row("slow: stopped", Stop, NOT_COMPLETE),
            Row("silent", SILENT_TCP, NOT_ACCEPTED),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "dns",
        port: 5301,
        check: "type: dns, question: www.example, answer: 192.0.2.7",
        server: DNSMASQ,
        good: "answers 192.0.2.7",
        rows: &[
            Row(
                "wrong: NXDOMAIN",
                Shell("echo >@dir@/hosts && kill -HUP $(cat @dir@/pid)", KNOWN),
                "answers NXDOMAIN",
            ),
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
        port: 5302,
        check: "type: dns, question: big.example, record: TXT, answer: '@big@'",
        server: DNSMASQ,
        good: "answers \"aaa",
        rows: &[Row("silent: TCP only", SILENT_TCP, NOT_ACCEPTED), Row("refusing", End, REFUSED)],
    },
    Kind {
        name: "udp",
        port: 5303,
        // The question of the kind above, by hand, and the head of its answer.
        check: "type: udp, expect_hex: 12 34 85 80 00 01 00 01, send_hex: \
                12 34 01 00 00 01 00 00 00 00 00 00 03 77 77 77 07 65 78 61 6d 70 6c 65 00 00 01 00 01",
        server: DNSMASQ,
        good: "the expected reply",
        rows: &[
            Row(
                "wrong: NXDOMAIN",
                Shell("echo >@dir@/hosts && kill -HUP $(cat @dir@/pid)", KNOWN),
                "that is not the expected one",
            ),
            Row("slow: stopped", Stop, NOTHING),
            Row("silent", SILENT_UDP, NOTHING),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "udp-quiet",
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
        name: "ping",
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
        name: "smtp",
        port: 2501,
        check: "type: smtp",
        server: EXIM,
        good: "220 mx.example ESMTP Exim",
        rows: &[
            Row(
                "wrong: 421",
                Shell("touch @dir@/full", "rm @dir@/full"),
                "421 4.3.2 too busy instead of 220",
            ),
            Row(
                "wrong: 554",
                Shell("touch @dir@/shut", "rm @dir@/shut"),
                "554 5.3.2 no mail here instead of 220",
            ),
            Row(
                "wrong: HELO",
                Shell("touch @dir@/rude", "rm @dir@/rude"),
                "550 5.7.1 not you instead of 250",
            ),
            Row("slow: greets late", Shell("touch @dir@/slow", "rm @dir@/slow"), NOT_COMPLETE),
            Row("silent", SILENT_TCP, NOT_ACCEPTED),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "redis",
        port: 6301,
        check: "type: redis",
        server: REDIS,
        good: "+PONG",
        rows: &[
            Row(
                "wrong: password",
                Shell(
                    "redis-cli -p @port@ config set requirepass secret",
                    "redis-cli -p @port@ -a secret config set requirepass ''",
                ),
                "-NOAUTH Authentication required. instead of +PONG",
            ),
            Row(
                "wrong: loading",
                Lasts(
                    "redis-cli -p @port@ debug populate 3000 \
                     && redis-cli -p @port@ config set key-load-delay 1000 \
                     && redis-cli -p @port@ config set loading-process-events-interval-bytes 1024 \
                     && exec redis-cli -p @port@ debug reload",
                ),
                "-LOADING Redis is loading the dataset in memory instead of +PONG",
            ),
            Row("wrong: HTTP", Instead(&NGINX), "not an answer of Redis: HTTP/1.1 400 Bad Request"),
            Row("slow: busy", Lasts("exec redis-cli -p @port@ debug sleep 3"), NOT_COMPLETE),
            Row("silent", SILENT_TCP, NOT_ACCEPTED),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "mysql",
        port: 3301,
        check: "type: mysql",
        server: MARIADB,
        good: "-MariaDB",
        rows: &[
            // More than max_connections allows; nobody of them logs in.
            Row("wrong: full", Hold("12 -"), "MySQL error 1040: Too many connections"),
            Row("silent", SILENT_TCP, NOT_ACCEPTED),
            Row("slow: stopped", Stop, NOT_COMPLETE),
            Row("refusing", End, REFUSED),
            Row("wrong: SMTP", Instead(&EXIM), "not an answer of MySQL: 220 mx.example"),
        ],
    },
    Kind {
        name: "postgres",
        port: 5401,
        check: "type: postgres",
        server: POSTGRES,
        good: "PostgreSQL answers",
        rows: &[
            Row(
                "wrong: full",
                Hold(POSTGRES_LOGINS),
                "PostgreSQL 53300: sorry, too many clients already",
            ),
            Row(
                "wrong: closing",
                Closing(POSTGRES_LOGIN),
                "PostgreSQL 57P03: the database system is shutting down",
            ),
            Row(
                "wrong: HTTP",
                Instead(&NGINX),
                "not an answer of PostgreSQL: HTTP/1.1 400 Bad Request",
            ),
            Row("slow: stopped", Stop, NOT_COMPLETE),
            Row("silent", SILENT_TCP, NOT_ACCEPTED),
            Row("refusing", End, REFUSED),
        ],
    },
    Kind {
        name: "exec",
        port: 8006,
        check: r#"type: exec, argv: [/usr/bin/curl, -s, -f, -o, /dev/null, "http://{address}:{port}/"]"#,
        server: NGINX,
        good: "exit code 0",
        rows: &[
            Row("wrong: 500", BROKEN, "exit code 22"),
            Row("slow: drips", DRIP, "still running after 360 ms"),
            Row("silent", SILENT_TCP, "still running after 360 ms"),
            Row("refusing", End, "exit code 7"),
        ],
    },
    Kind {
        name: "file",
        port: 0,
        check: "type: file, path: @dir@/state, word: up",
        server: NOBODY,
        good: "up",
        rows: &[
            Row(
                "wrong: other word",
                Shell("echo drain >@dir@/state", "echo up >@dir@/state"),
                "\"drain\" instead of \"up\"",
            ),
            Row(
                "silent: a pipe",
                Shell(
                    "rm @dir@/state && mkfifo @dir@/state",
                    "rm @dir@/state && echo up >@dir@/state",
                ),
                "\"\" instead of \"up\"",
            ),
            Row(
                "refusing: no file",
                Shell("rm @dir@/state", "echo up >@dir@/state"),
                "No such file or directory",
            ),
        ],
    },
];

/// A start-up message of the user `postgres`, which gets in from the server itself: more often than
/// `max_connections` allows, and once.
const POSTGRES_LOGINS: &str = "6 00000017000300007573657200706f7374677265730000";
const POSTGRES_LOGIN: &str = "1 00000017000300007573657200706f7374677265730000";
