//! Many calls of one type, whose results belong together.

use std::fmt;
use std::time::{Duration, Instant};

use skyward_runtime::model::{Key, KeyError};

use super::crew::Crew;
use super::window::{Collected, Window};
use super::{Call, Dispatch, Results, Route, sealed};
use crate::Never;
use crate::error::CallError;

/// Many calls as one value. Made by [`gather`].
#[must_use = "a gather does nothing until it is sent: `gather(calls) >> &compute`"]
pub struct Gather<T, E = Never> {
    calls: Vec<Call<T, E>>,
    ordered: bool,
    timeout: Option<Duration>,
    key: Option<Result<Key, KeyError>>,
}

/// Gathers calls: `gather(calls) >> &compute` gives all their values in order, and the first error
/// cancels the rest; [`compute.stream(gather(calls))`](crate::Compute::stream) gives each result as it
/// is there.
///
/// The calls are made at once, so they may borrow while they are made; sending them keeps as
/// many in flight as the nodes can be given, so a million calls cost their arguments and no more.
///
/// ```
/// # use skyward::gather;
/// #[skyward::function]
/// async fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     let squares = gather((0..5).map(square)).local().await?;
///     assert_eq!(squares, [0, 1, 4, 9, 16]);
///     Ok(())
/// }
/// ```
pub fn gather<T, E>(calls: impl IntoIterator<Item = Call<T, E>>) -> Gather<T, E> {
    Gather { calls: calls.into_iter().collect(), ordered: false, timeout: None, key: None }
}

impl<T, E> Gather<T, E> {
    /// Has a stream give results in the order of the calls instead of as they are there. A result
    /// whose turn has not come takes one of the places of what is in flight.
    pub fn ordered(mut self) -> Self {
        self.ordered = true;
        self
    }

    /// Gives all calls together this long, counted from when the first is sent, waiting included. A call
    /// is given what is left of it when its turn comes, or its own time-out if that is shorter; what does
    /// not finish is cancelled and ends with [`CallError::TimedOut`]. Default: none, each call has its own.
    /// [`Group::timeout`](crate::Group::timeout) means the same.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    /// Gives each call the key of the gather with its place in it behind: those of `"sweep"` are `"sweep[0]"`,
    /// `"sweep[1]"` and so on. The place counts from 0, in the order in which the calls were given. A call that
    /// has a [key](Call::key) of its own keeps that.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # #[skyward::function]
    /// # async fn train(epochs: u32) -> f64 { f64::from(epochs) }
    /// # async fn run(compute: &Compute) -> skyward::Result<()> {
    /// let losses = (gather((1..=100).map(train)).key("sweep") >> compute).await?;
    /// # drop(losses);
    /// # Ok(()) }
    /// ```
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(Key::new(key));
        self
    }

    /// How many calls there are.
    pub const fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there are no calls.
    pub const fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

impl<T: Send + 'static, E: Send + 'static> Gather<T, E> {
    /// Runs the calls in this process, as many at once as it has cores; see [`Call::local`].
    pub fn local(self) -> Dispatch<Self> {
        Dispatch::new(self, Route::Here)
    }

    /// Runs the calls in this process and streams the results, as
    /// [`Compute::stream`](crate::Compute::stream) does on nodes.
    pub fn local_stream(self) -> Results<T, E> {
        self.stream(Route::Here)
    }

    fn starts(self) -> Starts<T, E> {
        let (calls, timeout, key) = (self.calls.into_iter().enumerate(), self.timeout, self.key);
        Starts { calls, timeout, began: None, key }
    }

    pub(crate) fn stream(self, route: Route) -> Results<T, E> {
        let (ordered, crew) = (self.ordered, Crew::new(route.as_one()));
        Results::new(Window::new(self.starts(), crew, move || route.in_flight(), ordered))
    }
}

impl<T: Send + 'static, E: Send + 'static> sealed::Start for Gather<T, E> {
    type Output = Result<Vec<T>, CallError<E>>;
    type Future = Collected<Starts<T, E>, Crew<T, E>, T>;

    fn start(self, route: &Route) -> Self::Future {
        let (count, whole) = (self.calls.len(), route.clone());
        Collected::new(self.starts(), Crew::new(route.as_one()), count, move || whole.in_flight())
    }
}

/// The calls, each as it is when its turn comes to start.
pub struct Starts<T, E> {
    calls: std::iter::Enumerate<std::vec::IntoIter<Call<T, E>>>,
    timeout: Option<Duration>,
    /// When the first was started, from which the time of all of them counts.
    began: Option<Instant>,
    key: Option<Result<Key, KeyError>>,
}

impl<T: Send + 'static, E: Send + 'static> Iterator for Starts<T, E> {
    type Item = Call<T, E>;

    fn next(&mut self) -> Option<Self::Item> {
        let (index, call) = self.calls.next()?;
        let left = self.timeout.map(|timeout| {
            let began = *self.began.get_or_insert_with(Instant::now);
            timeout.saturating_sub(began.elapsed())
        });
        let key = self.key.clone().map(|it| it.map(|key| key.at(index)));
        Some(call.at_most(left).or_key(key))
    }
}

impl<T, E> Clone for Gather<T, E> {
    fn clone(&self) -> Self {
        Self {
            calls: self.calls.clone(),
            ordered: self.ordered,
            timeout: self.timeout,
            key: self.key.clone(),
        }
    }
}

impl<T, E> fmt::Debug for Gather<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gather({} calls)", self.calls.len())
    }
}
