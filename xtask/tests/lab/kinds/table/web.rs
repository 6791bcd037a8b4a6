//! What asks nginx: TCP, HTTP, TLS, and a program.

use super::super::fault::Fault::{self, End, Instead, Shell, Stop};
use super::super::server::{NGINX, NGINX_TLS};
use super::{Kind, NOT_ACCEPTED, NOT_COMPLETE, REFUSED, Row, SILENT_TCP};

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

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "tcp",
        family: 0,
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
        family: 0,
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
        family: 0,
        port: 8003,
        check: "type: https, host: www.example, verify: true, ca: @dir@/ca.pem, \
                body: {contains: well}",
        server: NGINX_TLS,
        good: "HTTP 200, and the expected body",
        rows: HTTPS,
    },
    Kind {
        name: "http2",
        family: 0,
        port: 8004,
        check: "type: https, version: 2, host: www.example, verify: true, ca: @dir@/ca.pem, \
                body: {contains: well}",
        server: NGINX_TLS,
        good: "HTTP 200, and the expected body",
        rows: HTTPS,
    },
    Kind {
        name: "tls",
        family: 0,
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
        name: "exec",
        family: 0,
        port: 8006,
        check: r#"type: exec, argv: [/usr/bin/curl, -sSf, -o, /dev/null, "http://{address}:{port}/"]"#,
        server: NGINX,
        good: "exit code 0",
        rows: &[
            Row(
                "wrong: 500",
                BROKEN,
                "exit code 22: curl: (22) The requested URL returned error: 500",
            ),
            Row("slow: drips", DRIP, "still running after"),
            Row("silent", SILENT_TCP, "still running after"),
            Row("refusing", End, "exit code 7: curl: (7) Failed to connect to 10.0.2.11 port 8006"),
        ],
    },
];
