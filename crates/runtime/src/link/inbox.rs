//! Where the replies of many calls come together. Whoever waits for all of them is woken once for what comes at once,
//! and none of them has a channel of its own. Filled by the readers of lanes, read by `tasks`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::oneshot;

use super::lane::Replied;

/// Replies, each with the place that its call has at whoever waits for it.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    came: Mutex<Came>,
}

#[derive(Debug, Default)]
struct Came {
    replies: Vec<(usize, Replied)>,
    /// Who waits for the next one.
    waker: Option<Waker>,
    /// Nobody reads any more.
    closed: bool,
}

/// Who waits for the reply of one call.
#[derive(Debug)]
pub(super) enum Asker {
    Alone(oneshot::Sender<Replied>),
    /// Who waits for many, and the place of this one there.
    Together(Arc<Inbox>, usize),
}

impl Asker {
    /// Hands a reply over; who is to be woken for it when all that came with it are handed over. Given back when
    /// nobody waits any more.
    pub(super) fn tell(self, reply: Replied) -> Result<Option<Waker>, Replied> {
        match self {
            Self::Alone(sender) => sender.send(reply).map(|()| None),
            Self::Together(inbox, place) => inbox.put(place, reply),
        }
    }

    /// Hands over a reply that comes alone.
    pub(super) fn wake(self, reply: Replied) {
        if let Ok(Some(waker)) = self.tell(reply) {
            waker.wake();
        }
    }
}

impl Inbox {
    /// Puts a reply in; who is to be woken when all that come with it are in. Given back when nobody reads any more.
    fn put(&self, place: usize, reply: Replied) -> Result<Option<Waker>, Replied> {
        let mut came = self.came();
        if came.closed {
            return Err(reply);
        }
        came.replies.push((place, reply));
        Ok(came.waker.take())
    }

    /// Exchanges all that came for the empty memory of what came before. When that is nothing, the next reply wakes.
    pub(crate) fn take(&self, replies: &mut Vec<(usize, Replied)>, context: &Context<'_>) {
        let mut came = self.came();
        std::mem::swap(&mut came.replies, replies);
        if replies.is_empty() {
            match &mut came.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
        }
    }

    /// Nobody reads any more. What came and was not taken.
    pub(crate) fn close(&self) -> Vec<(usize, Replied)> {
        let mut came = self.came();
        (came.closed, came.waker) = (true, None);
        std::mem::take(&mut came.replies)
    }

    fn came(&self) -> MutexGuard<'_, Came> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkError;

    fn reply() -> Replied {
        Replied::Over(LinkError::Silent)
    }

    #[test]
    fn who_waits_is_woken_once_for_what_comes_before_it_looks() {
        let (inbox, mut replies) = (Inbox::default(), Vec::new());
        let context = Context::from_waker(Waker::noop());
        inbox.take(&mut replies, &context);
        assert!(matches!(inbox.put(1, reply()), Ok(Some(_))));
        assert!(matches!(inbox.put(0, reply()), Ok(None)));
        inbox.take(&mut replies, &context);
        assert_eq!(replies.drain(..).map(|(place, _)| place).collect::<Vec<_>>(), [1, 0]);
        assert!(matches!(inbox.put(2, reply()), Ok(None)), "nobody waits who has not looked in vain");
    }

    #[test]
    fn what_comes_when_nobody_reads_any_more_is_given_back() {
        let inbox = Inbox::default();
        assert!(inbox.put(7, reply()).is_ok());
        assert_eq!(inbox.close().len(), 1);
        assert!(inbox.put(8, reply()).is_err());
    }
}
