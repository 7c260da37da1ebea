//! How everything of a pool that nobody owns is given back: which cloud is asked for what, and when its entry may be
//! forgotten. Pure; whoever gives back drives it.
//!
//! ```text
//! each request, the last first: machines by their names → whatever else there is → …→ forgotten, if nothing is left
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use super::state::{Deed, KnownPool};
use crate::model::{InstanceId, Leftover};

/// A pool that is being given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undoing {
    waiting: VecDeque<(Deed, Vec<InstanceId>)>,
    /// The requests whose answers nobody heard.
    unheard: Vec<Deed>,
    left: Vec<Leftover>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// These machines are ended by their names: a cloud's list may lag behind, or not have what is known here.
    Terminate(Box<Deed>, Vec<InstanceId>),
    /// Everything that the cloud has of the pool is removed.
    Teardown(Box<Deed>),
    /// Nothing is left: the entry is forgotten.
    Forget,
    /// This is left, and stays in the journal.
    Keep(Vec<Leftover>),
}

impl Undoing {
    /// Begins with a pool that was claimed for this.
    pub fn of(pool: &KnownPool) -> Self {
        let mut left = Vec::new();
        if !pool.whole {
            let what = format!("something that the journal says of pool {}", pool.title());
            let reason = "this version of skyward cannot read it; use the one that began the pool".to_owned();
            left.push(Leftover { what, reason });
        }
        let known = |deed: &Deed| {
            // The same request to two accounts of one cloud is undone at each for itself.
            let of_deed = |number: i64| pool.deed(number).is_some_and(|it| it.is_undone_with(deed));
            let machines = pool.machines.iter().filter(|it| of_deed(it.deed));
            machines.map(|it| it.instance.clone()).collect()
        };
        let waiting = pool.undos().into_iter().map(|deed| (deed.clone(), known(deed))).collect();
        let unheard = pool.deeds.iter().filter(|it| it.is_unheard()).cloned().collect();
        Self { waiting, unheard, left }
    }

    /// What is to be done; the same again until it is said what came of it.
    pub fn next(&self) -> Undo {
        match self.waiting.front() {
            Some((deed, machines)) if machines.is_empty() => Undo::Teardown(Box::new(deed.clone())),
            Some((deed, machines)) => Undo::Terminate(Box::new(deed.clone()), machines.clone()),
            None if self.left.is_empty() => Undo::Forget,
            None => Undo::Keep(self.left.clone()),
        }
    }

    /// The cloud of the present request cannot be asked: what it has stays.
    pub fn unasked(&mut self, reason: String) {
        if let Some((deed, machines)) = self.waiting.pop_front() {
            let machines: Vec<&str> = machines.iter().map(InstanceId::as_str).collect();
            let what = match machines.as_slice() {
                [] => format!("what {} has of it", deed.provider),
                _ => format!("what {} has of it, with machines {}", deed.provider, machines.join(", ")),
            };
            self.left.push(Leftover { what, reason });
        }
    }

    /// The machines are gone, or may not be: then nothing else of the request is touched.
    pub fn terminated(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => self.waiting.iter_mut().take(1).for_each(|(_, machines)| machines.clear()),
            Err(reason) => {
                if let Some((deed, _)) = self.waiting.pop_front() {
                    self.left.push(Leftover { what: format!("machines of {}", deed.provider), reason });
                }
            }
        }
    }

    /// What the cloud could not remove, or that it could not be asked. `now`, since 1970: a request whose program ended
    /// before it was answered may yet bring machines, which no list has then; nothing for machines of this computer,
    /// which are begun by the program that asks for them, and by nobody after that.
    pub fn torn_down(&mut self, result: Result<Vec<Leftover>, String>, now: Option<Duration>) {
        match result {
            Ok(kept) => {
                self.left.extend(kept);
                let Some((deed, _)) = self.waiting.pop_front() else { return };
                let same = self.unheard.iter().filter(|it| it.is_undone_with(&deed));
                self.left.extend(now.and_then(|now| pending(same, now)));
            }
            Err(reason) => self.unasked(reason),
        }
    }
}

/// What requests may yet bring whose answers nobody heard, so long after 1970.
pub(crate) fn pending<'a>(deeds: impl Iterator<Item = &'a Deed>, now: Duration) -> Option<Leftover> {
    let open = deeds.filter_map(|it| Some((it.may_yet_bring(now)?, &it.provider)));
    let (left, provider) = open.max()?;
    let what = format!("what {provider} may yet rent, as it was asked to and nobody heard the answer");
    Some(Leftover { what, reason: format!("`sky reap` looks for it in {} s", left.as_secs() + 1) })
}

#[cfg(test)]
#[path = "undoing_tests.rs"]
mod tests;
