//! TLS as every part of a link uses it: version 1.3 only, both sides certified by the pool's authority
//! and nobody else, no resumption (every connection is verified afresh).

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::identity::{Identity, IdentityError, dns_name};

/// What both sides call the protocol inside TLS on a connection of bytes.
pub(super) const BYTES: &[u8] = b"skyward-bytes/1";

/// The client's side of a handshake.
pub(super) fn client(identity: &Identity) -> Result<ClientConfig, IdentityError> {
    let (roots, provider) = (roots(identity)?, provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(unusable)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain(identity), key(identity))
        .map_err(unusable)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The worker's side of a handshake.
pub(super) fn server(identity: &Identity) -> Result<ServerConfig, IdentityError> {
    let (roots, provider) = (roots(identity)?, provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(unusable)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(identity), key(identity))
        .map_err(unusable)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The client's side of a handshake on a connection of bytes.
pub(super) fn bytes_client(identity: &Identity) -> Result<ClientConfig, IdentityError> {
    let mut config = client(identity)?;
    config.alpn_protocols = vec![BYTES.to_vec()];
    Ok(config)
}

/// The worker's side of a handshake on a connection of bytes.
pub(super) fn bytes_acceptor(identity: &Identity) -> Result<TlsAcceptor, IdentityError> {
    let mut config = server(identity)?;
    config.alpn_protocols = vec![BYTES.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Mutual TLS for a TCP listener, by the same identity.
///
/// # Errors
/// When the identity is not a usable certificate and key.
pub fn acceptor(identity: &Identity) -> Result<TlsAcceptor, IdentityError> {
    Ok(TlsAcceptor::from(Arc::new(server(identity)?)))
}

/// Whether a verified certificate was issued for this name.
pub(super) fn is_named(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    let Ok(name) = ServerName::try_from(dns_name(name)) else { return false };
    rustls::client::verify_server_name(&parsed, &name).is_ok()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(identity: &Identity) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(identity.authority.clone())).map_err(unusable)?;
    Ok(Arc::new(roots))
}

fn chain(identity: &Identity) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from(identity.certificate.clone())]
}

fn key(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.reveal().clone()))
}

fn unusable(reason: impl std::fmt::Display) -> IdentityError {
    IdentityError::new("use", "this process", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Authority;
    use crate::model::{PoolId, Secret};

    #[test]
    fn a_certificate_holds_for_the_name_it_was_issued_for_alone() {
        let identity = Authority::new(&PoolId::new("p")).expect("made").issue("w-1").expect("issued");
        let certificate = CertificateDer::from(identity.certificate);
        assert!(is_named(&certificate, "w-1"));
        assert!(!is_named(&certificate, "w-2"));
        assert!(!is_named(&CertificateDer::from(vec![1, 2, 3]), "w-1"));
    }

    #[test]
    fn an_identity_of_garbage_is_an_error() {
        let garbage = Identity { certificate: vec![1], key: Secret::new(vec![2]), authority: vec![3] };
        assert!(client(&garbage).is_err());
        assert!(server(&garbage).is_err());
        assert!(acceptor(&garbage).is_err());
    }
}
