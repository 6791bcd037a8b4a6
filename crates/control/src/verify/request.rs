//! `xlvs probe`: one request through the datapath, as a client's. The box cannot make one to its own
//! VIP: such packets never arrive at an interface.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use dataplane::{
    forward::Protocol,
    snapshot::{ServerId, Services},
};
use health::probe;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request as HttpRequest, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use socket2::Type;
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use utoipa::ToSchema;

use super::{
    Verifier,
    inquiry::{self, Unknown},
};
use crate::explain::{
    Asked, Question,
    packet::{Described, Transport},
};

/// What is asked of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The service by its name, or by what it listens on.
    pub service: String,
    /// The server, `ADDRESS` or `ADDRESS:PORT`; if it is not said, the one that a new client gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// A page to get by HTTP; otherwise a connection is made, and what the server says first is
    /// waited for a moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Answered {
    /// The service.
    pub service: String,
    /// What was connected to.
    pub to: String,
    /// The server that it went to.
    pub server: String,
    /// It answered.
    pub ok: bool,
    /// What it answered: a status of HTTP, or that it connected; or what went wrong.
    pub answer: String,
    /// The first line of what it sent.
    pub first_line: String,
    /// To the connection, in milliseconds.
    pub connected_ms: f64,
    /// To the end, in milliseconds.
    pub took_ms: f64,
}

/// Why no request can be made.
#[derive(Debug, thiserror::Error)]
pub enum NoRequest {
    /// No such service or server.
    #[error("{0}")]
    Unknown(#[from] Unknown),
    /// No sources.
    #[error(
        "no request can be made through the datapath: there are no probe_sources of {0}; add one to the configuration, an address that servers answer through this box, such as probe_sources: [{1}]"
    )]
    NoSources(&'static str, &'static str),
    /// Not TCP.
    #[error("{0} is no TCP service; xlvs verify {0} asks its servers")]
    NotTcp(String),
    /// Nobody to ask.
    #[error("{0}: a new client gets no server: {1}; name one with --server")]
    NoServer(String, String),
}

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a server may take to say something by itself.
const MOMENT: Duration = Duration::from_millis(300);
/// Octets of a page that are read.
const MOST: usize = 1 << 20;

impl Verifier {
    /// Makes the request.
    ///
    /// # Errors
    /// See [`NoRequest`].
    pub async fn request(&self, asked: &Request) -> Result<Answered, NoRequest> {
        let snapshot = self.explainer.snapshots.load_full();
        let services = &snapshot.services;
        let ids = inquiry::services_of(services, Some(&asked.service))?;
        let [id] = ids[..] else {
            return Err(Unknown::Several(asked.service.clone(), ids.len()).into());
        };
        let Some(Some(service)) = services.services.get(id as usize) else {
            return Err(Unknown::Service(asked.service.clone()).into());
        };
        let Some((front, Protocol::Tcp)) = inquiry::front(services, service) else {
            return Err(NoRequest::NotTcp(asked.service.clone()));
        };
        let way = self.way.as_ref().filter(|_| inquiry::has_way(services, front.ip()));
        let Some(way) = way else {
            let [name, example] = match front {
                SocketAddr::V4(_) => ["IPv4", "192.0.2.1"],
                SocketAddr::V6(_) => ["IPv6", "\"2001:db8::1\""],
            };
            return Err(NoRequest::NoSources(name, example));
        };
        let server = match &asked.server {
            Some(name) => named(services, &service.servers, name)
                .ok_or_else(|| Unknown::Server(asked.service.clone(), name.clone()))?,
            None => self.pick(services, &service.servers, front, &asked.service).await?,
        };
        let began = Instant::now();
        let mut answered = Answered {
            service: service.name.clone(),
            to: front.to_string(),
            server: label(services, server),
            ok: false,
            answer: String::new(),
            first_line: String::new(),
            connected_ms: 0.0,
            took_ms: 0.0,
        };
        let way = std::sync::Arc::clone(way);
        let made =
            tokio::task::spawn_blocking(move || way.socket(server, front, Type::STREAM)).await;
        let told = match made {
            Ok(Ok((socket, _pin))) => {
                let exchange = exchange(socket, front, asked.path.as_deref(), began, &mut answered);
                match timeout(PATIENCE, exchange).await {
                    Ok(told) => told,
                    Err(_) => Err(format!("nothing within {} s", PATIENCE.as_secs())),
                }
            }
            Ok(Err(error)) => Err(format!("this box cannot ask: {error}")),
            Err(error) => Err(format!("this box cannot ask: {error}")),
        };
        answered.took_ms = began.elapsed().as_secs_f64() * 1000.0;
        match told {
            Ok(()) => answered.ok = true,
            Err(why) => answered.answer = self.cause(services, server, front, why).await,
        }
        Ok(answered)
    }

