//! Who is who on a link: one authority per pool, one certificate for the client and one for each life
//! of a worker. Made by the client; a worker gets its own on standard input.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{PoolId, Secret};

/// The name that the client's certificate is issued for. Workers take nobody else for their owner:
/// not even another worker of the same pool.
pub const CLIENT: &str = "client";

/// A certificate with its key, and the pool's authority by which the other side is verified. DER.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The certificate.
    #[serde(with = "serde_bytes")]
    pub certificate: Vec<u8>,
    /// Its private key, PKCS#8.
    pub key: Secret<Vec<u8>>,
    /// The authority's certificate.
    #[serde(with = "serde_bytes")]
    pub authority: Vec<u8>,
}

/// The certificate authority of one pool. Its key stays in this value.
pub struct Authority {
    pool: PoolId,
    certificate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// Why a key or a certificate could not be made or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to {what} the certificate of `{name}`: {reason}")]
pub struct IdentityError {
    what: &'static str,
    name: String,
    reason: String,
}

impl Authority {
    /// A fresh authority.
    ///
    /// # Errors
    /// When the crypto library cannot make a key.
    pub fn new(pool: &PoolId) -> Result<Self, IdentityError> {
        let failed = |it: rcgen::Error| IdentityError::new("make", pool.as_str(), it);
        let (params, key) = (terms(pool), KeyPair::generate().map_err(failed)?);
        let certificate = params.self_signed(&key).map_err(failed)?.der().to_vec();
        Ok(Self { pool: pool.clone(), certificate, issuer: Issuer::new(params, key) })
    }

    /// The authority of a pool that was made before, by its certificate and its [key](Self::key).
    ///
    /// # Errors
    /// When the key is none.
    pub fn restore(
        pool: &PoolId,
        certificate: Vec<u8>,
        key: &Secret<Vec<u8>>,
    ) -> Result<Self, IdentityError> {
        let key = KeyPair::try_from(key.reveal().as_slice());
        let key = key.map_err(|it| IdentityError::new("restore", pool.as_str(), it))?;
        Ok(Self { pool: pool.clone(), certificate, issuer: Issuer::new(terms(pool), key) })
    }

    /// Its private key, PKCS#8, for a file that its owner alone can read.
    pub fn key(&self) -> Secret<Vec<u8>> {
        Secret::new(self.issuer.key().serialize_der())
    }

    /// A fresh identity: [`CLIENT`] for the client, the incarnation for a worker.
    ///
    /// # Errors
    /// When the crypto library cannot make a key.
    pub fn issue(&self, name: &str) -> Result<Identity, IdentityError> {
        let failed = |it: rcgen::Error| IdentityError::new("issue", name, it);
        let mut params = CertificateParams::new([dns_name(name)]).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, format!("{name} of skyward pool {}", self.pool));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.der().to_vec();
        Ok(Identity {
            certificate,
            key: Secret::new(key.serialize_der()),
            authority: self.certificate.clone(),
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl IdentityError {
    pub(super) fn new(what: &'static str, name: &str, reason: impl fmt::Display) -> Self {
        Self { what, name: name.to_owned(), reason: reason.to_string() }
    }
}

/// What the authority of a pool says of itself. Its leaves name it by this.
fn terms(pool: &PoolId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("skyward pool {pool}"));
    // It signs the leaves and nothing below them.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// The host name that stands for `name` in a certificate. A digest, because names are free text and
/// host names are not.
pub(super) fn dns_name(name: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(name).into();
    let (label, _) = digest.split_at(16);
    format!("{}.skyward.invalid", hex::encode(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_never_shows_its_key() {
        let authority = Authority::new(&PoolId::new("p1")).expect("made");
        let identity = authority.issue("w-1").expect("issued");
        assert!(format!("{identity:?}").contains("key: ***"));
        assert!(!format!("{authority:?}").contains("issuer"));
    }

    #[test]
    fn any_text_is_a_name() {
        for name in ["", "w 1/ü", "a.b", &"x".repeat(500)] {
            assert!(dns_name(name).len() < 64, "{name}");
            Authority::new(&PoolId::new("p1")).expect("made").issue(name).expect("issued");
        }
        assert_ne!(dns_name("a"), dns_name("b"));
    }
}
