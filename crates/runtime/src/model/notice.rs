//! How it is heard that a machine will be taken by the cloud that rented it out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the pool of a machine learns that its cloud is about to take it, chosen by its provider. Like
/// [`End`](super::End) it is data for the worker, which knows no cloud, and never carries an account's
/// credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// Nobody says so before it happens.
    #[default]
    None,
    /// A shell command that the worker runs again and again, as its own user. When it succeeds and its first line
    /// is a number or a moment, the machine will be taken: in so many seconds, or at that moment, as in
    /// `2026-03-01T08:22:00Z`. Whatever else it does or says means nothing. Of the worker's environment it sees `PATH`
    /// and `HOME` alone, and its first 4 KiB are read: what writes more is cut off.
    Command {
        /// For example `curl -sf http://169.254.169.254/latest/meta-data/spot/termination-time`.
        shell: String,
        /// The pause between two runs, 1 s at least. A run that takes longer than 10 s is ended, with all that it
        /// has started and has not made a group of its own.
        every: Duration,
    },
    /// The provider's `describe` says so by [`InstanceState::Leaving`](super::InstanceState::Leaving): it is asked
    /// this often.
    Described {
        /// The pause between two questions.
        every: Duration,
    },
}
