//! What reads bytes from outside, as functions of those bytes that assert what must hold: nothing panics, and
//! what was understood means the same once it is written again. `tests/fuzz` feeds them, and bounds their
//! memory and their time.

mod files;
mod links;
mod machines;
mod model;
mod mux;
mod queue;
mod spread;

use std::fmt::Debug;

use futures_util::FutureExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Something that reads bytes from outside.
///
/// ```
/// let decoder = skyward_runtime::testing::DECODERS.first().expect("there are some");
/// (decoder.seeds)().iter().for_each(|bytes| (decoder.check)(bytes));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// As the folder of its corpus is called.
    pub name: &'static str,
    /// Reads the bytes.
    ///
    /// # Panics
    /// When something does not hold.
    pub check: fn(&[u8]),
    /// Bytes that are in order: where a search begins.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Those of this crate that only it can reach.
pub const DECODERS: &[Decoder] = &[
    Decoder { name: "link-words", check: links::words, seeds: links::word_seeds },
    Decoder { name: "stream-items", check: links::items, seeds: links::item_seeds },
    Decoder { name: "mux-frames", check: mux::frames, seeds: mux::frame_seeds },
    Decoder { name: "mux-peer", check: mux::peer, seeds: mux::frame_seeds },
    Decoder { name: "parcels", check: files::parcels, seeds: files::parcel_seeds },
    Decoder { name: "ignore-files", check: files::ignores, seeds: files::ignore_seeds },
    Decoder { name: "bootstrap-lines", check: machines::lines, seeds: machines::line_seeds },
    Decoder { name: "host-keys", check: machines::host_keys, seeds: machines::host_key_seeds },
    Decoder { name: "roles", check: machines::roles, seeds: machines::role_seeds },
    Decoder { name: "spread-words", check: spread::words, seeds: spread::word_seeds },
    Decoder { name: "queue", check: queue::lives, seeds: queue::seeds },
];

/// Reads MessagePack, and what was understood once more.
///
/// # Panics
/// When the second reading differs from the first.
pub fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value: T = rmp_serde::from_slice(bytes).ok()?;
    for encode in [rmp_serde::to_vec_named::<T>, rmp_serde::to_vec::<T>] {
        let written = written(encode(&value));
        let again: T = read(rmp_serde::from_slice(&written));
        assert_eq!(self::written(encode(&again)), written, "it means something else when it is read again");
    }
    Some(value)
}

/// What reads memory and never waits.
///
/// # Panics
/// When it waits.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match future.now_or_never() {
        Some(done) => done,
        None => unreachable!("memory is not waited for"),
    }
}

/// What can be read back because we wrote it.
///
/// # Panics
/// When it cannot.
pub fn read<T, E: Debug>(read: Result<T, E>) -> T {
    match read {
        Ok(value) => value,
        Err(error) => unreachable!("what we wrote cannot be read: {error:?}"),
    }
}

fn written<T, E: Debug>(written: Result<T, E>) -> T {
    match written {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("what was read cannot be written: {error:?}"),
    }
}

/// The values as MessagePack.
fn packed<T: Serialize>(values: impl IntoIterator<Item = T>) -> Vec<Vec<u8>> {
    values.into_iter().filter_map(|it| rmp_serde::to_vec_named(&it).ok()).collect()
}
