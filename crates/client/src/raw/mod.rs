//! Raw data in arguments and values: it travels beside the encoding, in pieces that nobody copies on the way
//! out and that arrive as one.
//!
//! ```text
//! body = mark (1), three zeros, how many segments (4), length of the encoding (8), their lengths (8 each),
//!        the encoding, then each segment at a multiple of ALIGNMENT; big endian
//! ```
//!
//! A body without segments is the encoding alone: it never begins with the mark.

mod array;
mod data;
mod segments;
mod shared;

pub use array::Array;
pub use data::Bytes;
pub(crate) use segments::{Segments, collecting, offering, pack, unpack};
pub use shared::Shared;
