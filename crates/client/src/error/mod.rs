//! What can go wrong, from three sides: [`CallError`] is what a caller matches on, [`Error`] is what a
//! program's `main` returns, [`Failure`] is what a function on a node returns when it has no error type
//! of its own.

mod call_error;
mod chain;
mod failure;
mod words;

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;

use crate::bounds::TaskFailure;

pub use call_error::CallError;
pub use failure::Failure;
pub use words::Words;

#[doc(hidden)]
pub use words::tiers;

/// A result whose error is [`Error`] unless another is given: what `main` returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What `main` returns: any error, with what it was caused by. `?` turns every [`CallError`],
/// [`Failure`], standard error, `anyhow::Error`, `&str` and `String` into it.
///
/// Both `Display` (one line) and `Debug` (a line for each cause, which is what a program whose `main`
/// fails prints) are for people. A function's own error is still there as a value:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use skyward::{CallError, Error};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Diverged { epoch: u32 }
///
/// let error = Error::from(CallError::Task(Diverged { epoch: 3 }));
/// assert_eq!(error.task::<Diverged>(), Some(&Diverged { epoch: 3 }));
/// ```
///
/// It does not implement `std::error::Error`, as nothing can that every such error turns into; use
/// [`Error::boxed`] where one is asked for.
pub struct Error {
    messages: Vec<String>,
    cause: Cause,
}

enum Cause {
    /// A function's own error, of any type.
    Task(Box<dyn Any + Send + Sync>),
    /// Another error.
    Other(Box<dyn StdError + Send + Sync>),
    /// Nothing but text.
    Text,
}

impl Error {
    /// Says above it what was being done.
    #[must_use]
    pub fn context(mut self, message: impl fmt::Display) -> Self {
        self.messages.insert(0, message.to_string());
        self
    }

    /// The own error of the function that failed, when its type is `E`.
    pub fn task<E: 'static>(&self) -> Option<&E> {
        match &self.cause {
            Cause::Task(error) => error.downcast_ref(),
            Cause::Other(_) | Cause::Text => None,
        }
    }

    /// The standard error that this one was made from, when its type is `E`.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        match &self.cause {
            Cause::Other(error) => error.downcast_ref(),
            Cause::Task(_) | Cause::Text => None,
        }
    }

    /// The messages, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(String::as_str)
    }

    /// A standard error with the same words, for `anyhow` and others that ask for one.
    pub fn boxed(self) -> Box<dyn StdError + Send + Sync> {
        Box::new(Boxed(self))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chain::line(&self.messages, f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chain::lines(&self.messages, f)
    }
}

impl<X: Into<Box<dyn StdError + Send + Sync>>> From<X> for Error {
    fn from(error: X) -> Self {
        let error = error.into();
        Self { messages: chain::messages(&*error), cause: Cause::Other(error) }
    }
}

impl<E: TaskFailure> From<CallError<E>> for Error {
    fn from(error: CallError<E>) -> Self {
        let messages = error.words();
        let cause = match error {
            CallError::Task(error) => Cause::Task(Box::new(error)),
            _ => Cause::Text,
        };
        Self { messages, cause }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self { messages: failure.clone().into_messages(), cause: Cause::Task(Box::new(failure)) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from_messages(error.messages)
    }
}

/// An [`Error`] where a standard one is asked for. It says its whole chain itself.
struct Boxed(Error);

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for Boxed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_people_use_as_an_error_turns_into_it() {
        fn text() -> crate::Result<()> {
            Err("just text")?
        }
        fn standard() -> crate::Result<u32> {
            Ok("x".parse::<u32>()?)
        }
        fn anyhow() -> crate::Result<()> {
            Err(anyhow::anyhow!("inner").context("outer"))?
        }
        fn failure() -> crate::Result<()> {
            Err(Failure::new("inner").context("outer"))?
        }
        fn call() -> crate::Result<()> {
            Err(CallError::<crate::Never>::Cancelled)?
        }
        let words = |it: crate::Result<()>| it.expect_err("an error").to_string();
        assert_eq!(words(text()), "just text");
        assert_eq!(words(standard().map(drop)), "invalid digit found in string");
        assert_eq!(words(anyhow()), "outer: inner");
        assert_eq!(words(failure()), "outer: inner");
        assert_eq!(words(call()), CallError::<crate::Never>::Cancelled.to_string());
        assert!(standard().expect_err("no number").downcast_ref::<std::num::ParseIntError>().is_some());
        assert_eq!(failure().expect_err("a failure").task::<Failure>().map(|it| it.chain().count()), Some(2));
    }

    #[test]
    fn debug_is_what_a_person_reads_when_main_fails() {
        let error = Error::from("the disk is full").context("failed to write");
        assert_eq!(format!("{error:?}"), "failed to write\n\nCaused by:\n    0: the disk is full");
        assert_eq!(error.boxed().to_string(), "failed to write: the disk is full");
    }
}
