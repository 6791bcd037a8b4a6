//! A page by HTTP/1.0, 1.1 or 2, plain or over TLS.
//!
//! hyper speaks the protocol. Its connection is driven beside the request in one future, so
//! that nothing goes on when the deadline drops it.

use http_body_util::{BodyExt, Empty};
use hyper::{
    Method, Request, Response, Version,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
    header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    limited::Limited,
    net::{Net, unreached},
    tls,
};
use crate::{
    check::{Body, Http, HttpVersion, Target},
    outcome::{Bad, Good, Kind},
};

/// Octets of headers that are read, at most.
const HEADERS: usize = 64 * 1024;
/// What an HTTP/2 server may send of a body before it has been read.
const WINDOW: u32 = 64 * 1024;

pub(super) async fn ask(net: &Net, target: &Target, probe: &Http) -> Result<Good, Bad> {
    let (stream, _pin) = net.connect(target).await?;
    // A handshake, headers, and what frames or small chunks take beside the body: a server that sends
    // nothing but them never ends, either.
    let stream = Limited::new(stream, 4 * HEADERS + 2 * probe.body_limit);
    match &probe.tls {
        None => exchange(stream, target, probe).await,
        Some(with) => {
            let alpn = match probe.version {
                HttpVersion::Http2 => "h2",
                HttpVersion::Http10 | HttpVersion::Http11 => "http/1.1",
            };
            // The host's name will do for SNI.
            let mut with = with.clone();
            with.name = with.name.or_else(|| probe.host.as_deref().map(without_port));
            let stream = tls::shake(stream, target.address, &with, &[alpn.to_owned()]).await?;
            exchange(stream, target, probe).await
        }
    }
}

fn without_port(host: &str) -> String {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    name.map_or(host, |(name, _)| name).to_owned()
}

/// One request and its response.
async fn exchange<S>(stream: S, target: &Target, probe: &Http) -> Result<Good, Bad>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let request = request(target, probe)?;
    if probe.version == HttpVersion::Http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(HEADERS as u32);
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (mut sender, connection) = builder.handshake(io).await.map_err(|error| said(&error))?;
        return beside(connection, async {
            let response = sender.send_request(request).await.map_err(|error| said(&error))?;
            judge(response, probe).await
        })
        .await;
    }
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEADERS);
    let (mut sender, connection) = builder.handshake(io).await.map_err(|error| said(&error))?;
    beside(connection, async {
        let response = sender.send_request(request).await.map_err(|error| said(&error))?;
        judge(response, probe).await
    })
    .await
}

/// Drives the connection until the exchange is over.
async fn beside(
    connection: impl Future<Output = hyper::Result<()>>,
    exchange: impl Future<Output = Result<Good, Bad>>,
) -> Result<Good, Bad> {
    let (mut connection, mut exchange) = (std::pin::pin!(connection), std::pin::pin!(exchange));
    tokio::select! {
        biased;
        verdict = &mut exchange => return verdict,
        _ = &mut connection => {}
    }
    // The server has hung up; what it said may still be read.
    exchange.await
}

fn request(target: &Target, probe: &Http) -> Result<Request<Empty<Bytes>>, Bad> {
    let wrong = |what: &dyn std::fmt::Display| {
        Bad::new(Kind::Local, format!("this page cannot be asked for: {what}"))
    };
    let host = probe.host.clone().unwrap_or_else(|| match target.address {
        address if address.is_ipv6() => format!("[{address}]:{}", target.port),
        address => format!("{address}:{}", target.port),
    });
    let method = Method::from_bytes(probe.method.as_bytes()).map_err(|error| wrong(&error))?;
    let (version, uri) = match probe.version {
        HttpVersion::Http10 => (Version::HTTP_10, probe.path.clone()),
        HttpVersion::Http11 => (Version::HTTP_11, probe.path.clone()),
        HttpVersion::Http2 => {
            let scheme = if probe.tls.is_some() { "https" } else { "http" };
            (Version::HTTP_2, format!("{scheme}://{host}{}", probe.path))
        }
    };
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .version(version)
        .body(Empty::new())
        .map_err(|error| wrong(&error))?;
    let headers = request.headers_mut();
    if version != Version::HTTP_2 {
        headers.insert(HOST, HeaderValue::from_str(&host).map_err(|error| wrong(&error))?);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(USER_AGENT, HeaderValue::from_static("xlvs"));
    for (name, value) in &probe.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(&error))?;
        headers.insert(name, HeaderValue::from_str(value).map_err(|error| wrong(&error))?);
    }
    Ok(request)
}

