//! `tracing` events of tasks as lines.

use std::fmt::{self, Write};

use skyward_runtime::inside;
use skyward_runtime::model::TaskId;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Lines;

/// Turns each event into a line and hands it on, with the task that this thread runs.
pub(crate) struct TaskEvents<F>(F);

impl<F: Fn(Option<TaskId>, String)> TaskEvents<F> {
    /// Hands lines on to this.
    pub(crate) const fn new(each: F) -> Self {
        Self(each)
    }
}

impl<S: Subscriber, F: Fn(Option<TaskId>, String) + 'static> Layer<S> for TaskEvents<F> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut text = Text(format!("{} {}:", metadata.level(), metadata.target()));
        event.record(&mut text);
        // A message of several lines is several lines.
        let (mut lines, task) = (Lines::default(), inside::task());
        lines.take(text.0.as_bytes(), |line| (self.0)(task, line));
        lines.finish(|line| (self.0)(task, line));
    }
}

/// The message as it is, other fields as `name=value`.
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.add(format_args!(" {value}")),
            name => self.add(format_args!(" {name}={value:?}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.add(format_args!(" {value:?}")),
            name => self.add(format_args!(" {name}={value:?}")),
        }
    }
}

impl Text {
    fn add(&mut self, what: fmt::Arguments<'_>) {
        // A `String` takes everything; a value whose `Debug` fails is left out.
        let _ = self.0.write_fmt(what);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use skyward_runtime::inside::TaskContext;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn an_event_is_a_line_of_the_task_that_runs() {
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let sink = Arc::clone(&seen);
        let layer = TaskEvents::new(move |task, text| sink.lock().expect("whole").push((task, text)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let context = TaskContext::of(TaskId(7));
            context
                .cancellation()
                .surround(|| tracing::warn!(target: "loss", step = 3, name = "a b", "high: {}", 0.5));
            tracing::info!(target: "idle", "between\nand between");
        });
        let seen = seen.lock().expect("whole").clone();
        let expected = [
            (Some(TaskId(7)), "WARN loss: high: 0.5 step=3 name=\"a b\"".to_owned()),
            (None, "INFO idle: between".to_owned()),
            (None, "and between".to_owned()),
        ];
        assert_eq!(seen, expected);
    }
}
