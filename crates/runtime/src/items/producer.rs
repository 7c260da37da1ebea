//! Runs a function of streams: makes its items, wherever they then go.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::feed::{Feed, Giver, feed};
use super::record;
use crate::inside::{self, Cancellation, TaskContext};
use crate::model::Panic;
use crate::registry::{Body, BoxSource, Ending, Inputs, Put, RunIterator, Source};

/// For how long ready items are gathered before they go on. Long enough that a fast function's items
/// share their way, short enough that a slow one's do not wait for each other.
const GATHER: Duration = Duration::from_micros(100);

/// A function of streams that runs. Dropping it drops an async function; a plain one ends at its next
/// item.
pub struct Producer {
    stage: Stage,
    cancellation: Cancellation,
    panicked: Panicked,
    begun: bool,
    /// What an async function holds; a plain one's is with its thread.
    _keep: Option<Box<dyn Send>>,
}

/// Puts the payload of a panic, just caught on this thread, into words.
pub type Panicked = fn(&(dyn Any + Send)) -> Panic;

enum Stage {
    Starting(BoxFuture<'static, Result<BoxSource, String>>),
    Making(BoxSource),
    Thread(Feed),
    Ended(Option<Finish>),
}

/// What came of filling a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    /// There are more records in it than before.
    More,
    /// There are no more.
    End(Finish),
}

/// How a function of streams ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// There are no more items.
    Complete,
    /// With its own error, encoded.
    Failed(Bytes),
    /// It panicked.
    Panicked(Panic),
    /// An item or its error cannot be encoded.
    Unencodable(String),
    /// Its arguments cannot be decoded.
    Undecodable(String),
}

impl Producer {
    /// Starts the function; `None` when it is not one of streams. What `keep` holds is held until the
    /// function has ended, which for a plain one may be after the producer is dropped. Must be called
    /// inside a tokio runtime.
    pub fn start(
        body: &Body,
        arguments: Bytes,
        inputs: Inputs,
        context: &TaskContext,
        keep: impl Send + 'static,
        panicked: Panicked,
    ) -> Option<Self> {
        let cancellation = context.cancellation();
        let (stage, keep): (_, Option<Box<dyn Send>>) = match *body {
            Body::Stream { start, .. } => {
                let starting = async move { Ok(start(arguments, inputs)?.await) };
                (Stage::Starting(Box::pin(starting)), Some(Box::new(keep)))
            }
            Body::Iterator { run, .. } => {
                let (giver, feed) = feed();
                let cancellation = cancellation.clone();
                tokio::task::spawn_blocking(move || {
                    let _keep = keep;
                    on_thread(run, arguments, inputs, &cancellation, giver, panicked);
                });
                (Stage::Thread(feed), None)
            }
            Body::Async(_) | Body::Blocking(_) => return None,
        };
        Some(Self { stage, cancellation, panicked, begun: false, _keep: keep })
    }

    /// Makes what a source makes. Its panics are told in the words of `panicked`.
    pub fn of(source: BoxSource, panicked: Panicked) -> Self {
        let (stage, cancellation) = (Stage::Making(source), inside::cancellation());
        Self { stage, cancellation, panicked, begun: false, _keep: None }
    }

    /// Whether it has made anything, its end included.
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Appends what is ready to the buffer, until it holds `most` bytes or somewhat more.
    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> Poll<Filled> {
        let filled = self.poll_once(context, buffer, most);
        self.begun |= filled.is_ready();
        filled
    }

    /// Whether it makes items while nobody asks: a plain function, on its thread.
    pub const fn is_ahead(&self) -> bool {
        matches!(self.stage, Stage::Thread(_))
    }

    /// Appends what has been made already and nobody has taken, without waiting for more. One that is not
    /// ahead is asked for what it has ready.
    pub fn take_made(&mut self, buffer: &mut Vec<u8>) {
        let mut context = Context::from_waker(Waker::noop());
        while self.poll_fill(&mut context, buffer, usize::MAX) == Poll::Ready(Filled::More) {}
    }

