//! Who the worker's client is: the newest owner, and its newest link.

use std::sync::{Arc, Mutex, PoisonError};

use skyward_runtime::lease::Owner;
use skyward_runtime::link::{Cause, Hello, PROTOCOL, Refusal, Session};
use skyward_runtime::model::{Epoch, Incarnation, PoolId};

use crate::desk::Desk;

/// What a client must know to be let in.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) registry: [u8; 32],
    pub(crate) pool: PoolId,
    pub(crate) incarnation: Incarnation,
}

/// The one place for a client.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    owner: Owner,
    session: Option<(Arc<Session>, Desk)>,
}

impl Seat {
    pub(crate) const fn new(owner: Epoch) -> Self {
        Self { taken: Mutex::new(Taken { owner: Owner::new(owner), session: None }) }
    }

    /// Whether this epoch is not behind; a newer one becomes the owner.
    pub(crate) fn claim(&self, epoch: Epoch) -> Result<(), Epoch> {
        self.with(|it| it.owner.claim(epoch))
    }

    /// Gives the seat to a session; the one before is closed, and from then on nothing that is still read of
    /// it counts. `seated` is called before anything of the new one is read. Returns whether it has the seat: a
    /// newer owner keeps it.
    pub(crate) fn take(&self, session: &Arc<Session>, desk: &Desk, seated: impl FnOnce(Epoch)) -> bool {
        let epoch = session.hello().epoch;
        let (leaves, has_it) = self.with(|it| {
            if it.owner.claim(epoch).is_err() {
                return (Some(Arc::clone(session)), false);
            }
            let before = it.session.replace((Arc::clone(session), desk.clone()));
            if let Some((_, desk)) = &before {
                desk.close();
            }
            seated(epoch);
            (before.map(|(session, _)| session), true)
        });
        if let Some(session) = leaves {
            session.close(Cause::Replaced, "the pool's client has linked again");
        }
        has_it
    }

    /// The session is over.
    pub(crate) fn leave(&self, session: &Arc<Session>) {
        self.with(|it| {
            if it.session.as_ref().is_some_and(|(seated, _)| Arc::ptr_eq(seated, session)) {
                it.session = None;
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Taken) -> T) -> T {
        act(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Terms {
    /// Whether a client that says this means us.
    pub(crate) fn check(&self, hello: &Hello) -> Result<(), Refusal> {
        if hello.protocol != PROTOCOL {
            return Err(Refusal::Protocol { worker: PROTOCOL, client: hello.protocol });
        }
        if hello.pool != self.pool {
            return Err(Refusal::Pool { worker: self.pool.clone() });
        }
        if hello.incarnation != self.incarnation {
            return Err(Refusal::Incarnation { worker: self.incarnation.clone() });
        }
        if hello.registry != self.registry {
            return Err(Refusal::registry(self.registry, hello.registry));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_taken_at_its_word_or_told_why_not() {
        let terms = Terms { registry: [1; 32], pool: PoolId::new("p"), incarnation: Incarnation::new("w") };
        let right = Hello {
            protocol: PROTOCOL,
            registry: [1; 32],
            program: None,
            pool: PoolId::new("p"),
            incarnation: Incarnation::new("w"),
            epoch: Epoch(1),
        };
        for (hello, expected) in [
            (right.clone(), Ok(())),
            (Hello { protocol: 9, ..right.clone() }, Err(Refusal::Protocol { worker: PROTOCOL, client: 9 })),
            (
                Hello { pool: PoolId::new("q"), ..right.clone() },
                Err(Refusal::Pool { worker: PoolId::new("p") }),
            ),
            (
                Hello { incarnation: Incarnation::new("v"), ..right.clone() },
                Err(Refusal::Incarnation { worker: Incarnation::new("w") }),
            ),
            (Hello { registry: [2; 32], ..right }, Err(Refusal::registry([1; 32], [2; 32]))),
        ] {
            assert_eq!(terms.check(&hello), expected);
        }
    }
}
