//! The certificate that the API shows over TCP, read anew when its files change.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::stamp::Stamp;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct IdentityError {
    path: PathBuf,
    reason: String,
}

/// Certificate and key.
#[derive(Debug)]
pub(super) struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    shown: Mutex<Shown>,
}

#[derive(Debug)]
struct Shown {
    stamps: [Option<Stamp>; 2],
    config: Arc<ServerConfig>,
}

impl Identity {
    /// Reads PEM files: the certificate with those that lead to its root, and its key.
    ///
    /// # Errors
    /// They cannot be read, or do not belong together.
    pub(super) fn open(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let stamps = stamps(certificate, key);
        let shown = Shown { stamps, config: Arc::new(config(certificate, key)?) };
        Ok(Self { certificate: certificate.into(), key: key.into(), shown: shown.into() })
    }

    /// For the next client. Files that changed and cannot be used change nothing: a renewal may be
    /// half written.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.certificate, &self.key);
        if stamps != shown.stamps {
            shown.stamps = stamps;
            match config(&self.certificate, &self.key) {
                Ok(config) => {
                    log::info!("{}: read anew", self.certificate.display());
                    shown.config = Arc::new(config);
                }
                Err(error) => log::error!("{error}; the API shows the certificate from before"),
            }
        }
        Arc::clone(&shown.config)
    }
}

fn stamps(certificate: &Path, key: &Path) -> [Option<Stamp>; 2] {
    [certificate, key].map(|path| fs::metadata(path).ok().map(|found| Stamp::of(&found)))
}

fn config(certificate: &Path, key: &Path) -> Result<ServerConfig, IdentityError> {
    let fault = |path: &Path, reason: String| IdentityError { path: path.to_owned(), reason };
    let text = |path: &Path| {
        let said =
            |error: io::Error| fault(path, format!("cannot be read: {error}; see api: tls:"));
        fs::read(path).map_err(said)
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(certificate, format!("no certificate in PEM: {error}")))?;
    let private = PrivateKeyDer::from_pem_slice(&text(key)?)
        .map_err(|error| fault(key, format!("no private key in PEM: {error}")))?;
    let unfit = |error| {
        let key = key.display();
        fault(certificate, format!("{error}; see that {key} is this certificate's key"))
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
