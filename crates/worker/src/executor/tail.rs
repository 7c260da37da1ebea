//! What a process's two streams say, line by line: to the client with the task that runs, and kept for when
//! the process ends before it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyward_runtime::model::{Crash, OutputStream, TaskId};

use crate::output::Output;

/// The last lines, within bounds, and whose they are.
#[derive(Debug)]
pub(super) struct Tail {
    held: Mutex<Held>,
    output: Arc<Output>,
}

#[derive(Debug, Default)]
struct Held {
    lines: VecDeque<String>,
    task: Option<TaskId>,
    /// A task has run here: what was said before it was the program's own.
    has_begun: bool,
}

impl Tail {
    pub(super) fn new(output: Arc<Output>) -> Self {
        Self { held: Mutex::default(), output }
    }

    /// What is said from now on is this task's.
    pub(super) fn begin(&self, task: TaskId) {
        *self.held() = Held { lines: VecDeque::new(), task: Some(task), has_begun: true };
    }

    /// What is said from now on is no task's.
    pub(super) fn end(&self) {
        self.held().task = None;
    }

    /// Adds a line; the oldest make room for it.
    pub(super) fn push(&self, stream: OutputStream, line: String) {
        let mut held = self.held();
        let (task, has_begun) = (held.task, held.has_begun);
        held.lines.push_back(line.clone());
        while held.lines.len() > Crash::LINES
            || held.lines.iter().map(String::len).sum::<usize>() > Crash::BYTES
        {
            held.lines.pop_front();
        }
        drop(held);
        if has_begun {
            self.output.push(task, stream, line);
        }
    }

    /// Takes the lines out.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.held().lines).into()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the process says that a call runs in, for when the call is given up in the middle.
#[derive(Debug, Default)]
pub(crate) struct Words(Mutex<Option<Arc<Tail>>>);

impl Words {
    /// They are these from now on.
    pub(super) fn are(&self, tail: &Arc<Tail>) {
        *self.tail() = Some(Arc::clone(tail));
    }

    /// The last lines; none of a call that has not begun or has no process of its own.
    pub(crate) fn last(&self) -> Vec<String> {
        self.tail().as_ref().map(|it| it.take()).unwrap_or_default()
    }

    fn tail(&self) -> MutexGuard<'_, Option<Arc<Tail>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_no_more_than_fit() {
        let tail = Tail::new(Arc::default());
        let push = |it: String| tail.push(OutputStream::Stdout, it);
        (0..100).for_each(|it: u32| push(it.to_string()));
        let kept = tail.take();
        assert_eq!((kept.len(), kept.last().map(String::as_str)), (Crash::LINES, Some("99")));
        (0..3).for_each(|_| push("x".repeat(Crash::BYTES / 2)));
        assert_eq!(tail.take().len(), 2);
        assert!(tail.take().is_empty());
    }
}
