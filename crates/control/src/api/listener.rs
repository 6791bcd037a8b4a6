//! Serving within bounds, whoever the client is: how many at a time, and how long each step of
//! theirs may take.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, StatusCode, header},
    response::IntoResponse,
};
use hyper::{
    body::{Bytes, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Sleep, sleep},
};

use super::{
    Caller, Refusal,
    room::{Busy, Host, Kept, Room, Seat},
    tokens::Tokens,
};

/// The pause after accept() failed, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Octets of a request's header, and of what is read or written at once.
const BUFFER: usize = 64 << 10;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For a request's header, counted from when the connection waits for it: an idle connection
    /// is closed after that too.
    pub header: Duration,
    /// For a request's whole body.
    pub body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(10),
            body: Duration::from_secs(20),
        }
    }
}

/// Who may be at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) enum Who {
    /// Somebody whom the kernel vouches for.
    Peer(Caller),
    /// Whoever has a token.
    Bearer(Arc<Tokens>),
}

impl Who {
    fn asks<B>(&self, request: &Request<B>) -> Option<Caller> {
        match self {
            Self::Peer(caller) => Some(caller.clone()),
            Self::Bearer(tokens) => {
                let said = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
                let (scheme, token) = said.split_once(' ')?;
                // RFC 9110, 11.1: the scheme in any case.
                scheme.eq_ignore_ascii_case("bearer").then(|| tokens.caller(token.trim()))?
            }
        }
    }
}

/// What accepts connections, and finds out who is there.
pub(super) trait Door {
    /// A connection before anything was said on it.
    type Raw: Send + 'static;
    /// One that speaks HTTP.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Raw>> + Send;
    /// What comes before HTTP, such as a TLS handshake; within [`Patience::handshake`].
    fn greet(
        &self,
        raw: Self::Raw,
    ) -> impl Future<Output = io::Result<(Self::Stream, Who)>> + Send + 'static;
}

/// Answers those who come to `door`, as many as `room` has seats, until the future is dropped;
/// then their connections end too.
pub(super) async fn serve<D: Door>(door: D, router: Router, room: Arc<Room>, patience: Patience) {
    let room = Host(room);
    loop {
        let raw = match door.accept().await {
            Ok(raw) => raw,
            Err(error) => {
                log::debug!("API: no connection taken: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let greeted = door.greet(raw);
        let router = router.clone();
        // Nobody to make room for it: dropping it closes it.
        room.0.seat(|seat| async move {
            let Ok(Ok((stream, who))) = tokio::time::timeout(patience.handshake, greeted).await
            else {
                return;
            };
            talk(stream, router, who, seat, patience).await;
        });
    }
}

/// All requests of a connection.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    who: Who,
    seat: Arc<Seat>,
    patience: Patience,
) {
    let router = TowerToHyperService::new(router);
    let answer = service_fn(move |request: Request<Incoming>| {
        let busy = seat.busy();
        let late = Arc::new(AtomicBool::new(false));
        let caller = who.asks(&request);
        let mut request = request.map(|body| {
            Body::new(Timed { body, end: Box::pin(sleep(patience.body)), late: Arc::clone(&late) })
        });
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let answered = router.call(request);
        let seat = Arc::clone(&seat);
        async move {
            // A router answers, whatever comes.
            let mut response = answered.await.unwrap_or_else(|never: Infallible| match never {});
            if late.load(Relaxed) {
                response = too_late(patience).into_response();
            }
            if response.status() == StatusCode::UNAUTHORIZED {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            // What is made piece by piece is as large as a piece.
            let octets = hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0);
            let kept = seat.hold(octets);
            if kept.is_none() {
                response = too_much().into_response();
            }
            Ok::<_, Infallible>(response.map(|body| Held {
                body,
                busy: Some(busy),
                piece: Bytes::new(),
                _kept: kept,
            }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), answer);
    // The client's fault, and it was told.
    let _ = connection.await;
}

fn too_late(patience: Patience) -> Refusal {
    let time = patience.body.as_secs_f32();
    let message = format!("the body did not come within {time} s; send it at once");
    Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
}

fn too_much() -> Refusal {
    let message = "too many large answers wait for clients who do not take them; ask again later";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
}

/// A request's body, that has to come in time.
struct Timed {
    body: Incoming,
    end: Pin<Box<Sleep>>,
    late: Arc<AtomicBool>,
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.end.as_mut().poll(context).is_ready() {
            self.late.store(true, Relaxed);
            return Poll::Ready(Some(Err("the body came too slowly".into())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body. As long as more of it is made, the connection is not idle; until the client
/// has taken it, it has its room. So it is given to the connection in pieces no larger than what
/// that writes at once.
struct Held {
    body: Body,
    busy: Option<Busy>,
    /// What was made and is not yet written.
    piece: Bytes,
    _kept: Option<Kept>,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.piece.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.piece = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
            if self.body.is_end_stream() {
                self.busy = None;
            }
        }
        let octets = self.piece.len().min(BUFFER);
        Poll::Ready(Some(Ok(Frame::data(self.piece.split_to(octets)))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (made, more) = (self.piece.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = more.upper() {
            hint.set_upper(made + upper);
        }
        hint.set_lower(made + more.lower());
        hint
    }
}
