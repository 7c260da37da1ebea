//! Work on its way that says what it cost.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use skyward_runtime::model::Usd;
use skyward_runtime::tasks::Meter;

use super::{Dispatch, Work, sealed};

/// A [`Dispatch`] that gives its output together with what it cost. Made by [`Dispatch::costed`].
#[must_use = "nothing is sent until this is awaited"]
pub struct Costed<W: Work> {
    dispatch: Dispatch<W>,
    meter: Meter,
}

impl<W: Work> Costed<W> {
    pub(super) const fn new(dispatch: Dispatch<W>, meter: Meter) -> Self {
        Self { dispatch, meter }
    }

    /// What it has cost until now; what still runs is counted when it ends.
    pub fn cost(&self) -> Usd {
        self.meter.total()
    }
}

impl<W: Work> Future for Costed<W> {
    type Output = (<W as sealed::Start>::Output, Usd);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.dispatch).poll(context).map(|output| (output, self.meter.total()))
    }
}

impl<W: Work> fmt::Debug for Costed<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Costed({:?}, {})", self.dispatch, self.cost())
    }
}
