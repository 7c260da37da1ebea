//! What becomes of one request for machines, written down while it is being made: what a cloud sold is known from the
//! moment that it said so, whatever happens to who asked.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use skyward_runtime::model::InstanceId;

use super::refusal::Refusal;

/// What is known of one request.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The order's, once it has a template.
    pub(super) name: Option<String>,
    pub(super) machines: BTreeSet<InstanceId>,
    /// Why there are no more.
    pub(super) refusal: Option<Refusal>,
}

/// The book of one request.
pub(super) struct Book<'a> {
    entry: Mutex<Entry>,
    remember: Box<Remember<'a>>,
}

/// Who hears of each machine at once.
type Remember<'a> = dyn Fn(&[InstanceId]) + Send + Sync + 'a;

impl<'a> Book<'a> {
    /// An empty one; `remember` hears of each machine at once.
    pub(super) fn new(remember: impl Fn(&[InstanceId]) + Send + Sync + 'a) -> Self {
        Self { entry: Mutex::default(), remember: Box::new(remember) }
    }

    /// An order is about to leave a template of this name.
    pub(super) fn ordered(&self, name: &str) {
        self.entry().name = Some(name.to_owned());
    }

    /// These are ours; how many there are by now.
    pub(super) fn got(&self, ids: Vec<InstanceId>) -> usize {
        (self.remember)(&ids);
        let mut entry = self.entry();
        entry.machines.extend(ids);
        entry.machines.len()
    }

    /// There are no more, and this is why.
    pub(super) fn refused(&self, refusal: Option<Refusal>) {
        self.entry().refusal = refusal;
    }

    /// All that is known.
    pub(super) fn close(&self) -> Entry {
        std::mem::take(&mut *self.entry())
    }

    fn entry(&self) -> MutexGuard<'_, Entry> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
