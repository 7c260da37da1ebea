//! The client's end: where the lines of all nodes of a pool meet, and who reads them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::{Queue, Show};
use crate::model::{Line, OutputStream, TaskId};

/// The lines of one pool. Clones share the readers.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What the pool's owner wants to see.
    show: Show,
    held: Mutex<Held>,
    /// Whether anybody has ever asked to read.
    wanted: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Held {
    readers: Vec<Weak<Queue>>,
    /// What is wanted of tasks that say so, the newest of them.
    tasks: BTreeMap<TaskId, Show>,
    closed: bool,
}

/// One reader of a pool's lines.
#[derive(Debug)]
pub struct Reader(Arc<Queue>);

impl Hub {
    /// How many tasks that say what is shown of them are remembered: lines may come after the outcome. More
    /// than a queue lets in at once.
    pub const TASKS: usize = 1 << 16;

    /// The lines of a pool of which this is shown.
    pub fn new(show: Show) -> Self {
        Self { inner: Arc::new(Inner { show, ..Inner::default() }) }
    }

    /// Reads from now on. The first reader has nodes send what they still hold, too.
    pub fn read(&self) -> Reader {
        let queue = Arc::new(Queue::default());
        let mut held = self.held();
        if held.closed {
            queue.close();
        }
        held.readers.push(Arc::downgrade(&queue));
        drop(held);
        // Of what nobody will see nothing need be sent.
        self.inner.wanted.send_if_modified(|it| {
            let changes = !*it && !matches!(self.inner.show, Show::Nothing);
            *it |= changes;
            changes
        });
        Reader(queue)
    }

    /// Of this task no more is shown than this.
    pub fn limit(&self, task: TaskId, show: Show) {
        let tasks = &mut self.held().tasks;
        tasks.insert(task, show);
        if tasks.len() > Self::TASKS {
            tasks.pop_first();
        }
    }

    /// A line has come.
    pub fn push(&self, line: &Line) {
        let (readers, show): (Vec<_>, _) = {
            let mut held = self.held();
            held.readers.retain(|it| it.strong_count() > 0);
            let show = line.task.and_then(|it| held.tasks.get(&it).cloned());
            (held.readers.clone(), show)
        };
        // That lines are missing is for everybody to know.
        let is_shown = matches!(line.stream, OutputStream::Missed(_))
            || shows(&self.inner.show, line) && show.is_none_or(|it| shows(&it, line));
        if is_shown {
            readers.iter().filter_map(Weak::upgrade).for_each(|it| it.push(line.clone()));
        }
    }

    /// Resolves when somebody has asked to read.
    pub async fn wanted(&self) {
        // The sender is ours.
        let _ = self.inner.wanted.subscribe().wait_for(|it| *it).await;
    }

    /// The pool has ended: readers get what they have not read yet, and then the end.
    pub fn close(&self) {
        let mut held = self.held();
        held.closed = true;
        held.readers.iter().filter_map(Weak::upgrade).for_each(|it| it.close());
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A filter is the user's own code; one that panics shows the line, and its panic is printed.
fn shows(show: &Show, line: &Line) -> bool {
    catch_unwind(AssertUnwindSafe(|| show.shows(line))).unwrap_or(true)
}

impl Reader {
    /// The next line; `None` when the pool has ended. Nothing is lost when the future is dropped.
    pub async fn next(&self) -> Option<Line> {
        self.0.next().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::model::Rank;

    fn line(node: u32, task: u64) -> Line {
        let text = format!("{node} {task}");
        Line { node: Rank(node), task: Some(TaskId(task)), stream: OutputStream::Stdout, text }
    }

    fn read(reader: &Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.next().now_or_never().flatten()).map(|it| it.text).collect()
    }

    #[test]
    fn every_reader_sees_what_the_pool_and_the_task_let_it_see() {
        let hub = Hub::new(Show::only(|it| it.text != "0 9"));
        assert!(hub.wanted().now_or_never().is_none());
        let (one, other) = (hub.read(), hub.read());
        assert!(hub.wanted().now_or_never().is_some());
        hub.limit(TaskId(1), Show::Head);
        hub.limit(TaskId(2), Show::Nothing);
        hub.limit(TaskId(3), Show::only(|_| panic!("a filter that panics")));
        for (node, task) in [(0, 1), (1, 1), (0, 2), (0, 3), (1, 4), (0, 9)] {
            hub.push(&line(node, task));
        }
        hub.push(&Line::missed(Rank(1), 3));
        hub.close();
        let missed = Line::missed(Rank(1), 3).text;
        for reader in [one, other, hub.read()].iter().take(2) {
            assert_eq!(read(reader), ["0 1", "0 3", "1 4", &missed]);
            assert_eq!(reader.next().now_or_never(), Some(None));
        }
        assert_eq!(hub.read().next().now_or_never(), Some(None));
    }

    #[test]
    fn a_pool_that_shows_nothing_has_nothing_sent() {
        let hub = Hub::new(Show::Nothing);
        let _reader = hub.read();
        assert!(hub.wanted().now_or_never().is_none());
    }
}
