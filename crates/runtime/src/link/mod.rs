//! An authenticated connection to one node.

use serde::{Deserialize, Serialize};

use crate::model::Secret;

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
