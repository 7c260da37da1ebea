//! Raw numbers as an argument or a value.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use bytemuck::Pod;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};

use super::Bytes;

/// Numbers that travel as they are in memory: as an argument, as a value, or anywhere inside of one. They
/// are not encoded and not copied on the way out, and are read where they arrive. Clones share them.
///
/// `T` is a number, an array of them, or a struct for which you implement
/// [`Pod`](https://docs.rs/bytemuck/latest/bytemuck/trait.Pod.html) of the crate `bytemuck`: a type that any
/// bytes of its size are a value of. Both sides must have the same order of bytes, which all machines that
/// Skyward runs on do.
///
/// ```
/// use skyward::Array;
///
/// #[skyward::function]
/// async fn norm(vector: Array<f32>) -> f32 {
///     vector.iter().map(|it| it * it).sum::<f32>().sqrt()
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     assert_eq!(norm(Array::from(vec![3.0, 4.0])).local().await?, 5.0);
///     Ok(())
/// }
/// ```
pub struct Array<T> {
    /// Aligned as `T` is, and a multiple of its size.
    bytes: Bytes,
    of: PhantomData<fn() -> T>,
}

/// What keeps the memory of numbers that are looked at as bytes.
struct Owner<T>(Vec<T>);

impl<T: Pod> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl<T: Pod + Send> Array<T> {
    /// The numbers that these bytes are. They are copied only if they are not where numbers can be read.
    /// `None` if they are not a whole number of them.
    pub fn from_bytes(bytes: Bytes) -> Option<Self> {
        match bytemuck::try_cast_slice::<u8, T>(&bytes) {
            Ok(_) => Some(Self { bytes, of: PhantomData }),
            Err(bytemuck::PodCastError::TargetAlignmentGreaterAndInputNotAligned)
                if bytes.len().is_multiple_of(size_of::<T>().max(1)) =>
            {
                Some(bytemuck::pod_collect_to_vec::<u8, T>(&bytes).into())
            }
            Err(_) => None,
        }
    }

    /// The bytes of the numbers.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl<T: Pod + Send> From<Vec<T>> for Array<T> {
    fn from(numbers: Vec<T>) -> Self {
        let owned = bytes::Bytes::from_owner(Owner(numbers));
        Self { bytes: owned.into(), of: PhantomData }
    }
}

impl<T: Pod> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // It was looked at when it was made.
        bytemuck::try_cast_slice(&self.bytes).unwrap_or_default()
    }
}

impl<T: Pod> AsRef<[T]> for Array<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), of: PhantomData }
    }
}

impl<T: Pod + Send> Default for Array<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Pod + PartialEq> PartialEq for Array<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes.serialize(serializer)
    }
}

impl<'de, T: Pod + Send> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        let length = bytes.len();
        let wrong =
            || D::Error::custom(format!("{length} bytes are no array of {}", std::any::type_name::<T>()));
        Self::from_bytes(bytes).ok_or_else(wrong)
    }
}

impl<T: Pod> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({} of {})", self.len(), std::any::type_name::<T>())
    }
}
