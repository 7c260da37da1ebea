//! What passes between the provider and its machines: frames over the pipes at the start, and the
//! record that a machine leaves in its directory for whoever looks later.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::process::Process;

/// What a machine is told on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MachineStart {
    /// The machine's own directory, the home of all that runs on it.
    pub(super) directory: PathBuf,
    /// The directories above that are to be removed when they are empty, innermost first.
    pub(super) above: Vec<PathBuf>,
    /// The OpenSSH public key line of the one client to let in.
    pub(super) authorized: String,
    /// How long to live without a renewal.
    pub(super) lease: Duration,
    /// How long to take to boot.
    pub(super) boot_delay: Duration,
    /// How long after that to die.
    pub(super) die_after: Option<Duration>,
}

/// What it answers on its standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum MachineUp {
    /// It lets the client in.
    Listening(Door),
    /// It could not start.
    Failed(String),
}

/// How to reach a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Door {
    /// The port of its SSH server on loopback.
    pub(super) port: u16,
    /// Its OpenSSH public host key line.
    pub(super) host_key: String,
}

/// What a machine writes down about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its process.
    pub(super) process: Process,
    /// How to reach it, once it listens.
    pub(super) door: Option<Door>,
}

impl Record {
    /// Writes the record, so that a reader sees the old one or this one.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let draft = directory.join(".machine.record");
        fs::write(&draft, encode(self)?)?;
        fs::rename(draft, directory.join(RECORD))
    }

    /// The record in a machine's directory, if there is one that can be read.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        rmp_serde::from_slice(&fs::read(directory.join(RECORD)).ok()?).ok()
    }
}

/// A frame: the length in four bytes, big endian, then MessagePack.
pub(super) fn frame<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let body = encode(value)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    Ok([length.to_be_bytes().as_slice(), &body].concat())
}

/// The value of a frame, if the bytes hold a whole one.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<Option<T>> {
    let Some((length, body)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length);
    if length > MOST {
        return Err(io::Error::other(format!("a frame of {length} bytes is too long")));
    }
    let Some(body) = usize::try_from(length).ok().and_then(|length| body.get(..length)) else {
        return Ok(None);
    };
    rmp_serde::from_slice(body).map(Some).map_err(io::Error::other)
}

/// Reads one frame, waiting for it.
pub(super) fn read_frame<T: DeserializeOwned>(source: &mut impl Read) -> io::Result<T> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(value) = parse(&bytes)? {
            return Ok(value);
        }
        match source.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => bytes.extend_from_slice(chunk.get(..length).unwrap_or_default()),
        }
    }
}

/// Writes one frame.
pub(super) fn write_frame<T: Serialize>(sink: &mut impl Write, value: &T) -> io::Result<()> {
    sink.write_all(&frame(value)?)?;
    sink.flush()
}

fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    rmp_serde::to_vec(value).map_err(io::Error::other)
}

/// The machine's log in its directory: its standard error. The machine holds a lock on it for as long
/// as it lives, from before its process exists.
pub(super) const LOG: &str = "machine.log";

const RECORD: &str = "machine.record";

/// The environment variable that marks all that runs on a machine: the machine's directory.
pub(super) const MARK: &str = "SKYWARD_MACHINE";

/// The longest frame in bytes. Frames hold a few paths and keys; more is not one of ours.
const MOST: u32 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_when_it_is_whole_and_garbage_is_an_error() {
        let sent = MachineUp::Failed(String::from("no"));
        let bytes = frame(&sent).unwrap();
        for length in 0..bytes.len() {
            assert_eq!(parse::<MachineUp>(&bytes[..length]).unwrap(), None, "{length}");
        }
        assert_eq!(parse(&bytes).unwrap(), Some(sent));
        assert!(parse::<MachineUp>(b"\xff\xff\xff\xffgarbage").is_err());
        assert!(parse::<MachineUp>(b"\0\0\0\x01\xc1").is_err());
    }
}
