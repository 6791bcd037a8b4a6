//! The API over TCP: for those who have a token. In a thread of its own, so that neither TLS nor
//! remote clients take time of control's loop.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{
    identity::{Identity, IdentityError},
    listener::{Door, Patience, Who, serve},
    room::Room,
    thread::{Served, Terms},
    tokens::{TokenError, Tokens},
};
use crate::{daemon::privileges::Task, model};

/// Connections at a time on all addresses.
pub const CONNECTIONS: usize = 256;
/// Of those that ask for much.
const AT_ONCE: usize = 2;
/// After this time without an acknowledgement, or without room at the client's, the kernel ends a
/// connection.
const SILENCE: Duration = Duration::from_secs(30);

/// Why there is no API over TCP.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// An address.
    #[error(
        "api: listen: cannot listen on {address}: {source}; choose an address of this box and a port that is free, or remove it"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The certificate.
    #[error("api: tls: {0}")]
    Identity(#[from] IdentityError),
    /// The tokens.
    #[error("api: tokens: {0}")]
    Tokens(#[from] TokenError),
    /// The thread.
    #[error("api: cannot start its thread: {0}")]
    Thread(#[source] io::Error),
}

/// Addresses that are listened on, and nobody serves yet.
#[derive(Debug, Default)]
pub struct Remote {
    sockets: Vec<TcpListener>,
    identity: Option<Arc<Identity>>,
    tokens: Option<Arc<Tokens>>,
}

impl Remote {
    /// Takes the addresses, and reads what is shown and asked for there. Needs no runtime.
    ///
    /// # Errors
    /// See [`TcpError`].
    pub fn bind(wanted: &model::Api) -> Result<Self, TcpError> {
        let (false, Some(tokens)) = (wanted.listen.is_empty(), &wanted.tokens) else {
            return Ok(Self::default());
        };
        let tokens = Some(Arc::new(Tokens::open(tokens)?));
        let identity = wanted.tls.as_ref().map(|tls| Identity::open(&tls.certificate, &tls.key));
        let identity = identity.transpose()?.map(Arc::new);
        let bind = |&address| {
            let refused = |source| TcpError::Listen { address, source };
            let socket = TcpListener::bind(address).map_err(refused)?;
            socket.set_nonblocking(true).map_err(refused)?;
            let scheme = if identity.is_some() { "https" } else { "http" };
            log::info!("API on {scheme}://{address}");
            Ok(socket)
        };
        let sockets = wanted.listen.iter().map(bind).collect::<Result<_, TcpError>>()?;
        Ok(Self { sockets, identity, tokens })
    }

    /// Where it listens: of port 0, the one that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Answers there, until what is returned is dropped. Without addresses there is no thread.
    ///
    /// # Errors
    /// [`TcpError::Thread`].
    pub fn start(self, router: Router, patience: Patience) -> Result<Option<Served>, TcpError> {
        let Some(tokens) = self.tokens else { return Ok(None) };
        let terms = Terms { name: "xlvs-api", task: Task::Packets, at_once: AT_ONCE };
        let (identity, sockets) = (self.identity, self.sockets);
        let doors = || {
            let gate = |socket| {
                let listener = tokio::net::TcpListener::from_std(socket)?;
                let (identity, tokens) = (identity.clone(), Arc::clone(&tokens));
                Ok(Gate { listener, identity, tokens })
            };
            let gates: Vec<Gate> = sockets.into_iter().map(gate).collect::<io::Result<_>>()?;
            Ok(async move {
                let room = Room::of(CONNECTIONS);
                let mut doors = JoinSet::new();
                for gate in gates {
                    doors.spawn(serve(gate, router.clone(), Arc::clone(&room), patience));
                }
                while doors.join_next().await.is_some() {}
            })
        };
        Served::start(terms, doors).map(Some).map_err(TcpError::Thread)
    }
}

/// An address.
struct Gate {
    listener: tokio::net::TcpListener,
    identity: Option<Arc<Identity>>,
    tokens: Arc<Tokens>,
}

/// With TLS, or without.
trait Stream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

impl Door for Gate {
    type Raw = TcpStream;
    type Stream = Pin<Box<dyn Stream>>;

    async fn accept(&self) -> io::Result<TcpStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    fn greet(
        &self,
        raw: TcpStream,
    ) -> impl Future<Output = io::Result<(Self::Stream, Who)>> + Send + 'static {
        let who = Who::Bearer(Arc::clone(&self.tokens));
        let acceptor = self.identity.as_ref().map(|identity| TlsAcceptor::from(identity.config()));
        async move {
            bound(&raw)?;
            let stream: Self::Stream = match acceptor {
                Some(acceptor) => Box::pin(acceptor.accept(raw).await?),
                None => Box::pin(raw),
            };
            Ok((stream, who))
        }
    }
}

/// A client that is gone, or takes nothing, does not keep its connection.
fn bound(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 3))?;
    socket.set_tcp_user_timeout(Some(SILENCE))
}
