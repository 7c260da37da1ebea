//! How arguments and outcomes become bytes: MessagePack by rmp-serde, structs with their field names,
//! so that serde's attributes (`skip_serializing_if`, `flatten`, tagged enums) mean what they mean in
//! JSON. Used by the expansion of `#[skyward::function]`.
//!
//! Arguments are encoded as one array. Everything that depends on a type's bounds is gathered in a
//! [`Codec`], so that a type that does not qualify is complained about in one place.

mod stream;

use rmp_serde::decode::ReadRefReader;
use serde::Serialize;

use std::cell::RefCell;
use std::sync::Arc;

use crate::Never;
use crate::bounds::{Argument, Fallible, TaskFailure, TaskValue};
use crate::raw::{self, Segments};
use bytes::Bytes;
use skyward_runtime::payload::{Block, Common, Payload};
use skyward_runtime::registry::Answer;

pub(crate) use stream::taken;

/// How values of one type are encoded and decoded. Its errors are the encoder's words.
#[derive(Debug)]
pub struct Codec<T> {
    encode: fn(&T, &mut Vec<u8>) -> Result<(), String>,
    decode: fn(&mut Reader<'_>) -> Result<T, String>,
}

impl<T> Codec<T> {
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<T, String> {
        (self.decode)(&mut rmp_serde::Deserializer::from_read_ref(bytes))
    }
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Codec<T> {}

type Reader<'a> = rmp_serde::Deserializer<ReadRefReader<'a, [u8]>>;

/// The codec of an argument.
pub const fn argument<T: Argument>() -> Codec<T> {
    Codec { encode: encode::<T>, decode: decode::<T> }
}

const fn value<T: TaskValue>() -> Codec<T> {
    Codec { encode: encode::<T>, decode: decode::<T> }
}

const fn failure<E: TaskFailure>() -> Codec<E> {
    Codec { encode: encode::<E>, decode: decode::<E> }
}

fn encode<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<(), String> {
    let mut serializer = rmp_serde::Serializer::new(into).with_struct_map();
    value.serialize(&mut serializer).map_err(|it| it.to_string())
}

fn decode<T: serde::de::DeserializeOwned>(reader: &mut Reader<'_>) -> Result<T, String> {
    T::deserialize(reader).map_err(|it| it.to_string())
}

/// The encoded arguments of one call.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub(crate) payload: Payload,
    /// The shared values that they name.
    pub(crate) shared: Vec<Arc<Common>>,
}

impl Encoded {
    /// The arguments as they arrive.
    pub fn into_body(self) -> Bytes {
        self.payload.into_bytes()
    }
}

/// Encodes the arguments of one call.
#[derive(Debug)]
pub struct Encoder {
    encoded: Result<Vec<u8>, String>,
    segments: Segments,
}

/// What to do about a value that cannot be encoded.
const ADVICE: &str = "see its Serialize implementation";

/// MessagePack's marker of an array whose length follows in two bytes.
const ARRAY_16: u8 = 0xdc;

impl Encoder {
    /// An encoder of so many arguments.
    pub fn new(count: usize) -> Self {
        let encoded = match u16::try_from(count) {
            Ok(count) => {
                let [high, low] = count.to_be_bytes();
                Ok(vec![ARRAY_16, high, low])
            }
            Err(_) => Err(format!("{count} arguments are too many; gather them in a struct")),
        };
        Self { encoded, segments: Segments::new() }
    }

    /// Adds the next argument.
    pub fn add<T>(&mut self, name: &str, codec: &Codec<T>, value: &T) {
        if let Ok(bytes) = &mut self.encoded
            && let Err(reason) = raw::collecting(&mut self.segments, || (codec.encode)(value, bytes))
        {
            self.encoded = Err(format!("argument `{name}`: {reason}; {ADVICE}"));
        }
    }

    /// The encoded arguments.
    pub fn finish(mut self) -> Result<Encoded, String> {
        let shared = self.segments.take_shared();
        self.encoded.map(|it| Encoded { payload: raw::pack(it, self.segments), shared })
    }
}

/// Decodes the arguments of one call, in their order.
#[expect(missing_debug_implementations, reason = "rmp-serde's reader has none")]
pub struct Decoder<'a> {
    reader: Reader<'a>,
    segments: Segments,
}

