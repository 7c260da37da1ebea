//! What a worker's control actor hears and answers. Both sides share it; variants are matched by name
//! on the wire, so they may be added and never renamed.

use std::time::Duration;

use ractor::{BytesConvertable, RpcReplyPort};
use ractor_cluster::RactorClusterMessage;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::{Epoch, Roster};

/// What the control actor hears.
#[derive(Debug, RactorClusterMessage)]
pub enum ControlMessage {
    /// The owner still wants this machine.
    #[rpc]
    Renew(Packed<Renewal>, RpcReplyPort<Packed<LeaseState>>),
    /// Take nothing new, and answer when what runs is over.
    #[rpc]
    Drain(Packed<DrainOrder>, RpcReplyPort<Packed<Drained>>),
    /// Answer with the same number.
    #[rpc]
    Ping(Packed<u64>, RpcReplyPort<Packed<u64>>),
    /// Who is in the pool now. Answered with the roster's number when it was taken in or is old news.
    #[rpc]
    Peers(Packed<Roster>, RpcReplyPort<Packed<u64>>),
    /// Answer when the machine is to be taken, or when this time is over.
    #[rpc]
    Watch(Packed<Duration>, RpcReplyPort<Packed<Option<Taken>>>),
}

/// The machine of a worker will be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// In how long from when this is said.
    pub within: Duration,
    /// What said so.
    pub reason: String,
}

/// A renewal of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Who renews. An older owner than the worker's is not listened to.
    pub epoch: Epoch,
    /// Grows with each renewal, so that one that was delayed does not count as new.
    pub number: u64,
}

/// The worker's answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseState {
    /// The lease holds.
    Held,
    /// It has lapsed, for good.
    Lapsed,
    /// The pool has a newer owner; nothing was renewed.
    NotOwner {
        /// That owner.
        owner: Epoch,
    },
}

/// An order to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainOrder {
    /// Who orders.
    pub epoch: Epoch,
    /// How long running tasks may go on; async ones are then cancelled.
    pub within: Duration,
    /// In how long the machine will be taken, if it is that for which it drains.
    pub taken: Option<Duration>,
}

/// How draining ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// How many tasks were still running when the time was over.
    pub unfinished: u32,
}

/// A value as MessagePack. Bytes from outside that are no such value are kept as [`Garbled`], because
/// the trait by which ractor converts messages cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<T>(Result<T, Garbled>);

/// A control message that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a control message cannot be decoded: the two sides are of different versions")]
pub struct Garbled;

impl<T> Packed<T> {
    /// Packs a value.
    pub const fn new(value: T) -> Self {
        Self(Ok(value))
    }

    /// The value.
    ///
    /// # Errors
    /// When it came from outside and is none.
    pub fn open(self) -> Result<T, Garbled> {
        self.0
    }
}

impl<T: Serialize + DeserializeOwned> BytesConvertable for Packed<T> {
    fn into_bytes(self) -> Vec<u8> {
        // No bytes are no MessagePack: the other side reads them as garbled.
        self.0.ok().and_then(|it| rmp_serde::to_vec_named(&it).ok()).unwrap_or_default()
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(rmp_serde::from_slice(&bytes).map_err(|_| Garbled))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn garbage_is_garbled_or_a_value_and_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let _ = Packed::<Renewal>::from_bytes(bytes.clone()).open();
            let _ = Packed::<LeaseState>::from_bytes(bytes.clone()).open();
            let _ = Packed::<DrainOrder>::from_bytes(bytes.clone()).open();
            let _ = Packed::<Roster>::from_bytes(bytes.clone()).open();
            let _ = Packed::<Option<Taken>>::from_bytes(bytes.clone()).open();
            let _ = Packed::<Drained>::from_bytes(bytes).open();
        }

        #[test]
        fn a_renewal_survives_the_wire(epoch: u64, number: u64) {
            let renewal = Renewal { epoch: Epoch(epoch), number };
            let bytes = Packed::new(renewal).into_bytes();
            prop_assert_eq!(Packed::<Renewal>::from_bytes(bytes).open(), Ok(renewal));
        }
    }

    #[test]
    fn what_was_garbled_stays_garbled() {
        let garbled = Packed::<Renewal>::from_bytes(vec![0xc1]);
        assert_eq!(garbled.open(), Err(Garbled));
        assert_eq!(Packed::<Renewal>::from_bytes(garbled.into_bytes()).open(), Err(Garbled));
    }
}
