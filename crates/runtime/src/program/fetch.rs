//! The program as what gets a file on a machine that has no worker yet: from other machines where one of them has it or
//! is getting it, else from the client, on whose SSH command's streams it speaks.
//!
//! ```text
//! client --FetchStart on stdin--> it --FetchUp on stdout--> the file was there: exit
//!                                                     `---> listens for others; client and it speak as `spread` says
//! the file is in its place --Have--> gives it on --standard input ends--> exit
//! ```

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::link::Identity;
use crate::model::{Epoch, Incarnation, PoolId};

/// What it is told on its standard input, as one frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchStart {
    /// The pool.
    pub pool: PoolId,
    /// The owner that started it.
    pub epoch: Epoch,
    /// Its certificate and key, and the pool's authority.
    pub identity: Identity,
    /// The name in its certificate, which all that fetch for the pool share: they let in each other, and nobody else.
    pub name: Incarnation,
    /// The address to listen on.
    pub listen: IpAddr,
    /// Where the file goes, below `$HOME`.
    pub path: String,
    /// SHA-256 of the file, in hexadecimal.
    pub hash: String,
    /// How long a silent machine is waited for before its link counts as broken.
    pub detect: Duration,
}

/// What it answers on its standard output, as one frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchUp {
    /// The file is there.
    Here,
    /// It is not, and others may ask for it at this UDP port.
    Listening {
        /// The port.
        port: u16,
    },
    /// It cannot get it, in words.
    Failed(String),
}