/// The status first, then the body, as far as it matters.
async fn judge(response: Response<Incoming>, probe: &Http) -> Result<Good, Bad> {
    let status = response.status().as_u16();
    if !probe.status.iter().any(|codes| codes.contains(&status)) {
        let wanted: Vec<String> = probe
            .status
            .iter()
            .map(|codes| match codes.start() == codes.end() {
                true => codes.start().to_string(),
                false => format!("{}-{}", codes.start(), codes.end()),
            })
            .collect();
        let sentence = format!("HTTP {status} instead of {}", wanted.join(", "));
        return Err(Bad::new(Kind::Wrong, sentence));
    }
    if probe.body == Body::Any {
        return Ok(Good::new(format!("HTTP {status}")));
    }
    let (body, whole) = read(response.into_body(), probe.body_limit).await?;
    agrees(&body, whole, &probe.body)?;
    Ok(Good::new(format!("HTTP {status}, and the expected body")))
}

/// The first octets of a body, and whether that is all of it.
async fn read(mut body: Incoming, limit: usize) -> Result<(Vec<u8>, bool), Bad> {
    let mut octets = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| said(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        octets.extend_from_slice(&data[..data.len().min(limit - octets.len())]);
        if octets.len() == limit {
            return Ok((octets, false));
        }
    }
    Ok((octets, true))
}

/// Whether a body, or the beginning of one, is as it should be.
///
/// # Errors
/// It is not.
pub fn agrees(octets: &[u8], whole: bool, wanted: &Body) -> Result<(), Bad> {
    let text = String::from_utf8_lossy(octets);
    let length = octets.len();
    let (good, what) = match wanted {
        Body::Any => return Ok(()),
        Body::Contains(part) => (text.contains(part.as_str()), format!("has no \"{part}\"")),
        Body::Matches(pattern) => {
            let regex = compiled(pattern).map_err(|why| Bad::new(Kind::Local, why))?;
            (regex.is_match(&text), format!("does not match {pattern}"))
        }
        Body::Digest(_) if !whole => (false, "goes on, so it has no digest".to_owned()),
        Body::Digest(digest) => {
            let own = if digest.len() == 32 {
                hex(&Md5::digest(octets))
            } else {
                hex(&Sha256::digest(octets))
            };
            (own == *digest, format!("has the digest {own}"))
        }
    };
    if good {
        return Ok(());
    }
    let extent = if whole { format!("{length}") } else { format!("first {length}") };
    Err(Bad::new(Kind::Wrong, format!("the body ({extent} octets) {what}")))
}

/// Regular expressions are costly to make, and there are few.
pub(super) fn compiled(pattern: &str) -> Result<regex::Regex, String> {
    use std::{
        collections::HashMap,
        sync::{Mutex, PoisonError},
    };
    static MADE: Mutex<Option<HashMap<String, regex::Regex>>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.get_or_insert_default();
    if let Some(regex) = made.get(pattern) {
        return Ok(regex.clone());
    }
    let one_line = |error: regex::Error| error.to_string().lines().last().unwrap_or("").to_owned();
    let regex = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(one_line)?;
    // Reloads bring new ones; what is not asked for any more is not worth much room.
    if made.len() >= 1024 {
        made.clear();
    }
    made.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What hyper says of a server.
fn said(error: &hyper::Error) -> Bad {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    if let Some(source) =
        source.filter(|source: &&std::io::Error| source.kind() != std::io::ErrorKind::InvalidData)
    {
        return unreached(source);
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return Bad::new(Kind::Closed, "connection closed in the middle of the answer");
    }
    if error.is_parse() && error.to_string().contains("too large") {
        let sentence = format!("more than {HEADERS} octets of headers");
        return Bad::new(Kind::Malformed, sentence);
    }
    Bad::new(Kind::Malformed, format!("not an answer of HTTP: {error}"))
}
