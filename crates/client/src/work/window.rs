//! Many runs with a bounded number in flight. Knows nothing of calls, so that its rules are tested with
//! plain futures.

use std::collections::BTreeMap;
use std::iter::Enumerate;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use skyward_runtime::link::Cork;

/// Runs the futures that a source yields, started in its order; a stream of their outputs, each with
/// its place in the source. At most `most` are started and not given out yet; it is asked each time, as
/// pools grow and shrink.
pub struct Window<I: Iterator<Item: Future>> {
    source: Enumerate<I>,
    most: Box<dyn Fn() -> usize + Send>,
    running: FuturesUnordered<Placed<I::Item>>,
    order: Order<<I::Item as Future>::Output>,
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

impl<I: Iterator<Item: Future + Unpin>> Window<I> {
    /// A window on a source. In the source's order or as they end.
    pub(super) fn new(source: I, most: impl Fn() -> usize + Send + 'static, ordered: bool) -> Self {
        let order = if ordered { Order::Source { next: 0, waiting: BTreeMap::new() } } else { Order::Ended };
        let most = Box::new(most);
        Self { source: source.enumerate(), most, running: FuturesUnordered::new(), order }
    }

    fn fill(&mut self) {
        let waiting = match &self.order {
            Order::Ended => 0,
            Order::Source { waiting, .. } => waiting.len(),
        };
        let most = (self.most)().max(1);
        let started = || self.running.len().saturating_add(waiting);
        // A few at a time, as what is sent together costs less.
        if started() > most - most / FEW {
            return;
        }
        while self.running.len().saturating_add(waiting) < most {
            let Some((place, future)) = self.source.next() else { break };
            self.running.push(Placed { place, future });
        }
    }
}

/// The source, the outputs and the running futures are never pinned in place.
impl<I: Iterator<Item: Future>> Unpin for Window<I> {}

impl<I: Iterator<Item: Future + Unpin>> Stream for Window<I> {
    type Item = (usize, <I::Item as Future>::Output);

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
            let Some((place, output)) = ready!(this.running.poll_next_unpin(context)) else {
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
pub struct Collected<I: Iterator<Item: Future>, T> {
    window: Window<I>,
    values: Vec<Option<T>>,
}

impl<I: Iterator<Item: Future + Unpin>, T> Collected<I, T> {
    /// Collects what a source of `count` futures gives.
    pub(super) fn new(source: I, count: usize, most: impl Fn() -> usize + Send + 'static) -> Self {
        let values = std::iter::repeat_with(|| None).take(count).collect();
        Self { window: Window::new(source, most, false), values }
    }
}

impl<I: Iterator<Item: Future>, T> Unpin for Collected<I, T> {}

impl<I, T, E> Future for Collected<I, T>
where
    I: Iterator<Item: Future<Output = Result<T, E>> + Unpin>,
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
struct Placed<F> {
    place: usize,
    future: F,
}

impl<F: Future + Unpin> Future for Placed<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let place = self.place;
        Pin::new(&mut self.future).poll(context).map(|it| (place, it))
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
        let mut window = Window::new(source, || 7, false);
        assert!(poll(&mut window).is_pending());
        assert_eq!(started.get(), 7);
    }

    #[test]
    fn outputs_come_as_they_end_or_in_order_as_asked() {
        for (ordered, expected) in [(false, [1, 0, 2]), (true, [0, 1, 2])] {
            let (tell, runs) = told(3);
            let mut window = Window::new(runs.into_iter(), || 10, ordered);
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
        let mut window = Window::new(source, || 4, true);
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
            Collected::new(outcomes.into_iter().map(future::ready), count, move || most).now_or_never()
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
        assert_eq!(Collected::new(runs, 3, || 3).now_or_never(), Some(Err("no")));
        assert_eq!(Rc::strong_count(&alive), 1);
    }
}
