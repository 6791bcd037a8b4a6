//! What an operator asks for: checks as `checks:` names them, resolved for one server.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// One check of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name in `checks:`, for listings and reasons.
    pub name: String,
    /// What is asked, and of whom.
    pub question: Question,
    /// How often, and how many times in a row count.
    pub timing: Timing,
}

/// What is asked of whom. Two checks that ask the same question as often share its answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// What is asked.
    pub probe: Arc<Probe>,
    /// Of whom.
    pub target: Target,
    /// The time for all of it, from the first packet to the last octet.
    pub timeout: Duration,
}

/// Whom a probe goes to, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The server's address, or another one that the check names. With [`Via::Service`] the VIP.
    pub address: IpAddr,
    /// The port; 0 for probes that have none (ping, exec, file).
    pub port: u16,
    /// The address to ask from; the kernel's choice if there is none.
    pub source: Option<IpAddr>,
    /// The interface to ask by (`SO_BINDTODEVICE`).
    pub interface: Option<String>,
    /// By which way.
    pub via: Via,
}

/// By which way a probe reaches the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Via {
    /// Straight to the address.
    #[default]
    Direct,
    /// To the VIP, by the rewrite that clients' packets get, pinned to one server.
    Service(Path),
}

/// The way through a service to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The id that the compiled services give the server.
    pub server: u32,
    /// How packets reach it.
    pub method: Method,
    /// Its own address and port, which are asked when the way fails, to tell why.
    pub own: SocketAddr,
}

/// Forwarding methods, as far as they fail in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Addresses are translated, answers come back through the box.
    Nat,
    /// The same with the box's address as source.
    FullNat,
    /// The frame goes to the server's MAC, and the server has the VIP.
    Dr,
    /// The packet goes into a tunnel, and the server has the VIP.
    Tun,
}

/// How often a check asks, and what its answers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// The same while the check's state is changing: after a first failure of one that is up, or a
    /// first success of one that is down.
    pub retry: Duration,
    /// Successes in a row after which a check that was down is up; at least 1.
    pub rise: u32,
    /// Failures in a row after which a check that was up is down; at least 1.
    pub fall: u32,
    /// The first probe comes within this time, at random.
    pub spread: Duration,
    /// What counts until the first answer.
    pub initial: Initial,
}

impl Default for Timing {
    /// Every 2 s, twice up, three times down, the first one at any time within an interval.
    fn default() -> Self {
        let interval = Duration::from_secs(2);
        Self {
            interval,
            retry: interval,
            rise: 2,
            fall: 3,
            spread: interval,
            initial: Initial::Wait,
        }
    }
}

/// What a check counts as before its first answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Initial {
    /// Neither: the first answer decides at once, without rise and fall; until then the server
    /// gets no connections.
    #[default]
    Wait,
    /// Up, until it has failed `fall` times.
    Up,
    /// Down, until it has succeeded `rise` times.
    Down,
}

/// How many of a server's checks must be up for it to be up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Require {
    /// All of them.
    #[default]
    All,
    /// One of them.
    Any,
    /// So many of them; all, if there are not so many.
    AtLeast(u32),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// TCP connects; then perhaps something is sent, and something expected.
    Tcp(Tcp),
    /// A page by HTTP, or by HTTPS with [`Http::tls`].
    Http(Http),
    /// A TLS handshake.
    Tls(Tls),
    /// A DNS question by UDP.
    Dns(Dns),
    /// A datagram.
    Udp(Udp),
    /// ICMP echo.
    Ping,
    /// The greeting of a mail server, HELO and QUIT (RFC 5321).
    Smtp {
        /// The name after HELO.
        helo: String,
    },
    /// PING, or AUTH before it.
    Redis {
        /// The password, if it wants one.
        password: Option<String>,
    },
    /// The greeting of MySQL or MariaDB: protocol 10, and not an error packet.
    Mysql,
    /// PostgreSQL answers a start-up message: it asks for a password, or lets us in, or refuses
    /// the user; but it is not starting up, shutting down or out of connections.
    Postgres {
        /// The user that is named.
        user: String,
        /// The database; the user's name if there is none.
        database: Option<String>,
    },
    /// A program of the operator's.
    Exec(Exec),
    /// A number or a word in a file.
    File(File),
}

