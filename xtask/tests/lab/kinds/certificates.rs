//! Certificates for one key: a good one, and what may be wrong with one.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

type Outcome<T = ()> = Result<T, rcgen::Error>;

/// Files and their texts in PEM.
pub(super) struct Certificates(Vec<(&'static str, String)>);

impl Certificates {
    /// An authority whom we trust, another one, and what they sign for `www.example`.
    pub(super) fn new() -> Outcome<Self> {
        let key = KeyPair::generate()?;
        let (ours, ca) = authority("ours")?;
        let (other, _) = authority("other")?;
        let good = signed(&key, &ours, "www.example", 2099)?;
        Ok(Self(vec![
            ("key.pem", key.serialize_pem()),
            ("ca.pem", ca),
            ("www.example.pem", good.clone()),
            ("good.pem", good),
            ("expired.pem", signed(&key, &ours, "www.example", 2021)?),
            ("other.pem", signed(&key, &ours, "api.example", 2099)?),
            ("unknown.pem", signed(&key, &other, "www.example", 2099)?),
        ]))
    }

    pub(super) fn write(&self, directory: &Path) -> std::io::Result<()> {
        self.0.iter().try_for_each(|(name, text)| fs::write(directory.join(name), text))
    }
}

pub(crate) fn authority(name: &str) -> Outcome<(Issuer<'static, KeyPair>, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key)?;
    Ok((Issuer::new(params, key), certificate.pem()))
}

/// A certificate for a name, until a year.
pub(crate) fn signed(
    key: &KeyPair,
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    until: i32,
) -> Outcome<String> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    Ok(params.signed_by(key, issuer)?.pem())
}
