//! A TLS handshake. What is wrong with a certificate is told apart: its time, its name, who signed
//! it.

use std::{
    io,
    net::IpAddr,
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    limited::Limited,
    net::{Net, unreached},
};
use crate::{
    check::{Target, Tls},
    outcome::{Bad, Good, Kind},
};

/// Octets that a server may send for a handshake: some chains of certificates are long.
const HANDSHAKE: usize = 256 * 1024;

pub(super) async fn ask(net: &Net, target: &Target, probe: &Tls) -> Result<Good, Bad> {
    let (stream, _pin) = net.connect(target).await?;
    let stream = Limited::new(stream, HANDSHAKE);
    let stream = shake(stream, target.address, probe, &probe.alpn).await?;
    let (_, session) = stream.get_ref();
    let version = session.protocol_version().and_then(|version| version.as_str());
    Ok(Good::new(version.unwrap_or("TLS").replace('_', ".")))
}

/// The handshake, offering these protocols.
pub(super) async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    address: IpAddr,
    probe: &Tls,
    alpn: &[String],
) -> Result<TlsStream<S>, Bad> {
    let mut config = config(probe)?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = match &probe.name {
        Some(name) => ServerName::try_from(name.clone())
            .map_err(|_| Bad::new(Kind::Local, format!("{name} is no name that TLS knows")))?,
        None => ServerName::IpAddress(address.into()),
    };
    let shown = probe.name.clone().unwrap_or_else(|| address.to_string());
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| failed(&error, &shown))
}

fn config(probe: &Tls) -> Result<ClientConfig, Bad> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Bad::new(Kind::Local, error.to_string()))?;
    if !probe.verify {
        let anyone = Arc::new(Anyone(provider));
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(anyone)
            .with_no_client_auth());
    }
    let roots = match &probe.ca {
        Some(path) => Arc::new(read(path).map_err(|why| Bad::new(Kind::Local, why))?),
        None => of_the_system(),
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// Read once: a few hundred certificates.
fn of_the_system() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(load))
}

/// The certificates of a PEM file. It is read for each handshake: it may be exchanged.
pub(super) fn read(path: &Path) -> Result<RootCertStore, String> {
    let place = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("{place}: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("{place}: {error}"))?;
        roots.add(certificate).map_err(|error| format!("{place}: {error}"))?;
    }
    if roots.is_empty() { Err(format!("{place}: no certificate in it")) } else { Ok(roots) }
}

/// What failed, in words.
fn failed(error: &io::Error, name: &str) -> Bad {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(inner) = inner else { return unreached(error) };
    Bad::new(Kind::Tls, said(inner, name))
}

fn said(error: &Error, name: &str) -> String {
    use CertificateError as Cert;
    match error {
        Error::InvalidCertificate(Cert::Expired | Cert::ExpiredContext { .. }) => {
            "the certificate has expired".to_owned()
        }
        Error::InvalidCertificate(Cert::NotValidYet | Cert::NotValidYetContext { .. }) => {
            "the certificate is not valid yet".to_owned()
        }
        Error::InvalidCertificate(Cert::NotValidForName) => {
            format!("the certificate is not for {name}")
        }
        Error::InvalidCertificate(Cert::NotValidForNameContext { presented, .. }) => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = super::shown(names.join(", ").as_bytes());
            format!("the certificate is not for {name}, but for {names}")
        }
        Error::InvalidCertificate(Cert::UnknownIssuer) => {
            "the certificate is signed by nobody whom we trust".to_owned()
        }
        Error::InvalidCertificate(other) => format!("the certificate: {other}"),
        Error::InvalidMessage(_) => "the server does not speak TLS".to_owned(),
        other => format!("TLS: {other}"),
    }
}

/// rustls gives names as `DnsName("www.example")`, addresses as `IpAddress(192.0.2.1)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// `verify: false`: any certificate will do, as long as the server has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