    fn poll_once(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>, most: usize) -> Poll<Filled> {
        let before = buffer.len();
        let filled = match &mut self.stage {
            Stage::Thread(feed) => return feed.poll_fill(context, buffer),
            stage @ (Stage::Starting(_) | Stage::Making(_)) => {
                let fill = || fill(stage, context, buffer, most);
                let filled = catch_unwind(AssertUnwindSafe(|| self.cancellation.clone().surround(fill)));
                filled.unwrap_or_else(|panic| Poll::Ready(Some(Finish::Panicked((self.panicked)(&*panic)))))
            }
            // Asked for more after the end, it has no more.
            Stage::Ended(finish) => {
                return Poll::Ready(Filled::End(finish.take().unwrap_or(Finish::Complete)));
            }
        };
        let any = buffer.len() > before;
        match filled {
            Poll::Ready(Some(finish)) if any => {
                self.stage = Stage::Ended(Some(finish));
                Poll::Ready(Filled::More)
            }
            Poll::Ready(Some(finish)) => {
                self.stage = Stage::Ended(None);
                Poll::Ready(Filled::End(finish))
            }
            Poll::Pending if !any => Poll::Pending,
            Poll::Ready(None) | Poll::Pending => Poll::Ready(Filled::More),
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Producer")
    }
}

/// Fills the buffer with what is ready. `None`: that is enough for now.
fn fill(
    stage: &mut Stage,
    context: &mut Context<'_>,
    buffer: &mut Vec<u8>,
    most: usize,
) -> Poll<Option<Finish>> {
    let until = Instant::now() + GATHER;
    loop {
        let source = match stage {
            Stage::Making(source) => source,
            Stage::Starting(starting) => match ready!(starting.poll_unpin(context)) {
                Ok(source) => {
                    *stage = Stage::Making(source);
                    continue;
                }
                Err(reason) => return Poll::Ready(Some(Finish::Undecodable(reason))),
            },
            Stage::Thread(_) | Stage::Ended(_) => return Poll::Ready(None),
        };
        match put_record(&mut **source, context, buffer) {
            Poll::Ready(None) => {
                if buffer.len() >= most || Instant::now() >= until {
                    return Poll::Ready(None);
                }
            }
            other => return other,
        }
    }
}

/// Appends the source's next item as a record. Whatever happens, nothing but whole records remains in the
/// buffer.
fn put_record(
    source: &mut dyn Source,
    context: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<Option<Finish>> {
    let open = OpenRecord { at: record::open(buffer), buffer };
    let finish = match ready!(source.poll_put(context, open.buffer)) {
        Put::Item => return Poll::Ready(open.close().err().map(|it| Finish::Unencodable(it.to_string()))),
        Put::End(Ending::Complete) => Finish::Complete,
        Put::End(Ending::Failed(error)) => Finish::Failed(error),
        Put::End(Ending::Unencodable(reason)) => Finish::Unencodable(reason),
    };
    Poll::Ready(Some(finish))
}

/// A record that is taken out of the buffer again unless it is closed.
struct OpenRecord<'a> {
    at: usize,
    buffer: &'a mut Vec<u8>,
}

impl OpenRecord<'_> {
    fn close(mut self) -> Result<(), record::TooLarge> {
        let closed = record::close(self.buffer, self.at);
        self.at = self.buffer.len();
        closed
    }
}

impl Drop for OpenRecord<'_> {
    fn drop(&mut self) {
        self.buffer.truncate(self.at);
    }
}