impl<'a> Decoder<'a> {
    /// A decoder of so many arguments.
    pub fn new(body: &'a Bytes, count: usize) -> Result<Self, String> {
        let (encoded, segments) = raw::unpack(body)?;
        match encoded {
            [ARRAY_16, high, low, rest @ ..] if usize::from(u16::from_be_bytes([*high, *low])) == count => {
                Ok(Self { reader: rmp_serde::Deserializer::from_read_ref(rest), segments })
            }
            _ => Err(format!("these are not {count} encoded arguments")),
        }
    }

    /// Takes the next argument.
    pub fn take<T>(&mut self, name: &str, codec: &Codec<T>) -> Result<T, String> {
        let Self { reader, segments } = self;
        let decoded = raw::offering(segments, || (codec.decode)(reader));
        decoded.map_err(|reason| format!("argument `{name}`: {reason}"))
    }
}

/// How what a function returned (`R`) is taken apart into a value or an error, and encoded.
#[derive(Debug)]
pub struct Outcome<R, T, E> {
    split: fn(R) -> Result<T, E>,
    value: Codec<T>,
    error: Codec<E>,
}

/// The outcome of a function without an error of its own.
pub const fn plain<T: TaskValue>() -> Outcome<T, T, Never> {
    Outcome { split: Ok, value: value::<T>(), error: failure::<Never>() }
}

/// The outcome of a function that returns a `Result`.
pub const fn fallible<R: Fallible<Ok: TaskValue, Err: TaskFailure>>() -> Outcome<R, R::Ok, R::Err> {
    Outcome { split: R::into_result, value: value::<R::Ok>(), error: failure::<R::Err>() }
}

thread_local! {
    /// What a value is encoded into first.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Where small ones stay.
    static SMALL: RefCell<Block> = RefCell::default();
}

impl<R, T, E> Outcome<R, T, E> {
    /// Encodes what the function returned.
    pub fn answer(&self, returned: R) -> Answer {
        let (mut bytes, mut segments) = (SCRATCH.take(), Segments::new());
        bytes.clear();
        match (self.split)(returned) {
            Ok(value) => match raw::collecting(&mut segments, || (self.value.encode)(&value, &mut bytes)) {
                Ok(()) if bytes.len() <= Block::LARGEST && segments.is_empty() => {
                    let small = SMALL.with_borrow_mut(|it| it.copy(&bytes));
                    SCRATCH.set(bytes);
                    Answer::Returned(small.into())
                }
                Ok(()) => Answer::Returned(raw::pack(bytes, segments)),
                Err(reason) => Answer::Unencodable(format!("the value: {reason}; {ADVICE}")),
            },
            Err(error) => match (self.error.encode)(&error, &mut bytes) {
                Ok(()) => Answer::Failed(bytes.into()),
                Err(reason) => Answer::Unencodable(format!("the error: {reason}; {ADVICE}")),
            },
        }
    }

    /// The caller's half.
    pub const fn decoding(&self) -> Decoding<T, E> {
        Decoding { value: self.value.decode, error: self.error.decode }
    }
}

/// How a caller decodes what came back.
pub struct Decoding<T, E> {
    value: fn(&mut Reader<'_>) -> Result<T, String>,
    error: fn(&mut Reader<'_>) -> Result<E, String>,
}

impl<T, E> Decoding<T, E> {
    /// The value of a function that returned.
    ///
    /// # Errors
    /// When the body is no such value.
    pub fn value(self, body: &Bytes) -> Result<T, String> {
        let (encoded, mut segments) = raw::unpack(body)?;
        let mut reader = rmp_serde::Deserializer::from_read_ref(encoded);
        raw::offering(&mut segments, || (self.value)(&mut reader))
    }

    pub(crate) fn error(self, bytes: &[u8]) -> Result<E, String> {
        (self.error)(&mut rmp_serde::Deserializer::from_read_ref(bytes))
    }
}

impl<T, E> Clone for Decoding<T, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, E> Copy for Decoding<T, E> {}

impl<T, E> std::fmt::Debug for Decoding<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoding")
    }
}
