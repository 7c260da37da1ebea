//! What passes between the provider and its machines: frames over the pipes at the start, and the
//! record that a machine leaves in its directory for whoever looks later.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skyward_runtime::program::{FrameError, encode_order};

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
    /// Whether its SSH server forwards connections.
    pub(super) forwards: bool,
    /// How long to take to boot.
    pub(super) boot_delay: Duration,
    /// How long after that to die.
    pub(super) die_after: Option<Duration>,
    /// Where its SSH server listens.
    pub(super) listen: SocketAddr,
    /// It is the first process of a container, and ends with it: its directory is the home of the user that it runs
    /// as, nobody reads what it answers, and nothing of it need be removed.
    pub(super) is_container: bool,
}

/// What the first process of a container is told, as a frame for its standard input. Nothing of it is secret.
pub(crate) fn container_order(authorized: &str, lease: Duration, port: u16) -> Result<Vec<u8>, FrameError> {
    encode_order(&MachineStart {
        directory: PathBuf::new(),
        above: Vec::new(),
        authorized: authorized.to_owned(),
        lease,
        forwards: true,
        boot_delay: Duration::ZERO,
        die_after: None,
        // All that the container has: its ports are published on the loopback of the computer that it runs on.
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        is_container: true,
    })
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

fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    rmp_serde::to_vec(value).map_err(io::Error::other)
}

/// The machine's log in its directory: its standard error. The machine holds a lock on it for as long
/// as it lives, from before its process exists.
pub(super) const LOG: &str = "machine.log";

const RECORD: &str = "machine.record";

/// The environment variable that marks all that runs on a machine: the machine's directory.
pub(super) const MARK: &str = "SKYWARD_MACHINE";

/// Where the first process of a container says by which key its SSH server is known, below its home: an OpenSSH public
/// key line.
pub(crate) const CONTAINER_KEY: &str = ".skyward/host_key";

/// How a container is ended from inside: its first process has written its number down.
pub(crate) const CONTAINER_END: &str = "kill \"$(cat \"$HOME/.skyward/first\")\"";
