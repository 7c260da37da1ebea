//! Many runs with a bounded number in flight. Knows nothing of calls, so that its rules are tested with
//! plain futures.

use std::collections::BTreeMap;
use std::iter::Enumerate;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use skyward_runtime::link::Cork;

/// What runs the items of a window.
pub trait Runs {
    /// What can be started.
    type Item;
    /// What comes of it.
    type Output;

    /// How many were started and not given out.
    fn count(&self) -> usize;

    /// Starts some, each told by its place.
    fn start(&mut self, items: impl Iterator<Item = (usize, Self::Item)>);

    /// The next that is over, in no order; `None` when none was started that is not given out.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Self::Output)>>;
}

/// Runs what a source yields, started in its order; a stream of the outputs, each with
/// its place in the source. At most `most` are started and not given out yet; it is asked each time, as
/// pools grow and shrink.
pub struct Window<I: Iterator, R: Runs<Item = I::Item>> {
    source: Enumerate<I>,
    most: Box<dyn Fn() -> usize + Send>,
    running: R,
    order: Order<R::Output>,
}

/// This part of a window is filled at once, when so much of it is free.
const FEW: usize = 8;

/// In which order outputs are given out.
enum Order<T> {
    /// As they end.
    Ended,
    /// As in the source. Outputs that are there before their turn wait here, and count as in flight, so
    /// that one slow run does not gather the outputs of a million that follow.
    Source { next: usize, waiting: BTreeMap<usize, T> },
}

impl<I: Iterator, R: Runs<Item = I::Item>> Window<I, R> {
    /// A window on a source. In the source's order or as they end.
    pub(super) fn new(
        source: I,
        running: R,
        most: impl Fn() -> usize + Send + 'static,
        ordered: bool,
    ) -> Self {
        let order = if ordered { Order::Source { next: 0, waiting: BTreeMap::new() } } else { Order::Ended };
        Self { source: source.enumerate(), most: Box::new(most), running, order }
    }

    fn fill(&mut self) {
        let waiting = match &self.order {
            Order::Ended => 0,
            Order::Source { waiting, .. } => waiting.len(),
        };
        let (most, started) = ((self.most)().max(1), self.running.count().saturating_add(waiting));
        // A few at a time, as what is sent together costs less.
        if started <= most - most / FEW {
            self.running.start(self.source.by_ref().take(most - started));
        }
    }
}

/// The source, the outputs and what runs are never pinned in place.
impl<I: Iterator, R: Runs<Item = I::Item>> Unpin for Window<I, R> {}

impl<I: Iterator, R: Runs<Item = I::Item>> Stream for Window<I, R> {
    type Item = (usize, R::Output);

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Order::Source { next, waiting } = &mut this.order
                && let Some(output) = waiting.remove(next)
            {
                let place = *next;
                *next = next.saturating_add(1);
                return Poll::Ready(Some((place, output)));
            }
            this.fill();
            let Some((place, output)) = ready!(this.running.poll_next(context)) else {
                return Poll::Ready(None);
            };
            match &mut this.order {
                Order::Ended => return Poll::Ready(Some((place, output))),
                Order::Source { waiting, .. } => waiting.insert(place, output),
            };
        }
    }
}

/// All outputs of a window in the source's order, or the first error, which drops what still runs.
pub struct Collected<I: Iterator, R: Runs<Item = I::Item>, T> {
    window: Window<I, R>,
    values: Vec<Option<T>>,
}

impl<I: Iterator, R: Runs<Item = I::Item>, T> Collected<I, R, T> {
    /// Collects what comes of a source of `count` items.
    pub(super) fn new(
        source: I,
        running: R,
        count: usize,
        most: impl Fn() -> usize + Send + 'static,
    ) -> Self {
        let values = std::iter::repeat_with(|| None).take(count).collect();
        Self { window: Window::new(source, running, most, false), values }
    }
}

impl<I: Iterator, R: Runs<Item = I::Item>, T> Unpin for Collected<I, R, T> {}

impl<I, R, T, E> Future for Collected<I, R, T>
where
    I: Iterator,
    R: Runs<Item = I::Item, Output = Result<T, E>>,
{
    type Output = Result<Vec<T>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // What is sent to fill the places of those that have ended leaves together.
        let _cork = Cork::hold();
        while let Some((place, output)) = ready!(this.window.poll_next_unpin(context)) {
            match output {
                Ok(value) => {
                    if let Some(slot) = this.values.get_mut(place) {
                        *slot = Some(value);
                    }
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(std::mem::take(&mut this.values).into_iter().flatten().collect()))
    }
}

/// A future that remembers its place in the source.
pub(super) struct Placed<F> {
    place: usize,
    future: F,
}

impl<F> Placed<F> {
    pub(super) const fn new(place: usize, future: F) -> Self {
        Self { place, future }
    }
}

impl<F: Future + Unpin> Future for Placed<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let place = self.place;
        Pin::new(&mut self.future).poll(context).map(|it| (place, it))
    }
}

