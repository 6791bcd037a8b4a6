//! What asks other servers by their own protocols; and a file.

use super::super::fault::Fault::{Closing, End, Hold, Instead, Lasts, Shell, Stop};
use super::super::server::{EXIM, MARIADB, NGINX, NOBODY, POSTGRES, REDIS};
use super::{Kind, NOT_ACCEPTED, NOT_COMPLETE, REFUSED, Row, SILENT_TCP};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "smtp",
        family: 0,
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
        family: 0,
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
        family: 0,
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
        family: 0,
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
        name: "file",
        family: 0,
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

/// Start-up messages of the user `postgres`, who gets in from the server itself: more than
/// `max_connections` allows, and one.
const POSTGRES_LOGINS: &str = "6 00000017000300007573657200706f7374677265730000";
const POSTGRES_LOGIN: &str = "1 00000017000300007573657200706f7374677265730000";
