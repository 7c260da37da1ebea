//! Room on a connection for streams of items, whose readers may be as slow as they like. What all streams of a
//! connection may have under way together is bounded; four that nobody reads would have used it up, and everything
//! else on the connection would wait for their readers. So a connection takes a stream's window more for each of them.

use std::sync::{Arc, Mutex, PoisonError};

/// The streams of items of one connection, on the side that reads them.
pub struct Rooms {
    counts: Mutex<Counts>,
    widen: Box<dyn Fn(u32) + Send + Sync>,
}

#[derive(Debug, Default)]
struct Counts {
    open: u32,
    /// The most that were open at once.
    most: u32,
}

/// Room for one stream of items, as long as it is here.
#[derive(Debug)]
pub struct Room(Option<Arc<Rooms>>);

impl Rooms {
    /// `widen` has the connection take so many windows of a stream more than it does by itself. It hears of more
    /// and never of fewer: carriers take room back only as it is read, and the next stream would come before that.
    pub(super) fn new(widen: impl Fn(u32) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), widen: Box::new(widen) })
    }
}

impl Room {
    /// Room for one more; nothing where the carrier has no bound for all streams.
    pub(super) fn of(rooms: Option<&Arc<Rooms>>) -> Self {
        if let Some(rooms) = rooms {
            let mut counts = rooms.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.open = counts.open.saturating_add(1);
            if counts.open > counts.most {
                counts.most = counts.open;
                // Under the lock, so that the last word is the largest.
                (rooms.widen)(counts.most);
            }
        }
        Self(rooms.map(Arc::clone))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(rooms) = &self.0 {
            let mut counts = rooms.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.open = counts.open.saturating_sub(1);
        }
    }
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rooms").field(&self.counts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_widened_by_as_many_streams_as_were_ever_open_at_once() {
        let widened = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&widened);
        let rooms = Rooms::new(move |count| told.lock().expect("whole").push(count));
        let two = [Room::of(Some(&rooms)), Room::of(Some(&rooms))];
        drop(two);
        let three: Vec<_> = (0..3).map(|_| Room::of(Some(&rooms))).collect();
        drop(three);
        drop((Room::of(Some(&rooms)), Room::of(None)));
        assert_eq!(*widened.lock().expect("whole"), [1, 2, 3]);
    }
}
