//! A worker as a member of the cluster: the commands that it takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorRef, RpcReplyPort};
use tokio::sync::watch;

use super::error::ControlError;
use super::messages::{ControlMessage, DrainOrder, Drained, LeaseState, Packed, Renewal, Taken};
use super::presence::Presence;
use crate::model::{Epoch, Incarnation, Roster};

/// A worker that has joined. Clones are the same member. It is down for good when its link is over;
/// joining again over a new link gives another one.
#[derive(Clone, Debug)]
pub struct Member {
    incarnation: Incarnation,
    epoch: Epoch,
    actor: ActorRef<ControlMessage>,
    presence: watch::Receiver<Presence>,
}

/// Numbers of renewals grow over all members of this process, so that those after a redial are newer
/// than those before it.
static RENEWALS: AtomicU64 = AtomicU64::new(1);

/// How much of the time for a drain is left for the way there and back, at most.
const WAY: Duration = Duration::from_secs(5);

/// How long a worker holds the question whether its machine will be taken. Asking costs next to nothing, and an
/// answer that was lost is asked for again after this.
const WATCH: Duration = Duration::from_secs(60);

impl Member {
    pub(super) const fn new(
        incarnation: Incarnation,
        epoch: Epoch,
        actor: ActorRef<ControlMessage>,
        presence: watch::Receiver<Presence>,
    ) -> Self {
        Self { incarnation, epoch, actor, presence }
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// When the worker does not answer in time, has lapsed, or has a newer owner.
    pub async fn renew(&self, deadline: Duration) -> Result<(), ControlError> {
        let renewal = Renewal { epoch: self.epoch, number: RENEWALS.fetch_add(1, Ordering::Relaxed) };
        match self.ask(|port| ControlMessage::Renew(Packed::new(renewal), port), deadline).await? {
            LeaseState::Held => Ok(()),
            LeaseState::Lapsed => Err(ControlError::Lapsed { incarnation: self.incarnation.clone() }),
            LeaseState::NotOwner { owner } => Err(ControlError::NotOwner { owner }),
        }
    }

    /// Has the worker take no more calls, and waits for those that run. The worker is given four fifths
    /// of `deadline`, or all but 5 s where that is more: the rest is for the way. Async tasks that are still
    /// running then are cancelled. `taken`: because its machine will be taken then, which its functions are told.
    ///
    /// # Errors
    /// When the worker does not answer within `deadline`.
    pub async fn drain(&self, deadline: Duration, taken: bool) -> Result<Drained, ControlError> {
        let taken = taken.then_some(deadline);
        let order = DrainOrder { epoch: self.epoch, within: deadline - (deadline / 5).min(WAY), taken };
        self.ask(|port| ControlMessage::Drain(Packed::new(order), port), deadline).await
    }

    /// Tells the worker who is in the pool.
    ///
    /// # Errors
    /// When the worker does not answer in time.
    pub async fn introduce(&self, roster: Roster, deadline: Duration) -> Result<(), ControlError> {
        self.ask(|port| ControlMessage::Peers(Packed::new(roster), port), deadline).await.map(|_| ())
    }

    /// Resolves when the worker says that its machine will be taken; never otherwise.
    pub async fn taken(&self, deadline: Duration) -> Taken {
        loop {
            let asked =
                self.ask(|port| ControlMessage::Watch(Packed::new(WATCH), port), WATCH + deadline).await;
            match asked {
                Ok(Some(taken)) => return taken,
                Ok(None) => {}
                // Whoever waits for this waits for the end of the link too.
                Err(_) if self.is_down() => std::future::pending().await,
                Err(error) => {
                    tracing::debug!(%error, "a worker did not say whether its machine will be taken");
                    tokio::time::sleep(deadline).await;
                }
            }
        }
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn ping(&self, deadline: Duration) -> Result<(), ControlError> {
        self.ask(|port| ControlMessage::Ping(Packed::new(0), port), deadline).await.map(|_| ())
    }

    /// Resolves when the worker is no member any more.
    pub async fn down(&self) {
        let mut presence = self.presence.clone();
        // An error means that the cluster was dropped: down as well.
        let _ = presence.wait_for(Presence::is_gone).await;
    }

    /// Whether the worker is a member no more.
    pub fn is_down(&self) -> bool {
        self.presence.borrow().is_gone()
    }

    /// The life of the worker that this is.
    pub const fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    /// One call with a deadline of its own. Ractor reports a time-out sometimes as a lost sender;
    /// what has really happened is asked of the session.
    async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(RpcReplyPort<Packed<T>>) -> ControlMessage,
        deadline: Duration,
    ) -> Result<T, ControlError> {
        let left = || ControlError::Left { incarnation: self.incarnation.clone() };
        let late = || ControlError::Late { incarnation: self.incarnation.clone(), after: deadline };
        if self.is_down() {
            return Err(left());
        }
        let answered = tokio::select! {
            answered = self.actor.call(message, Some(deadline)) => answered,
            () = self.down() => return Err(left()),
        };
        match answered {
            Ok(CallResult::Success(answer)) => Ok(answer.open()?),
            Ok(CallResult::Timeout | CallResult::SenderError) if !self.is_down() => Err(late()),
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Err(left()),
        }
    }
}
