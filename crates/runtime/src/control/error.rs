//! Why something on the control plane failed.

use std::time::Duration;

use rustix::io::Errno;

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
    #[error("failed to start the control plane: {reason}{}", advice(reason))]
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

/// What a person can do about it. Ractor gives the system's error as words alone.
fn advice(reason: &str) -> &'static str {
    let files = [Errno::MFILE, Errno::NFILE].map(|it| std::io::Error::from(it).to_string());
    let is_of_files = |it: &String| it.split(" (").next().is_some_and(|words| reason.contains(words));
    if files.iter().any(is_of_files) { "; raise the limit of open files (`ulimit -n`)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_open_files_are_told_with_a_way_out() {
        let told = |reason: &str| ControlError::Start { reason: reason.to_owned() }.to_string();
        let files = std::io::Error::from(Errno::MFILE).to_string();
        assert!(told(&format!("failed to listen: {files}")).ends_with("(`ulimit -n`)"), "{files}");
        assert!(told("something else").ends_with("something else"));
    }
}
