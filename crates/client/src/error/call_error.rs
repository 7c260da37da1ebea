//! Why a call has no value.

use std::error::Error as StdError;
use std::fmt;

use skyward_runtime::journal::JournalError;
use skyward_runtime::model::{Crash, KeyError, Panic, Rank, Timeout};
use skyward_runtime::tasks::{Lost, Undone};

use super::{Error, Words};
use crate::Never;
use crate::bounds::TaskFailure;
use crate::codec::Decoding;

/// Why a call has no value: the function's own error, or one of the ways in which running it on
/// another machine can fail. Infrastructure failures were retried before they are reported here; a
/// function's own failure only as often as [`Call::retries`](crate::Call::retries) says.
///
/// ```
/// use skyward::CallError;
///
/// fn judge(outcome: Result<f64, CallError<String>>) -> String {
///     match outcome {
///         Ok(loss) => format!("loss {loss}"),
///         Err(CallError::Task(own)) => format!("the function failed: {own}"),
///         Err(CallError::Panicked(panic)) => format!("it {panic}"),
///         Err(CallError::TimedOut(late)) => format!("nothing after {:?}", late.after),
///         Err(other) => other.to_string(),
///     }
/// }
/// assert_eq!(judge(Err(CallError::Task("diverged".into()))), "the function failed: diverged");
/// ```
#[non_exhaustive]
pub enum CallError<E = Never> {
    /// The function returned this error.
    Task(E),
    /// The function panicked.
    Panicked(Box<Panic>),
    /// The process that it ran in ended before it did: it aborted, exited, or was killed. Only with
    /// [`Executor::Process`](crate::Executor).
    Crashed(Box<Crash>),
    /// It did not finish in its time. With [`Executor::Process`](crate::Executor) it has its last output, which tells
    /// where it was stuck.
    TimedOut(Box<Timeout>),
    /// The machines that it ran on were lost, more often than it may be retried.
    Lost(Box<Lost>),
    /// It was cancelled on its way, because the pool drains or its caller is gone.
    Cancelled,
    /// It was sent to a node that the pool does not have.
    NoSuchNode {
        /// Where it was sent.
        rank: Rank,
        /// How many nodes the pool has.
        nodes: u32,
    },
    /// It was sent to every node, and none is ready; or no node could be had for it.
    NoNodes,
    /// An argument, the value or the error cannot be encoded, or is larger than a link carries. In the
    /// words of the encoder or the link.
    Unencodable(String),
    /// What arrived, here or there, cannot be decoded. The decoder's words.
    Undecodable(String),
    /// Its [key](crate::Call::key) cannot be used: it is empty or too long, another call has it that is not over,
    /// or a node has something of another call under it.
    Key(KeyError),
    /// The pool is stopped, or was while the call was on its way.
    Stopped,
    /// This program stood still for so long that another one has the pool: who that is, and what to do. The pool's
    /// machines are left to it.
    Superseded(Box<JournalError>),
}

impl<E> CallError<E> {
    /// The function's own error.
    pub fn task(&self) -> Option<&E> {
        match self {
            Self::Task(error) => Some(error),
            _ => None,
        }
    }

    /// A standard error with the same words, for `anyhow` and others that ask for one.
    pub fn boxed(self) -> Box<dyn StdError + Send + Sync>
    where
        E: TaskFailure,
    {
        Error::from(self).boxed()
    }

    /// What came back when no value did.
    pub(crate) fn new(undone: Undone, decoding: Decoding<impl Sized, E>) -> Self {
        match undone {
            Undone::Failed(bytes) => decoding.error(&bytes).map_or_else(Self::Undecodable, Self::Task),
            Undone::Panicked(panic) => Self::Panicked(Box::new(panic)),
            Undone::Crashed(crash) => Self::Crashed(Box::new(crash)),
            Undone::TimedOut(timeout) => Self::TimedOut(Box::new(timeout)),
            Undone::Lost(lost) => Self::Lost(Box::new(lost)),
            Undone::Cancelled => Self::Cancelled,
            Undone::NoSuchNode { rank, nodes } => Self::NoSuchNode { rank, nodes },
            Undone::NoNodes => Self::NoNodes,
            Undone::Unencodable(reason) => Self::Unencodable(reason),
            Undone::Undecodable(reason) => Self::Undecodable(reason),
            Undone::Key(error) => Self::Key(error),
            Undone::Stopped => Self::Stopped,
            Undone::Superseded(by) => Self::Superseded(by),
        }
    }

