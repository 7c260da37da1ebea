//! What runs on this node writes, on its way to the client.
//!
//! ```text
//! a task's process --stdout, stderr--> executor::Tap ----.
//!                  --tracing--> Events --its socket------|
//! a task in here   --tracing--> Events ------------------+-> Queue --stream of the link--> client
//!                  --stdout, stderr--> own pipes --------'
//!                                         `-> stderr to the log too
//! ```

mod events;
pub(crate) mod lines;
mod own;

use std::time::Duration;

use skyward_runtime::link::{Stream, WireError};
use skyward_runtime::model::{Line, OutputStream, Rank, TaskId};
use skyward_runtime::output::{Delivered, Queue, deliver};

pub(crate) use events::TaskEvents;
pub(crate) use lines::Lines;
pub(crate) use own::{log_file, take_over};

/// What waits for the client.
#[derive(Debug, Default)]
pub(crate) struct Output {
    queue: Queue,
    delivered: Delivered,
}

impl Output {
    /// A line was written.
    pub(crate) fn push(&self, task: Option<TaskId>, stream: OutputStream, text: String) {
        // Whose link it is says which node it is.
        self.queue.push(Line { node: Rank::default(), task, stream, text });
    }

    /// Lines are missing.
    pub(crate) fn missed(&self, lines: u64) {
        if lines > 0 {
            self.queue.push(Line::missed(Rank::default(), lines));
        }
    }

    /// Sends it over a stream of the client's, until that is over.
    pub(crate) async fn serve(&self, stream: &mut Stream) -> Result<(), WireError> {
        deliver(&self.queue, &self.delivered, stream).await
    }

    /// Waits until the client has what was written until now, if it reads, and not for long.
    pub(crate) async fn settle(&self) {
        self.delivered.everything(&self.queue, PATIENCE).await;
    }
}

/// How long the end of a task or of the worker waits for its last words to arrive. A client that reads has
/// them within a round trip.
const PATIENCE: Duration = Duration::from_secs(1);
