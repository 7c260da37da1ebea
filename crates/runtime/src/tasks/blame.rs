//! How often a task's worker has ended while it ran: such a task may be what ended it, and it must not
//! take one worker after the other.

use crate::model::Rank;

/// One task's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Blame {
    /// The workers that ended with it.
    deaths: u32,
    /// The node that it was lost with last, until it is known whether the worker had ended there.
    suspected: Option<Rank>,
}

impl Blame {
    /// The task was lost with the link to this node. Why is not known yet.
    pub(super) const fn lost_with(self, on: Option<Rank>) -> Self {
        Self { suspected: on, ..self }
    }

    /// The node's worker has ended, while its machine lives.
    pub(super) fn convict(&mut self, rank: Rank) {
        if self.suspected == Some(rank) {
            *self = Self { deaths: self.deaths.saturating_add(1), suspected: None };
        }
    }

    /// The node is there again, or another in its place: whatever ended was not blamed on its tasks.
    pub(super) fn acquit(&mut self, rank: Rank) {
        if self.suspected == Some(rank) {
            self.suspected = None;
        }
    }

    /// Why the task is not tried again, if so many workers have ended with it.
    pub(super) fn condemns(&self, limit: u32) -> Option<String> {
        let Self { deaths, .. } = *self;
        (deaths >= limit.max(1)).then(|| {
            format!(
                "{deaths} workers before ended while it ran there, so it is not tried again (`crash_limit`); \
                 with `Executor::Process` only its own process ends, and says why"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_blamed_for_workers_that_ended_with_it_and_for_nothing_else() {
        let (here, there) = (Rank(1), Rank(2));
        let mut blame = Blame::default();
        blame.convict(here);
        for rank in [here, there] {
            blame = blame.lost_with(Some(rank));
            blame.acquit(rank);
            blame.convict(rank);
        }
        assert_eq!(blame, Blame::default());
        for deaths in 1..=2 {
            assert_eq!(blame.condemns(2), None);
            blame = blame.lost_with(Some(here));
            blame.convict(there);
            blame.convict(here);
            blame.convict(here);
            assert_eq!(blame.deaths, deaths);
        }
        assert!(blame.condemns(2).is_some_and(|it| it.starts_with("2 workers before ended")));
        assert_eq!((Blame::default().condemns(0), blame.condemns(3)), (None, None));
    }
}