    /// In words, outermost message first.
    pub(crate) fn words(&self) -> Vec<String>
    where
        E: 'static,
    {
        match self {
            Self::Task(error) => Words::of(error),
            other => vec![Infrastructure(other).to_string()],
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(error) => error.fmt(f),
            other => write!(f, "{}", Infrastructure(other)),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(error) => error.fmt(f),
            other => write!(f, "{}", Infrastructure(other)),
        }
    }
}

/// Everything but the function's own error, whose words need nothing of `E`.
struct Infrastructure<'a, E>(&'a CallError<E>);

impl<E> fmt::Display for Infrastructure<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CallError::Task(_) => f.write_str("the function failed"),
            CallError::Panicked(panic) => write!(f, "the function {panic}"),
            CallError::Crashed(crash) => write!(f, "the function's process {crash}"),
            CallError::TimedOut(timeout) => write!(f, "the call {timeout}"),
            CallError::Lost(lost) => {
                match lost.rank {
                    Some(rank) => write!(f, "the call was lost with node {rank}")?,
                    None => f.write_str("the call was lost")?,
                }
                let Lost { reason, attempts, .. } = &**lost;
                write!(f, " (attempt {attempts}): {reason}; send it again if it may run twice")
            }
            CallError::Cancelled => f.write_str("the call was cancelled before it finished; send it again"),
            CallError::NoSuchNode { rank, nodes } => write!(
                f,
                "there is no node {rank}: the pool has {nodes}, counted from 0; start it with more nodes"
            ),
            CallError::NoNodes => {
                f.write_str("no node of the pool is ready, and none could be had for the call (a broadcast makes no pool grow): `compute.explain()` says why; wait for one, or `resize`")
            }
            CallError::Unencodable(reason) => write!(f, "the call or its outcome cannot be sent: {reason}"),
            CallError::Undecodable(reason) => write!(
                f,
                "the call or its outcome cannot be decoded: {reason}; its Deserialize implementation must \
                 accept what Serialize writes"
            ),
            CallError::Key(error) => write!(f, "the call's key cannot be used: {error}"),
            CallError::Stopped => f.write_str("the pool is stopped; start another one"),
            CallError::Superseded(by) => by.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skyward_runtime::journal::Successor;
    use skyward_runtime::model::Epoch;

    use super::*;

    #[test]
    fn each_way_to_fail_says_what_happened() {
        let lost = Lost { rank: Some(Rank(2)), reason: "the link broke".into(), attempts: 4 };
        let panic = Panic { message: "boom".into(), place: Some("a.rs:1:2".into()) };
        let crash = Crash { signal: Some(6), ..Crash::default() };
        let by = Successor::Unknown;
        let taken = JournalError::Superseded { pool: "p".into(), epoch: Epoch(1), by };
        for (error, words) in [
            (CallError::Task("diverged".to_owned()), "diverged"),
            (CallError::Panicked(Box::new(panic)), "the function panicked at a.rs:1:2: boom"),
            (
                CallError::Crashed(Box::new(crash)),
                "the function's process was ended by signal 6 (SIGABRT); it aborted itself: see what it said last",
            ),
            (
                CallError::TimedOut(Box::new(Timeout::new(Duration::from_secs(2)))),
                "the call did not finish in 2s; give it longer",
            ),
            (CallError::Lost(Box::new(lost)), "the call was lost with node 2 (attempt 4): the link broke"),
            (CallError::Cancelled, "the call was cancelled"),
            (CallError::NoSuchNode { rank: Rank(7), nodes: 4 }, "there is no node 7: the pool has 4"),
            (CallError::NoNodes, "no node of the pool is ready"),
            (CallError::Unencodable("x".into()), "the call or its outcome cannot be sent: x"),
            (CallError::Undecodable("x".into()), "the call or its outcome cannot be decoded: x"),
            (
                CallError::Key(KeyError::Unfit { length: 0 }),
                "the call's key cannot be used: a key has 1 to 512",
            ),
            (CallError::Stopped, "the pool is stopped"),
            (CallError::Superseded(Box::new(taken)), "pool p was taken over by another program"),
        ] {
            assert!(error.to_string().starts_with(words), "{error} should start with {words}");
        }
    }
}