impl Probe {
    /// The word for it under `type:`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Http(Http { tls: None, .. }) => "http",
            Self::Http(Http { tls: Some(_), .. }) => "https",
            Self::Tls(_) => "tls",
            Self::Dns(_) => "dns",
            Self::Udp(_) => "udp",
            Self::Ping => "ping",
            Self::Smtp { .. } => "smtp",
            Self::Redis { .. } => "redis",
            Self::Mysql => "mysql",
            Self::Postgres { .. } => "postgres",
            Self::Exec(_) => "exec",
            Self::File(_) => "file",
        }
    }

    /// True if it asks a port.
    pub const fn has_port(&self) -> bool {
        !matches!(self, Self::Ping | Self::Exec(_) | Self::File(_))
    }

    /// True if it sends packets: a program's are its own.
    pub const fn asks_the_network(&self) -> bool {
        !matches!(self, Self::Exec(_) | Self::File(_))
    }

    /// True if it is carried by TCP or UDP, so that it may go through the service.
    pub const fn may_go_via_service(&self) -> bool {
        self.has_port()
    }
}

/// TCP, with something to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tcp {
    /// Octets to send.
    pub send: Vec<u8>,
    /// Octets that must be in the answer, within its first 64 KiB.
    pub expect: Vec<u8>,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Http {
    /// `GET`, `HEAD`, `POST`, `OPTIONS`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The Host header, and the authority in HTTP/2; address and port if there is none.
    pub host: Option<String>,
    /// Which version is spoken.
    pub version: HttpVersion,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// Which status codes are good.
    pub status: Vec<RangeInclusive<u16>>,
    /// What the body must be.
    pub body: Body,
    /// Octets of the body that are read, at most; what is longer is judged by them. A digest is
    /// of the whole body, so a longer one is a failure.
    pub body_limit: usize,
    /// HTTPS.
    pub tls: Option<Tls>,
}

/// The version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0, with a Host header.
    Http10,
    /// HTTP/1.1, with `Connection: close`.
    #[default]
    Http11,
    /// HTTP/2: by ALPN with TLS, with prior knowledge without.
    Http2,
}

/// What a body must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Body {
    /// Anything.
    #[default]
    Any,
    /// It has this text in it.
    Contains(String),
    /// This regular expression (of the crate `regex`) matches somewhere.
    Matches(String),
    /// Its MD5 (32 hex digits, as keepalived's `genhash` prints) or SHA-256 (64), in lower case.
    Digest(String),
}

/// A TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The name in SNI, and the one that the certificate must have; without it the address.
    pub name: Option<String>,
    /// Whether the certificate is verified.
    pub verify: bool,
    /// A file of certificates (PEM) to trust; those of the system if there is none.
    pub ca: Option<PathBuf>,
    /// ALPN protocols to offer.
    pub alpn: Vec<String>,
}

/// A DNS question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dns {
    /// The name.
    pub name: String,
    /// The type: `A`, `AAAA`, `NS`, `SOA`, `MX`, `TXT`, `CNAME`, `SRV`, `PTR`.
    pub kind: String,
    /// The response codes that are good, such as `NOERROR`; `NOERROR` alone if empty.
    pub rcode: Vec<String>,
    /// Text that one of the answer's records must be equal to, as `dig +short` prints it.
    pub answer: Option<String>,
}

/// A datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Udp {
    /// What is sent; a single octet if empty.
    pub send: Vec<u8>,
    /// What the reply must begin with; `None` in it is any octet. `None`: no reply is needed, and
    /// silence is good: only a refusal by ICMP is bad.
    pub expect: Option<Vec<Option<u8>>>,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exec {
    /// The program and its words; no shell is involved. In them `{address}`, `{port}` and `{name}`
    /// stand for the server's; they are in the environment, too: `XLVS_ADDRESS`, `XLVS_PORT`.
    pub argv: Vec<String>,
    /// The user that it runs as (with that user's groups); `nobody` unless set.
    pub user: String,
    /// keepalived's `misc_dynamic`: exit code 0 is up, 1 is down, 2 to 255 are up with a weight of
    /// the code less 2.
    pub weight: bool,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct File {
    /// Which.
    pub path: PathBuf,
    /// What its first word must be; unset: a number, of which 0 or above is up, below 0 is down.
    pub word: Option<String>,
    /// A number is the server's weight, too.
    pub weight: bool,
}
