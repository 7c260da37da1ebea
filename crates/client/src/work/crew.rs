//! The calls of a gather that are under way: on a pool as one batch, in this process each as a future.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::stream::FuturesUnordered;
use skyward_runtime::payload::Common;
use skyward_runtime::tasks::Batch;

use super::call::{Decoded, decode};
use super::window::{Placed, Runs};
use super::{Call, Route, sealed};
use crate::codec::Decoding;
use crate::error::CallError;

/// Calls under way. Dropping it cancels them.
pub struct Crew<T, E> {
    route: Route,
    way: Way<T, E>,
    /// Those that could not be sent.
    refused: VecDeque<(usize, CallError<E>)>,
}

enum Way<T, E> {
    Pool(Batch<Seat<T, E>>),
    Here(FuturesUnordered<Placed<Decoded<T, E>>>),
}

/// A call's place in its gather, and what its value is.
struct Seat<T, E> {
    place: usize,
    decoding: Decoding<T, E>,
    /// The value may name them.
    shared: Vec<Arc<Common>>,
}

impl<T, E> Crew<T, E> {
    pub(super) fn new(route: Route) -> Self {
        let way = match route.tasks().cloned() {
            Some(tasks) => Way::Pool(Batch::new(tasks)),
            None => Way::Here(FuturesUnordered::new()),
        };
        Self { route, way, refused: VecDeque::new() }
    }
}

impl<T: Send + 'static, E: Send + 'static> Runs for Crew<T, E> {
    type Item = Call<T, E>;
    type Output = Result<T, CallError<E>>;

    fn count(&self) -> usize {
        let running = match &self.way {
            Way::Pool(batch) => batch.len(),
            Way::Here(running) => running.len(),
        };
        running + self.refused.len()
    }

    fn start(&mut self, calls: impl Iterator<Item = (usize, Call<T, E>)>) {
        let Self { route, way, refused } = self;
        match way {
            Way::Pool(batch) => batch.begin(calls.filter_map(|(place, call)| {
                let decoding = call.decoding();
                match call.order() {
                    Ok(order) => {
                        let shared = order.shared.clone();
                        Some((Seat { place, decoding, shared }, route.along(order)))
                    }
                    Err(error) => {
                        refused.push_back((place, error));
                        None
                    }
                }
            })),
            Way::Here(running) => {
                running
                    .extend(calls.map(|(place, call)| Placed::new(place, sealed::Start::start(call, route))));
            }
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Self::Output)>> {
        if let Some((place, error)) = self.refused.pop_front() {
            return Poll::Ready(Some((place, Err(error))));
        }
        match &mut self.way {
            Way::Pool(batch) => Poll::Ready(ready!(batch.poll_next(context)).map(|(seat, outcome)| {
                let Seat { place, decoding, shared: _shared } = seat;
                (place, decode(outcome, decoding))
            })),
            Way::Here(running) => running.poll_next(context),
        }
    }
}
