//! What an owner of the pool has left under keys at a worker, for the owner after it: a part of [`Outcomes`].

use std::collections::BTreeSet;

use super::{Entry, Outcomes, Run, Stage};
use crate::model::Key;

/// What another owner of the pool has left under a key, and the present one has not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Left {
    /// Nothing: what there is under the key is the present owner's.
    #[default]
    Nothing = 0,
    /// A call that runs, or waits to.
    Running = 1,
    /// An outcome.
    Kept = 2,
}

impl<T, H> Outcomes<T, H> {
    /// The keys under which something runs or is kept, and what of it another owner has left.
    pub fn keys(&self) -> impl Iterator<Item = (&Key, Left)> {
        let joined: BTreeSet<Run> = self.joined.values().map(|(run, _)| *run).collect();
        self.keys.iter().map(move |(key, run)| (key, self.left_of(*run, joined.contains(run))))
    }

    /// What another owner has left under a key.
    pub fn left(&self, key: &Key) -> Left {
        let is_joined = |run: Run| self.joined.values().any(|(joined, _)| *joined == run);
        self.keys.get(key).map_or(Left::Nothing, |run| self.left_of(*run, is_joined(*run)))
    }

    /// Has this told when the call that another owner has left under a key has ended: at once, where none runs. Who was
    /// to be told before waits in vain, and so does this one once the present owner asks for the call.
    pub fn watch(&mut self, key: &Key, waits: H) -> Result<Option<H>, H> {
        let run = (self.left(key) == Left::Running).then(|| self.keys.get(key).copied()).flatten();
        match run.and_then(|run| self.entries.get_mut(&run)) {
            Some(Entry { stage: Stage::Running { waits: before, .. }, .. }) => Ok(before.replace(waits)),
            Some(_) | None => Err(waits),
        }
    }

    fn left_of(&self, run: Run, is_joined: bool) -> Left {
        match self.entries.get(&run) {
            Some(entry) if run.epoch < self.epoch && !is_joined => match entry.is_running() {
                true => Left::Running,
                false => Left::Kept,
            },
            Some(_) | None => Left::Nothing,
        }
    }
}

#[test]
fn what_another_owner_left_is_told_from_what_the_present_one_has_and_its_end_is_told() {
    use super::Try;
    use crate::model::{Attempt, Epoch, Retention, TaskId};
    let it = |task| -> Try { (TaskId(task), Attempt(0)) };
    let key = |name: &str| Some((Key::read(name.to_owned()), [0; 32]));
    let mut kept: Outcomes<u8, &str> = Outcomes::new(Retention::default());
    kept.link(Epoch(1));
    for (task, name) in [(1, "asked"), (2, "kept"), (3, "runs")] {
        kept.arrive(it(task), key(name), "cancel");
    }
    let run = |task| Run { epoch: Epoch(1), it: it(task) };
    assert_eq!(kept.finish(run(2), 7, 10), Ok(None));
    let left = |kept: &Outcomes<u8, &str>| kept.keys().map(|(_, left)| left).collect::<Vec<_>>();
    assert_eq!(left(&kept), [Left::Nothing; 3]);
    kept.link(Epoch(2));
    assert_eq!(left(&kept), [Left::Running, Left::Kept, Left::Running]);
    kept.arrive(it(1), key("own"), "cancel");
    kept.arrive(it(2), key("asked"), "cancel");
    assert_eq!(left(&kept), [Left::Nothing, Left::Kept, Left::Nothing, Left::Running]);
    let name = |name: &str| Key::read(name.to_owned());
    assert_eq!(kept.watch(&name("kept"), "told"), Err("told"));
    assert_eq!(kept.watch(&name("asked"), "told"), Err("told"));
    assert_eq!(kept.watch(&name("runs"), "before"), Ok(None));
    assert_eq!(kept.watch(&name("runs"), "told"), Ok(Some("before")));
    assert_eq!(kept.finish(run(3), 8, 10), Ok(Some("told")));
    assert_eq!([kept.left(&name("runs")), kept.left(&name("nobody's"))], [Left::Kept, Left::Nothing]);
}
