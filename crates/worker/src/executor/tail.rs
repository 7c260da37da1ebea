//! The last lines of a task's output, for when its process ends before it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use skyward_runtime::model::Crash;

/// The last lines, within bounds.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: Mutex<VecDeque<String>>,
}

impl Tail {
    /// Adds a line; the oldest make room for it.
    pub(super) fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line);
        while lines.len() > Crash::LINES || lines.iter().map(String::len).sum::<usize>() > Crash::BYTES {
            lines.pop_front();
        }
    }

    /// Takes the lines out.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_no_more_than_fit() {
        let tail = Tail::default();
        (0..100).for_each(|it| tail.push(it.to_string()));
        let kept = tail.take();
        assert_eq!((kept.len(), kept.last().map(String::as_str)), (Crash::LINES, Some("99")));
        (0..3).for_each(|_| tail.push("x".repeat(Crash::BYTES / 2)));
        assert_eq!(tail.take().len(), 2);
        assert!(tail.take().is_empty());
    }
}