impl<F: Future + Unpin> Runs for FuturesUnordered<Placed<F>> {
    type Item = F;
    type Output = F::Output;

    fn count(&self) -> usize {
        self.len()
    }

    fn start(&mut self, items: impl Iterator<Item = (usize, F)>) {
        self.extend(items.map(|(place, future)| Placed::new(place, future)));
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, F::Output)>> {
        self.poll_next_unpin(context)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::task::Waker;

    use futures_util::FutureExt;
    use futures_util::future::{self, LocalBoxFuture};
    use tokio::sync::oneshot;

    use super::*;

    type Outcome = Result<u32, &'static str>;

    fn poll<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
        stream.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
    }

    /// Runs that end when told, and those who tell them.
    fn told(count: usize) -> (Vec<oneshot::Sender<u32>>, Vec<LocalBoxFuture<'static, u32>>) {
        (0..count)
            .map(|_| oneshot::channel())
            .map(|(tell, told)| (tell, told.map(|it| it.unwrap_or(0)).boxed_local()))
            .unzip()
    }

    #[test]
    fn no_more_are_started_than_fit_into_the_window() {
        let started = Rc::new(Cell::new(0));
        let source = (0..100).map({
            let started = Rc::clone(&started);
            move |_| {
                started.set(started.get() + 1);
                future::pending::<()>()
            }
        });
        let mut window = Window::new(source, FuturesUnordered::new(), || 7, false);
        assert!(poll(&mut window).is_pending());
        assert_eq!(started.get(), 7);
    }

    #[test]
    fn outputs_come_as_they_end_or_in_order_as_asked() {
        for (ordered, expected) in [(false, [1, 0, 2]), (true, [0, 1, 2])] {
            let (tell, runs) = told(3);
            let mut window = Window::new(runs.into_iter(), FuturesUnordered::new(), || 10, ordered);
            let mut got = Vec::new();
            assert!(poll(&mut window).is_pending());
            let mut tell: Vec<_> = tell.into_iter().map(Some).collect();
            for place in [1, 0, 2] {
                tell[place].take().expect("told once").send(place as u32).expect("still running");
                while let Poll::Ready(Some((place, _))) = poll(&mut window) {
                    got.push(place);
                }
            }
            assert_eq!(got, expected, "ordered: {ordered}");
            assert_eq!(poll(&mut window), Poll::Ready(None));
        }
    }

    #[test]
    fn outputs_that_wait_for_their_turn_count_as_in_flight() {
        let (tell, mut runs) = told(1);
        runs.extend((0..10).map(|_| future::ready(1).boxed_local()));
        let started = Rc::new(Cell::new(0));
        let source = runs.into_iter().inspect(|_| started.set(started.get() + 1));
        let mut window = Window::new(source, FuturesUnordered::new(), || 4, true);
        assert!(poll(&mut window).is_pending());
        assert_eq!(started.get(), 4);
        tell.into_iter().for_each(|it| it.send(0).expect("still running"));
        let all = std::iter::from_fn(|| match poll(&mut window) {
            Poll::Ready(it) => it,
            Poll::Pending => None,
        });
        assert_eq!(all.map(|(place, _)| place).collect::<Vec<_>>(), (0..11).collect::<Vec<_>>());
    }

    #[test]
    fn collecting_keeps_the_order_and_the_first_error_drops_the_rest() {
        let collect = |outcomes: Vec<Outcome>, most| {
            let count = outcomes.len();
            Collected::new(
                outcomes.into_iter().map(future::ready),
                FuturesUnordered::new(),
                count,
                move || most,
            )
            .now_or_never()
        };
        assert_eq!(collect(vec![Ok(1), Ok(2), Ok(3)], 2), Some(Ok(vec![1, 2, 3])));
        assert_eq!(collect(vec![], 2), Some(Ok(vec![])));
        assert_eq!(collect(vec![Ok(1), Err("no"), Ok(3)], 2), Some(Err("no")));

        let alive = Rc::new(());
        let runs = (0..3).map(|it| {
            let alive = Rc::clone(&alive);
            async move {
                let _alive = alive;
                if it == 1 { Err::<u32, _>("no") } else { future::pending().await }
            }
            .boxed_local()
        });
        assert_eq!(Collected::new(runs, FuturesUnordered::new(), 3, || 3).now_or_never(), Some(Err("no")));
        assert_eq!(Rc::strong_count(&alive), 1);
    }
}
