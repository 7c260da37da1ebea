//! What happens in a pool, as a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use skyward_runtime::model::Event;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// The events of a pool from when it was asked for; it ends with the pool. The newest are kept for a
/// slow reader, who misses older ones; how many is logged by `tracing` as a warning.
pub struct Events(BoxStream<'static, Event>);

impl Events {
    pub(crate) fn new(receiver: Receiver<Event>) -> Self {
        Self(stream::unfold(receiver, next).boxed())
    }

    /// The next event; `None` when the pool has ended. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.next().await
    }
}

async fn next(mut receiver: Receiver<Event>) -> Option<(Event, Receiver<Event>)> {
    loop {
        match receiver.recv().await {
            Ok(event) => return Some((event, receiver)),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "events are read too slowly; some were missed");
            }
            Err(RecvError::Closed) => return None,
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_next_unpin(context)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use skyward_runtime::model::{EventKind, PoolId, PoolPhase};
    use tokio::sync::broadcast;

    use super::*;

    #[test]
    fn a_slow_reader_misses_the_oldest_events_and_hears_the_end() {
        let (sender, receiver) = broadcast::channel(2);
        let mut events = Events::new(receiver);
        for second in 0..3 {
            let event = Event {
                pool: PoolId::new("p"),
                after: Duration::from_secs(second),
                kind: EventKind::Pool(PoolPhase::Ready),
            };
            sender.send(event).expect("somebody reads");
        }
        drop(sender);
        let seen = std::iter::from_fn(|| events.next().now_or_never().flatten());
        assert_eq!(seen.map(|it| it.after.as_secs()).collect::<Vec<_>>(), [1, 2]);
    }
}
