//! A value that many calls share.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use skyward_runtime::inside::common;
use skyward_runtime::payload::{Common, CommonKey};

use super::{Segments, collecting, offering, pack, segments, unpack};
use crate::Error;

/// A value that is sent to each node once, however many calls have it among their arguments, and decoded
/// there once: a model, a table. A node has it until the last `Shared` of it is dropped, calls under way
/// counted, or its pool ends. Two of the same content are one.
///
/// ```
/// use skyward::prelude::*;
/// use skyward::{Array, Shared};
///
/// #[skyward::function]
/// async fn row(table: Shared<Array<f64>>, at: u64) -> Option<f64> {
///     table.get(usize::try_from(at).ok()?).copied()
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     let table = Shared::new(Array::from(vec![1.0, 2.0]))?;
///     let rows = gather((0..3).map(|at| row(table.clone(), at))).local().await?;
///     assert_eq!(rows, [Some(1.0), Some(2.0), None]);
///     Ok(())
/// }
/// ```
///
/// A function may pass on what it was given, and return it. It cannot return one that it made itself: the
/// value would be gone with the call.
pub struct Shared<T> {
    value: Arc<T>,
    key: CommonKey,
    /// The encoding, where it was shared.
    common: Option<Arc<Common>>,
}

impl<T: Serialize> Shared<T> {
    /// Encodes a value to be shared.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn new(value: T) -> Result<Self, Error> {
        let (mut bytes, mut segments) = (Vec::new(), Segments::new());
        let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
        collecting(&mut segments, || value.serialize(&mut serializer))
            .map_err(|it| Error::from(it.to_string()).context("failed to encode a shared value"))?;
        let common = Common::of(pack(bytes, segments));
        Ok(Self { value: Arc::new(value), key: *common.key(), common: Some(common) })
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), key: self.key, common: self.common.clone() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.value).finish()
    }
}

impl<T> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(common) = &self.common {
            segments::need(common);
        }
        serializer.serialize_bytes(&self.key)
    }
}

impl<'de, T: DeserializeOwned + Send + Sync + 'static> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = super::Bytes::deserialize(deserializer)?;
        let key: CommonKey =
            key.as_ref().try_into().map_err(|_| D::Error::custom("a shared value's key is cut off"))?;
        // In the process that shared it the encoding is still there; on a node it was sent before the call.
        let here = Common::living(&key);
        let value = match &here {
            Some(living) => {
                Some(Arc::new(decode(&living.payload().clone().into_bytes()).map_err(D::Error::custom)?))
            }
            None => common(&key, decode).map_err(D::Error::custom)?,
        };
        let value =
            value.ok_or_else(|| D::Error::custom("a shared value is not in this process any more"))?;
        Ok(Self { value, key, common: here })
    }
}

fn decode<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    let (encoded, mut segments) = unpack(body)?;
    let mut reader = rmp_serde::Deserializer::from_read_ref(encoded);
    offering(&mut segments, || T::deserialize(&mut reader)).map_err(|it| it.to_string())
}
