//! One line of what runs on nodes writes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Rank, TaskId};

/// One line that a task, or something else on a node, has written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The rank of the node that it comes from.
    pub node: Rank,
    /// The task that wrote it. `None` for what tasks that share the worker's process write to standard
    /// output and error, which does not say whose it is.
    pub task: Option<TaskId>,
    /// What it was written to.
    pub stream: OutputStream,
    /// The line, without its end. What is no UTF-8 is replaced; what is longer than 8 KiB comes as several.
    pub text: String,
}

/// What a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// `tracing`: an event, with its level, target, message and fields.
    Log,
    /// Nothing: here this many lines are missing, because they came faster than they were read.
    Missed(u64),
}

impl Line {
    /// What stands where lines are missing.
    pub fn missed(node: Rank, lines: u64) -> Self {
        let text = format!("{lines} lines are missing here: they came faster than they were read");
        Self { node, task: None, stream: OutputStream::Missed(lines), text }
    }
}

impl fmt::Display for Line {
    /// The line behind its node's rank: `[2] loading`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.node, self.text)
    }
}
