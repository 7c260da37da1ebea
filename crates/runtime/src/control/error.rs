//! Why something on the control plane failed.

use std::time::Duration;

use super::messages::Garbled;
use crate::link::{IdentityError, LinkError};
use crate::model::{Epoch, Incarnation};

/// What went wrong on the control plane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No answer in time. Ractor does not always tell a slow peer from one that is gone; the link does.
    #[error("{incarnation} did not answer a control call within {after:?}")]
    Late {
        /// Who was asked.
        incarnation: Incarnation,
        /// The deadline.
        after: Duration,
    },
    /// The worker is not a member any more.
    #[error("{incarnation} has left the cluster")]
    Left {
        /// Who left.
        incarnation: Incarnation,
    },
    /// The session came up without the worker's actor.
    #[error("{incarnation} joined without its control actor: link to it anew")]
    NotAMember {
        /// Who joined.
        incarnation: Incarnation,
    },
    /// The link is over.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The lease has lapsed, for good: the machine ends itself.
    #[error("the lease of {incarnation} has lapsed: its machine ends itself")]
    Lapsed {
        /// Whose lease.
        incarnation: Incarnation,
    },
    /// The pool has a newer owner.
    #[error("the pool has a newer owner (epoch {owner}): another process has attached to it")]
    NotOwner {
        /// The newest owner that the worker has seen.
        owner: Epoch,
    },
    /// The answer makes no sense.
    #[error(transparent)]
    Garbled(#[from] Garbled),
    /// This process cannot use its own certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// This process cannot run its side of the control plane.
    #[error("failed to start the control plane: {reason}")]
    Start {
        /// In ractor's words.
        reason: String,
    },
    /// The cluster was stopped.
    #[error("the control plane of this pool was stopped")]
    Stopped,
}

impl ControlError {
    /// Whether the same again, over a new link where this one is over, can help.
    pub const fn retry(&self) -> bool {
        match self {
            Self::Late { .. } | Self::Left { .. } | Self::NotAMember { .. } => true,
            Self::Link(error) => error.retry(),
            Self::Lapsed { .. }
            | Self::NotOwner { .. }
            | Self::Garbled(_)
            | Self::Identity(_)
            | Self::Start { .. }
            | Self::Stopped => false,
        }
    }
}
