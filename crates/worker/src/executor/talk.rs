//! What goes between a call of streams and the process that its function runs in, on the worker's side. Each side
//! sends what the other has asked for, so that no more waits in either than a batch or two, and a call that
//! stands still keeps neither from hearing what else there is to say.
//!
//! ```text
//! link -> inputs --Wants--> Given, Closed -> process -> Made --More--> source -> link
//! ```

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream};
use skyward_runtime::items::record::{self, Record};
use skyward_runtime::program::TaskOrder;
use skyward_runtime::registry::{BoxSource, Ending, Fault, Input, Put, Source};
use tokio::sync::mpsc;

/// How many batches a process may have made that nobody has taken yet: one is sent while the next is made.
pub(super) const AHEAD: usize = 2;

/// How many bytes of items go together, somewhat more with the last of them: as on the link.
pub(super) const BATCH: usize = 64 << 10;

/// The process's end of a call: what the worker's end of the process answers from and gives to.
pub(crate) struct Talk {
    /// What it takes; `None` while the next items are waited for.
    pub(super) inputs: Vec<Option<Input>>,
    /// A batch was taken.
    pub(super) more: mpsc::Receiver<()>,
    pub(super) made: mpsc::Sender<Bytes>,
    pub(super) streams: bool,
}

/// The items that a process makes.
struct Made {
    batches: mpsc::Receiver<Bytes>,
    batch: BytesMut,
    more: mpsc::Sender<()>,
}

impl Talk {
    /// That of a call without streams.
    pub(crate) fn none() -> Self {
        Self { inputs: Vec::new(), more: mpsc::channel(1).1, made: mpsc::channel(1).0, streams: false }
    }

    /// That of a call which takes these streams, and what it makes. Dropping the one ends the other.
    pub(crate) fn of(inputs: Vec<Input>) -> (Self, BoxSource) {
        let ((taken, more), (made, batches)) = (mpsc::channel(AHEAD), mpsc::channel(AHEAD));
        let inputs = inputs.into_iter().map(Some).collect();
        let source = Made { batches, batch: BytesMut::new(), more: taken };
        (Self { inputs, more, made, streams: true }, Box::new(source))
    }
}

impl Source for Made {
    fn poll_put(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<Put> {
        loop {
            match record::take(&mut self.batch) {
                Ok(Some(Record::Item(item))) => {
                    buffer.extend_from_slice(&item);
                    return Poll::Ready(Put::Item);
                }
                Ok(None) if self.batch.is_empty() => {}
                Ok(Some(Record::End) | None) => return broken("items that its process made are not whole"),
                Err(error) => return broken(&error.to_string()),
            }
            let Some(batch) = ready!(self.batches.poll_recv(context)) else {
                return Poll::Ready(Put::End(Ending::Complete));
            };
            self.batch = BytesMut::from(batch);
            // There is room: so many were asked for.
            let _ = self.more.try_send(());
        }
    }
}

fn broken(reason: &str) -> Poll<Put> {
    Poll::Ready(Put::End(Ending::Unencodable(reason.to_owned())))
}

/// The next items of an input, as many as are ready: what the process is told, and what is left of the input.
pub(super) async fn fetch(index: u16, mut input: Input) -> (u16, Input, TaskOrder) {
    let mut items = Vec::new();
    let mut next = input.next().await;
    let end = loop {
        match next {
            Some(Ok(item)) => {
                if let Err(error) = record::put(&mut items, &item) {
                    break Some(Some(Fault::Unencodable(error.to_string())));
                }
            }
            Some(Err(fault)) => break Some(Some(fault)),
            None => break Some(None),
        }
        if items.len() >= BATCH {
            break None;
        }
        next = match input.next().now_or_never() {
            Some(next) => next,
            None => break None,
        };
    };
    match end {
        Some(fault) if items.is_empty() => {
            (index, stream::empty().boxed(), TaskOrder::Closed { index, fault })
        }
        // What was given before the end comes before it.
        Some(fault) => (index, stream::iter(fault.map(Err)).boxed(), given(index, items)),
        None => (index, input, given(index, items)),
    }
}

fn given(index: u16, items: Vec<u8>) -> TaskOrder {
    TaskOrder::Given { index, items: items.into() }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn records(items: &[&str]) -> Bytes {
        let mut records = Vec::new();
        items.iter().for_each(|it| record::put(&mut records, it.as_bytes()).expect("small"));
        records.into()
    }

    #[tokio::test]
    async fn what_is_ready_of_an_input_goes_together_and_its_end_behind_it() {
        let item = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
        let fault = Fault::Undecodable("it broke".to_owned());
        let (one, two) = (item("one"), item("two"));
        let input = stream::iter([one, two, Err(fault.clone())]).boxed();
        let (_, input, order) = fetch(3, input).await;
        assert!(matches!(order, TaskOrder::Given { index: 3, items } if items == records(&["one", "two"])));
        let (_, input, order) = fetch(3, input).await;
        assert!(matches!(order, TaskOrder::Closed { index: 3, fault: Some(it) } if it == fault));
        let (.., order) = fetch(3, input).await;
        assert!(matches!(order, TaskOrder::Closed { index: 3, fault: None }));
    }

    #[test]
    fn a_batch_that_was_taken_asks_for_one_more_and_the_end_comes_last() {
        let (mut talk, mut source) = Talk::of(Vec::new());
        let mut buffer = Vec::new();
        let mut put =
            |source: &mut BoxSource| source.poll_put(&mut Context::from_waker(Waker::noop()), &mut buffer);
        assert_eq!(put(&mut source), Poll::Pending);
        talk.made.try_send(records(&["a", "b"])).expect("room");
        assert_eq!((put(&mut source), talk.more.try_recv()), (Poll::Ready(Put::Item), Ok(())));
        drop(talk);
        assert_eq!(put(&mut source), Poll::Ready(Put::Item));
        assert_eq!(put(&mut source), Poll::Ready(Put::End(Ending::Complete)));
        assert_eq!(buffer, b"ab");
    }

    #[test]
    fn what_is_no_whole_item_is_an_error_and_no_end() {
        let whole = records(&["abc"]);
        for batch in
            [whole.slice(..3), whole.slice(..6), Bytes::from_static(&[0xff; 4]), [0xee; 4].to_vec().into()]
        {
            let (talk, mut source) = Talk::of(Vec::new());
            talk.made.try_send(batch.clone()).expect("room");
            let put = source.poll_put(&mut Context::from_waker(Waker::noop()), &mut Vec::new());
            assert!(matches!(put, Poll::Ready(Put::End(Ending::Unencodable(_)))), "{batch:?}: {put:?}");
        }
    }
}
