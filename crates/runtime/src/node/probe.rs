//! What is asked of a node to see whether it is well, and what it says.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::health::Heard;
use crate::link::{CallRequest, Link, LinkError, Outcome};
use crate::model::{Attempt, FunctionId, Health, TaskId};
use crate::payload::Payload;

/// A function of this program that returns when the node that it runs on is well, and fails when it is not.
#[derive(Clone)]
pub struct Probe {
    /// The function.
    pub function: FunctionId,
    /// Its arguments, encoded.
    pub arguments: Payload,
    /// When it is called.
    pub terms: Health,
    /// Puts its own error, which is encoded, into words.
    pub words: Words,
}

/// Puts an encoded error into words.
pub type Words = Arc<dyn Fn(&Bytes) -> String + Send + Sync>;

impl Probe {
    /// What the node at the other end of this link says.
    pub(super) async fn ask(self, link: Link, number: u64) -> Heard {
        let request = CallRequest {
            // No task has this number.
            task: TaskId(0),
            attempt: Attempt(0),
            function: self.function,
            turn: 0,
            remaining: Some(self.terms.timeout),
            key: None,
            arguments: self.arguments,
        };
        let late = format!("it said nothing within {:.1?}", self.terms.timeout);
        let said = match tokio::time::timeout(self.terms.timeout, link.probe(request)).await {
            Err(_) => Err(late),
            // That is for the link to say.
            Ok(Err(_)) if link.over().is_some() => return Heard::Lost { number },
            Ok(Err(error @ (LinkError::Garbled(_) | LinkError::TooLarge { .. }))) => Err(error.to_string()),
            Ok(Err(error)) => Err(format!("it could not be asked: {error}")),
            Ok(Ok(outcome)) => match outcome {
                Outcome::Returned(_) => Ok(()),
                Outcome::Failed(error) => Err((self.words)(&error)),
                Outcome::Panicked(panic) => Err(format!("it panicked: {}", panic.message)),
                Outcome::TimedOut(_) => Err(late),
                Outcome::NotStarted(reason) => Err(format!("it could not begin: {reason}")),
                Outcome::Undecodable(reason) | Outcome::Unencodable(reason) => Err(reason),
                Outcome::UnknownFunction => Err("the worker does not have this function".to_owned()),
                Outcome::Cancelled
                | Outcome::Draining
                | Outcome::Recalled
                | Outcome::Crashed(_)
                | Outcome::Unknown
                | Outcome::Differs
                | Outcome::Full => Err("it was not run".to_owned()),
            },
        };
        Heard::Answered { number, said }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("function", &self.function)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}