fn on_thread(
    run: RunIterator,
    arguments: Bytes,
    inputs: Inputs,
    cancellation: &Cancellation,
    mut giver: Giver,
    panicked: Panicked,
) {
    let run = || cancellation.clone().surround(|| run(arguments, inputs, &mut giver));
    let finish = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(Ending::Complete)) => Finish::Complete,
        Ok(Ok(Ending::Failed(error))) => Finish::Failed(error),
        Ok(Ok(Ending::Unencodable(reason))) => Finish::Unencodable(reason),
        Ok(Err(reason)) => Finish::Undecodable(reason),
        Err(panic) => Finish::Panicked(panicked(&*panic)),
    };
    giver.finish(finish);
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::record::Record;
    use super::*;
    use crate::registry::Trouble;

    /// Puts what it is given: an item, nothing yet, a panic in the middle of an item, or an end.
    struct Told(std::vec::IntoIter<Step>);

    #[derive(Clone)]
    enum Step {
        Item(&'static [u8]),
        Wait,
        Panic,
        End(Ending),
    }

    impl Source for Told {
        fn poll_put(&mut self, _: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<Put> {
            match self.0.next() {
                Some(Step::Item(item)) => {
                    buffer.extend_from_slice(item);
                    Poll::Ready(Put::Item)
                }
                Some(Step::Wait) => Poll::Pending,
                Some(Step::Panic) => {
                    buffer.extend_from_slice(b"half");
                    panic!("in the middle")
                }
                Some(Step::End(ending)) => Poll::Ready(Put::End(ending)),
                None => Poll::Ready(Put::End(Ending::Complete)),
            }
        }
    }

    fn producer(steps: Vec<Step>) -> Producer {
        Producer {
            stage: Stage::Making(Box::new(Told(steps.into_iter()))),
            cancellation: TaskContext::new().cancellation(),
            panicked: |_| Panic { message: "caught".to_owned(), place: None },
            begun: false,
            _keep: None,
        }
    }

    /// The items of one fill and what it said.
    fn fill(producer: &mut Producer, most: usize) -> (Vec<Vec<u8>>, Poll<Filled>) {
        let mut buffer = Vec::new();
        let filled = producer.poll_fill(&mut Context::from_waker(Waker::noop()), &mut buffer, most);
        let mut buffer = BytesMut::from(&buffer[..]);
        let items = std::iter::from_fn(|| match record::take(&mut buffer).expect("small")? {
            Record::Item(item) => Some(item.to_vec()),
            Record::End => None,
        });
        (items.collect(), filled)
    }

    #[test]
    fn what_was_made_comes_before_whatever_ended_it() {
        let failed = Ending::Failed(Bytes::from_static(b"error"));
        for (end, finish) in [
            (Step::End(Ending::Complete), Finish::Complete),
            (Step::End(failed), Finish::Failed(Bytes::from_static(b"error"))),
            (Step::End(Ending::Unencodable("no".into())), Finish::Unencodable("no".into())),
            (Step::Panic, Finish::Panicked(Panic { message: "caught".to_owned(), place: None })),
        ] {
            let mut producer = producer(vec![Step::Item(b"one"), Step::Item(b""), end]);
            let items = vec![b"one".to_vec(), vec![]];
            assert_eq!(fill(&mut producer, 1000), (items, Poll::Ready(Filled::More)));
            assert_eq!(fill(&mut producer, 1000), (vec![], Poll::Ready(Filled::End(finish))));
        }
    }

    #[test]
    fn no_more_is_asked_for_than_there_is_room_for() {
        let mut producer = producer(vec![Step::Item(&[1; 10]); 5]);
        for _ in 0..5 {
            assert_eq!(fill(&mut producer, 14), (vec![vec![1; 10]], Poll::Ready(Filled::More)));
        }
        assert_eq!(fill(&mut producer, 14), (vec![], Poll::Ready(Filled::End(Finish::Complete))));
    }

    #[test]
    fn what_is_ready_does_not_wait_for_what_is_not() {
        let mut producer = producer(vec![Step::Wait, Step::Item(b"1"), Step::Wait, Step::Wait]);
        assert_eq!(fill(&mut producer, 1000), (vec![], Poll::Pending));
        assert_eq!(fill(&mut producer, 1000), (vec![b"1".to_vec()], Poll::Ready(Filled::More)));
        assert_eq!(fill(&mut producer, 1000), (vec![], Poll::Pending));
    }

    #[test]
    fn arguments_that_cannot_be_decoded_are_how_it_ends() {
        let body = Body::Stream { inputs: 0, start: |_, _| Err("not mine".to_owned()) };
        let inputs = Inputs::new(vec![], Trouble::default());
        let context = TaskContext::new();
        let panicked: Panicked = |_| Panic { message: String::new(), place: None };
        let mut producer =
            Producer::start(&body, Bytes::new(), inputs, &context, (), panicked).expect("of streams");
        let end = Filled::End(Finish::Undecodable("not mine".to_owned()));
        assert_eq!(fill(&mut producer, 1000), (vec![], Poll::Ready(end)));
    }
}
