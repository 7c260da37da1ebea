//! What the ProviderActor decides: which write runs. Pure.

use std::collections::VecDeque;

/// One write, by its number of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WriteId(pub(super) u64);

/// The writes of one provider: one runs, the others wait in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    running: Option<WriteId>,
    waiting: VecDeque<WriteId>,
}

impl State {
    /// A write arrived. Returns the write to start now, if any.
    pub(super) fn arrived(&mut self, id: WriteId) -> Option<WriteId> {
        self.waiting.push_back(id);
        self.next()
    }

    /// The running write ended. Returns the write to start now, if any.
    pub(super) fn finished(&mut self) -> Option<WriteId> {
        self.running = None;
        self.next()
    }

    fn next(&mut self) -> Option<WriteId> {
        if self.running.is_none() {
            self.running = self.waiting.pop_front();
            return self.running;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_run_one_at_a_time_in_order() {
        let mut state = State::default();
        assert_eq!(state.arrived(WriteId(1)), Some(WriteId(1)));
        assert_eq!(state.arrived(WriteId(2)), None);
        assert_eq!(state.arrived(WriteId(3)), None);
        assert_eq!(state.finished(), Some(WriteId(2)));
        assert_eq!(state.finished(), Some(WriteId(3)));
        assert_eq!(state.finished(), None);
        assert_eq!(state.finished(), None);
        assert_eq!(state, State::default());
    }
}
