//! What stands between the thread of a plain function and the async side that sends its items: one
//! buffer, which the thread fills until it is full, and the reader empties whole.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::producer::{Filled, Finish};
use super::record;
use crate::registry::Outlet;

/// How many bytes the thread may be ahead of the reader before it waits; one item may be more.
const AHEAD: usize = 64 * 1024;

/// The reader's end. Dropping it has the thread's next item refused.
pub(super) struct Feed(Arc<Shared>);

/// The thread's end.
pub(super) struct Giver(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    records: Vec<u8>,
    finish: Option<Finish>,
    unwanted: bool,
    reader: Option<Waker>,
}

/// Both ends of a new one.
pub(super) fn feed() -> (Giver, Feed) {
    let shared = Arc::new(Shared::default());
    (Giver(Arc::clone(&shared)), Feed(shared))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// An item cannot go on, and so no other can.
    fn refuse(&mut self, reason: String) {
        self.finish = Some(Finish::Unencodable(reason));
        self.unwanted = true;
    }
}

impl Feed {
    /// Takes all records that there are.
    pub(super) fn poll_fill(&self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<Filled> {
        let mut state = self.0.state();
        if !state.records.is_empty() {
            if buffer.is_empty() {
                std::mem::swap(buffer, &mut state.records);
            } else {
                buffer.append(&mut state.records);
            }
            drop(state);
            self.0.room.notify_one();
            return Poll::Ready(Filled::More);
        }
        if let Some(finish) = state.finish.take() {
            return Poll::Ready(Filled::End(finish));
        }
        match &mut state.reader {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Giver {
    /// Says how it ended, after everything that was given.
    pub(super) fn finish(self, finish: Finish) {
        let mut state = self.0.state();
        // What refused an item says why it ended; the thread only saw that it should.
        state.finish.get_or_insert(finish);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Outlet for Giver {
    fn give(&mut self, item: &[u8]) -> bool {
        let mut state = self.0.state();
        while state.records.len() >= AHEAD && !state.unwanted {
            state = self.0.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.unwanted {
            return false;
        }
        if let Err(error) = record::put(&mut state.records, item) {
            state.refuse(error.to_string());
        }
        let (wanted, reader) = (!state.unwanted, state.reader.take());
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        wanted
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.state().unwanted = true;
        self.0.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(feed: &Feed) -> Poll<Filled> {
        feed.poll_fill(&mut Context::from_waker(Waker::noop()), &mut Vec::new())
    }

    #[test]
    fn a_thread_that_is_ahead_waits_until_it_is_read() {
        let (mut giver, feed) = feed();
        let thread = std::thread::spawn(move || {
            let given = (0..100).filter(|_| giver.give(&[0; 4096])).count();
            giver.finish(Finish::Complete);
            given
        });
        let (mut fills, mut bytes) = (0, 0);
        loop {
            let mut buffer = Vec::new();
            match feed.poll_fill(&mut Context::from_waker(Waker::noop()), &mut buffer) {
                Poll::Ready(Filled::More) => {
                    assert!(buffer.len() <= AHEAD + 4100, "{}", buffer.len());
                    (fills, bytes) = (fills + 1, bytes + buffer.len());
                }
                Poll::Ready(Filled::End(finish)) => {
                    assert_eq!(finish, Finish::Complete);
                    break;
                }
                Poll::Pending => std::thread::yield_now(),
            }
        }
        assert_eq!((thread.join().expect("joined"), bytes), (100, 100 * 4100));
        assert!(fills >= 6, "{fills}");
    }

    #[test]
    fn a_reader_that_is_gone_stops_a_waiting_thread() {
        let (mut giver, feed) = feed();
        let thread = std::thread::spawn(move || (0..).take_while(|_| giver.give(&[0; 4096])).count());
        while fill(&feed).is_pending() {
            std::thread::yield_now();
        }
        drop(feed);
        assert!(thread.join().expect("joined") < 100);
    }

    #[test]
    fn an_item_that_was_refused_is_how_it_ended_whatever_its_thread_says() {
        let (mut giver, feed) = feed();
        assert!(giver.give(b"item"));
        giver.0.state().refuse("too large".to_owned());
        assert!(!giver.give(b"another"));
        giver.finish(Finish::Complete);
        assert_eq!(fill(&feed), Poll::Ready(Filled::More));
        let end = Finish::Unencodable("too large".to_owned());
        assert_eq!(fill(&feed), Poll::Ready(Filled::End(end)));
    }

    #[test]
    fn what_was_given_comes_before_the_end() {
        let (mut giver, feed) = feed();
        assert_eq!(fill(&feed), Poll::Pending);
        assert!(giver.give(b"item"));
        giver.finish(Finish::Failed(bytes::Bytes::from_static(b"error")));
        assert_eq!(fill(&feed), Poll::Ready(Filled::More));
        let end = Finish::Failed(bytes::Bytes::from_static(b"error"));
        assert_eq!(fill(&feed), Poll::Ready(Filled::End(end)));
    }
}
