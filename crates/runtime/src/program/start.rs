//! What a worker is told when it starts, on the standard input of its SSH command, and what it
//! answers. Keys travel this way alone: never as arguments, environment variables or files.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::link::Identity;
use crate::model::{Accelerator, End, Epoch, Executor, Incarnation, Notice, PoolId, Rank, Retention, Secret};

/// Everything that a worker needs to know, written as one frame of MessagePack after its length in
/// four bytes, big endian.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerStart {
    /// The pool that it belongs to.
    pub pool: PoolId,
    /// Its place in the pool.
    pub rank: Rank,
    /// The name of this life.
    pub incarnation: Incarnation,
    /// The owner that started it. Older owners are refused.
    pub epoch: Epoch,
    /// The address to listen on; the port is chosen by the system and answered.
    pub listen: IpAddr,
    /// Its certificate and key, and the pool's authority.
    pub identity: Identity,
    /// The shared secret of the cluster's handshake, inside the mutual TLS.
    pub cookie: Secret<String>,
    /// How long to live without a renewal.
    pub lease: Duration,
    /// How to end the machine.
    pub end: End,
    /// How it is heard that the machine will be taken.
    #[serde(default)]
    pub notice: Notice,
    /// How many tasks run at once.
    pub slots: u32,
    /// What they run in.
    pub executor: Executor,
    /// Whether a task's process runs the next one too.
    pub reuse: bool,
    /// How much is kept of what was not taken.
    #[serde(default)]
    pub retention: Retention,
    /// How long a task's process may take to end when it is told to, before it is killed.
    pub kill: Duration,
    /// How long a silent client is waited for before its link counts as broken.
    pub detect: Duration,
    /// How long running tasks may finish when the worker drains.
    pub drain: Duration,
    /// How long the streams that one call takes may arrive apart.
    pub inputs: Duration,
    /// The accelerators of its machine.
    #[serde(default)]
    pub accelerators: Vec<Accelerator>,
    /// What its functions may ask for by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret<String>>,
}

/// A worker's answer on its standard output, one frame like the above. After it the worker detaches
/// itself from the SSH command's streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerUp {
    /// It listens.
    Listening {
        /// The UDP port of its QUIC endpoint.
        port: u16,
        /// The TCP port on its loopback, for who comes through SSH.
        tcp: u16,
        /// Its process.
        pid: u32,
    },
    /// It could not start, in words that say what to do.
    Failed(String),
}
