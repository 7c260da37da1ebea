//! Raw bytes as an argument or a value.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes as Inner;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::segments;

/// Bytes that travel as they are: as an argument, as a value, or anywhere inside of one. They are not
/// encoded and not copied on the way out, and arrive in one piece of memory. Clones and slices share it.
///
/// A `Vec<u8>` works too, but serde takes it for a list of numbers: it is several times slower, and larger.
///
/// ```
/// use skyward::Bytes;
///
/// #[skyward::function]
/// async fn brighten(image: Bytes) -> Bytes {
///     image.iter().map(|it| it.saturating_add(10)).collect::<Vec<u8>>().into()
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     let image = Bytes::from(vec![1, 2, 250]);
///     assert_eq!(&*brighten(image).local().await?, [11, 12, 255]);
///     Ok(())
/// }
/// ```
///
/// Outside of calls it is serialised as serde's bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(Inner);

impl Bytes {
    /// The same as the type of the `bytes` crate.
    pub fn into_inner(self) -> Inner {
        self.0
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Inner> for Bytes {
    fn from(bytes: Inner) -> Self {
        Self(bytes)
    }
}

impl From<Bytes> for Inner {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for Vec<u8> {
    /// Copies only if others share the bytes.
    fn from(bytes: Bytes) -> Self {
        bytes.0.into()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match segments::collect(&self.0) {
            Some(index) => serializer.serialize_u32(index),
            None => serializer.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match segments::is_offering() {
            true => deserializer.deserialize_any(Either),
            false => deserializer.deserialize_byte_buf(Either),
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

/// Bytes in place, or the number of a segment.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_u64<E: Error>(self, index: u64) -> Result<Bytes, E> {
        let missing = || E::custom(format!("there is no raw data of the number {index}"));
        segments::offered(index).map(Bytes).ok_or_else(missing)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Inner::copy_from_slice(bytes).into())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}
