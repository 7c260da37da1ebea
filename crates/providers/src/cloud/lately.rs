//! What a provider rented lately: a cloud that says that it knows no such machine may only not have heard of it yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skyward_runtime::model::{Instance, InstanceId, PoolId};

use super::Rental;

/// Machines that were rented, by when and for whom, until they have ended or every list has them.
#[derive(Debug, Default)]
pub(crate) struct Lately(Mutex<BTreeMap<InstanceId, (Instant, PoolId)>>);

impl Lately {
    /// Remembers what was just rented. `settles`: how long it may take to be in a list.
    pub(crate) fn rented(&self, pool: &PoolId, machines: &[Instance], settles: Duration) {
        let mut rented = self.all();
        rented.retain(|_, (since, _)| since.elapsed() < settled(settles));
        rented.extend(machines.iter().map(|it| (it.id.clone(), (Instant::now(), pool.clone()))));
    }

    /// Whether a machine is so new that who says that there is none may only not have heard of it.
    pub(crate) fn has(&self, id: &str, settles: Duration) -> bool {
        self.all().get(&InstanceId::new(id)).is_some_and(|(since, _)| since.elapsed() < settled(settles))
    }

    /// What was rented lately for a pool: no list may have it yet.
    pub(crate) fn of(&self, pool: &PoolId, settles: Duration) -> Vec<Rental> {
        let recent = |(since, owner): &(Instant, PoolId)| owner == pool && since.elapsed() < settled(settles);
        let ids: Vec<InstanceId> =
            self.all().iter().filter(|(_, it)| recent(it)).map(|(id, _)| id.clone()).collect();
        Rental::known(&ids)
    }

    /// These are certainly gone.
    pub(crate) fn ended<'a>(&self, ids: impl IntoIterator<Item = &'a InstanceId>) {
        let mut rented = self.all();
        for id in ids {
            rented.remove(id);
        }
    }

    /// Nothing of this pool is there any more.
    pub(crate) fn torn_down(&self, pool: &PoolId) {
        self.all().retain(|_, (_, owner)| owner != pool);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<InstanceId, (Instant, PoolId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a cloud's word that there is no such machine is not taken for it: a few times as long as it takes until
/// what was made is listed.
const fn settled(settles: Duration) -> Duration {
    settles.saturating_mul(4)
}

#[test]
fn what_was_rented_is_recent_until_it_has_ended() {
    use skyward_runtime::model::InstanceState;

    let (lately, long) = (Lately::default(), Duration::from_secs(3600));
    let (pool, other) = (PoolId::new("p"), PoolId::new("q"));
    let ids = ["a", "b"].map(InstanceId::new);
    let machines = ids.clone().map(|id| Instance { id, state: InstanceState::Pending });
    lately.rented(&pool, &machines, long);
    assert_eq!(
        (lately.has("a", long), lately.has("c", long), lately.has("a", Duration::ZERO)),
        (true, false, false)
    );
    assert_eq!((lately.of(&pool, long).len(), lately.of(&other, long).len()), (2, 0));
    lately.ended(&ids[..1]);
    assert_eq!((lately.has("a", long), lately.has("b", long)), (false, true));
    lately.torn_down(&other);
    assert!(lately.has("b", long));
    lately.torn_down(&pool);
    assert!(!lately.has("b", long));
}