    /// The server that a new client would get.
    async fn pick(
        &self,
        services: &Services,
        servers: &[ServerId],
        front: SocketAddr,
        name: &str,
    ) -> Result<ServerId, NoRequest> {
        let client = match front {
            SocketAddr::V4(_) => [198, 18, 0, 1].into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1).into(),
        };
        let packet = Described {
            client,
            client_port: None,
            vip: front.ip(),
            port: front.port(),
            protocol: Transport::Tcp,
            flags: Vec::new(),
            icmp: None,
            size: None,
            ttl: None,
        };
        let question =
            Question { packets: vec![Asked { packet: Some(packet), ..Asked::default() }] };
        let explainer = self.explainer.clone();
        let told = tokio::task::spawn_blocking(move || explainer.explain(&question)).await;
        let none = |why: String| NoRequest::NoServer(name.to_owned(), why);
        let told = told.map_err(|error| none(error.to_string()))?;
        let first = told.map_err(|error| none(error.to_string()))?.remove(0);
        let found = first.server.as_deref().and_then(|server| named(services, servers, server));
        found.ok_or_else(|| none(first.verdict.text))
    }

    /// Why it failed, with a cause where checks find one.
    async fn cause(
        &self,
        services: &Services,
        server: ServerId,
        front: SocketAddr,
        why: String,
    ) -> String {
        let question =
            inquiry::question(services, server, (front, Protocol::Tcp), Duration::from_secs(2));
        let Some(question) = question else { return why };
        match probe::ask(&self.net, &question).await.verdict {
            Ok(_) => why,
            Err(bad) => bad.text,
        }
    }
}

fn label(services: &Services, id: ServerId) -> String {
    let server = services.server(id);
    server.map_or(String::new(), |s| SocketAddr::new(s.address, s.port).to_string())
}

/// The server of an address, perhaps with a port. One that keeps the client's port is named by any.
fn named(services: &Services, servers: &[ServerId], name: &str) -> Option<ServerId> {
    let fits = |id: &&ServerId| {
        services.server(**id).is_some_and(|server| {
            let end = name.parse::<SocketAddr>();
            let whole = end.is_ok_and(|end| {
                end.ip() == server.address && (server.port == 0 || end.port() == server.port)
            });
            whole || name.parse() == Ok(server.address)
        })
    };
    servers.iter().find(fits).copied()
}

async fn exchange(
    socket: socket2::Socket,
    front: SocketAddr,
    path: Option<&str>,
    began: Instant,
    answered: &mut Answered,
) -> Result<(), String> {
    let failed = |error: &dyn std::error::Error| error.to_string();
    socket.set_nonblocking(true).map_err(|error| failed(&error))?;
    let socket = TcpSocket::from_std_stream(socket.into());
    let mut stream = socket.connect(front).await.map_err(|error| failed(&error))?;
    answered.connected_ms = began.elapsed().as_secs_f64() * 1000.0;
    match path {
        Some(path) => get(stream, front, path, answered).await,
        None => {
            answered.answer = "connected".to_owned();
            let mut said = vec![0; 512];
            if let Ok(Ok(octets)) = timeout(MOMENT, stream.read(&mut said)).await {
                answered.first_line = line(&said[..octets]);
            }
            Ok(())
        }
    }
}

async fn get(
    stream: TcpStream,
    front: SocketAddr,
    path: &str,
    answered: &mut Answered,
) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| error.to_string();
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    let connection = tokio::spawn(connection);
    let request = HttpRequest::get(path)
        .header(header::HOST, front.to_string())
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "xlvs-probe")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("{path}: {error}"))?;
    let answer = sender.send_request(request).await.map_err(|error| wrong(&error))?;
    answered.answer = format!("HTTP {}", answer.status());
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    connection.abort();
    answered.first_line = line(&body.map_err(|error| wrong(&error))?.to_bytes());
    Ok(())
}

/// The first line, printable, and not too long.
fn line(octets: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = String::from_utf8_lossy(&octets[..octets.len().min(4 * LONGEST)]);
    let first = text.lines().next().unwrap_or_default();
    first.chars().take(LONGEST).map(|c| if c.is_control() { '.' } else { c }).collect()
}
