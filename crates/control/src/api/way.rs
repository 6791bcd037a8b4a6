//! How a client comes to a daemon: over its unix socket, or over TCP with a token.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use hyper::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

/// Where a daemon is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// On its unix socket.
    Socket(PathBuf),
    /// Over TCP.
    Server(Box<Server>),
}

/// A daemon elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    url: Uri,
    token: PathBuf,
    ca: Option<PathBuf>,
}

/// Why there is no such way.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WayError {
    /// Not an address of a server.
    #[error("{0}: not a server; write it like https://192.0.2.1:9443")]
    Url(String),
    /// Without TLS, to another box.
    #[error("{0}: the token would cross the network in the clear; write https://")]
    Clear(String),
    /// Nothing says who asks.
    #[error("{0}: no token; name its file with --token-file, or in XLVS_TOKEN_FILE")]
    NoToken(String),
}

impl Server {
    /// The daemon at `url`, asked with the token in the file `token`. Its certificate is to be of
    /// the authorities in the PEM file `ca`, or of the system's.
    ///
    /// # Errors
    /// See [`WayError`].
    pub fn new(url: &str, token: Option<PathBuf>, ca: Option<PathBuf>) -> Result<Self, WayError> {
        let wrong = || WayError::Url(url.to_owned());
        let parsed: Uri = url.parse().map_err(|_| wrong())?;
        let bare = parsed.path().len() <= 1 && parsed.query().is_none();
        let (Some(_), true) = (parsed.port_u16(), bare) else { return Err(wrong()) };
        match (parsed.scheme_str(), parsed.host()) {
            (Some("https"), Some(_)) => {}
            (Some("http"), Some("localhost" | "127.0.0.1" | "[::1]")) => {}
            (Some("http"), Some(_)) => return Err(WayError::Clear(url.to_owned())),
            _ => return Err(wrong()),
        }
        let token = token.ok_or_else(|| WayError::NoToken(url.to_owned()))?;
        Ok(Self { url: parsed, token, ca })
    }

    /// The host's name or address, without brackets.
    fn host(&self) -> &str {
        self.url.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    async fn connect(&self) -> io::Result<Talk> {
        let port = self.url.port_u16().unwrap_or_default();
        let stream = TcpStream::connect((self.host(), port)).await?;
        stream.set_nodelay(true)?;
        if self.url.scheme_str() == Some("http") {
            return Ok(Box::pin(stream));
        }
        let name = ServerName::try_from(self.host().to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(trust(self.ca.as_deref())?));
        Ok(Box::pin(connector.connect(name, stream).await?))
    }
}

/// Whose certificates count.
fn trust(ca: Option<&Path>) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let named = |error: &dyn fmt::Display| {
                io::Error::other(format!("--ca {}: {error}", path.display()))
            };
            let text = fs::read(path).map_err(|error| named(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|error| named(&error))?;
                roots.add(certificate).map_err(|error| named(&error))?;
            }
        }
        None => {
            // Some of a system's are often broken; what is left has to do.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What HTTP is spoken over.
pub(super) trait Both: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Both for T {}

/// A connection to a daemon.
pub(super) type Talk = Pin<Box<dyn Both>>;

impl Way {
    /// A connection.
    pub(super) async fn connect(&self) -> io::Result<Talk> {
        match self {
            Self::Socket(path) => Ok(Box::pin(UnixStream::connect(path).await?)),
            Self::Server(server) => server.connect().await,
        }
    }

    /// What goes into the header `Host`.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Socket(_) => "xlvs",
            Self::Server(server) => server.url.authority().map_or("xlvs", |whole| whole.as_str()),
        }
    }

    /// What goes into the header `Authorization`, if anything.
    pub(super) fn authorization(&self) -> io::Result<Option<String>> {
        let Self::Server(server) = self else { return Ok(None) };
        let token = &server.token;
        let text = fs::read_to_string(token).map_err(|error| {
            io::Error::other(format!("--token-file {}: {error}", token.display()))
        })?;
        Ok(Some(format!("Bearer {}", text.trim())))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Server(server) => f.write_str(server.url.to_string().trim_end_matches('/')),
        }
    }
}

impl From<Server> for Way {
    fn from(server: Server) -> Self {
        Self::Server(Box::new(server))
    }
}

impl From<&Path> for Way {
    fn from(socket: &Path) -> Self {
        Self::Socket(socket.to_owned())
    }
}

impl From<&PathBuf> for Way {
    fn from(socket: &PathBuf) -> Self {
        Self::Socket(socket.clone())
    }
}

impl From<&Self> for Way {
    fn from(way: &Self) -> Self {
        way.clone()
    }
}
