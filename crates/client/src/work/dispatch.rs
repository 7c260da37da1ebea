//! Work on its way, as a future.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use skyward_runtime::tasks::Meter;

use super::{Costed, Group, Route, Settled, Work, sealed};
use crate::engine::InPlace;

/// Work that was sent somewhere: a future of its outcome. Like every future it is lazy: nothing is sent
/// until it is polled. It is `'static` and `Unpin`, so `tokio::spawn`, `select!` and `join_all` take it,
/// and it can be polled on any runtime or none.
///
/// Dropping it cancels: an async function at its next await; a blocking one goes on until it returns,
/// and keeps its slot until then. With [`Executor::Process`](crate::Executor) its process is told to end
/// at once (SIGTERM), with all that it has started, and is killed after [`Timing::kill`](crate::Timing).
#[must_use = "nothing is sent until this is awaited; `compute.spawn(…)` starts work in the background"]
pub struct Dispatch<W: Work> {
    state: State<W>,
}

enum State<W: Work> {
    Ready(W, Route),
    Running(InPlace<<W as sealed::Start>::Future>),
    Done,
}

impl<W: Work> Dispatch<W> {
    pub(crate) const fn new(work: W, route: Route) -> Self {
        Self { state: State::Ready(work, route) }
    }

    /// The same, with what it cost beside its output: the part of their nodes' time that its calls took, at
    /// the price that is paid, tries that were lost included. Calls side by side on a node share its time;
    /// what a node cost while it booted or was idle is in [`Compute::cost`](crate::Compute::cost) alone.
    ///
    /// Ask before it is polled: what was sent before is not counted. Work in this process costs nothing.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # #[skyward::function]
    /// # async fn train(epochs: u32) -> f64 { 1.0 / f64::from(epochs) }
    /// # async fn ask(compute: &Compute) -> skyward::Result<()> {
    /// let (loss, cost) = (train(10) >> compute).costed().await;
    /// println!("a loss of {} for {cost}", loss?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn costed(self) -> Costed<W> {
        let meter = Meter::default();
        let state = match self.state {
            State::Ready(work, route) => State::Ready(work, route.metered(&meter)),
            sent => sent,
        };
        Costed::new(Self { state }, meter)
    }
}

impl<C> Dispatch<Group<C>>
where
    Group<C>: Work,
    Settled<C>: Work,
    <Settled<C> as sealed::Start>::Future: From<<Group<C> as sealed::Start>::Future>,
{
    /// Waits for every call of the group, whatever becomes of the others, and gives each its own
    /// `Result` with its own error type. What already runs goes on.
    pub fn settle(self) -> Dispatch<Settled<C>> {
        Dispatch {
            state: match self.state {
                State::Ready(group, route) => State::Ready(group.settle(), route),
                State::Running(running) => State::Running(running.map(Into::into)),
                State::Done => State::Done,
            },
        }
    }
}

/// Neither the work nor its route is ever pinned, and the running future is `Unpin`.
impl<W: Work> Unpin for Dispatch<W> {}

impl<W: Work> Future for Dispatch<W> {
    type Output = <W as sealed::Start>::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().state;
        if matches!(state, State::Ready(..))
            && let State::Ready(work, route) = std::mem::replace(state, State::Done)
        {
            *state = State::Running(InPlace::new(work.start(&route)));
        }
        let State::Running(running) = state else { return Poll::Pending };
        match running.with(|it| Pin::new(it).poll(context)) {
            Some(Poll::Ready(output)) => {
                // What the output did not need (the rest of a group that failed) is cancelled here.
                *state = State::Done;
                Poll::Ready(output)
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl<W: Work> fmt::Debug for Dispatch<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Ready(..) => "Dispatch(not polled yet)",
            State::Running(_) => "Dispatch(running)",
            State::Done => "Dispatch(done)",
        })
    }
}
