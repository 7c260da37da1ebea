//! What the Supervisor decides. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::PoolId;

/// A provider of this process, told apart by where it lives in memory: specs that share one share its
/// actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProviderKey(pub(super) usize);

/// What the Supervisor hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A pool on these providers shall be opened.
    Open { pool: PoolId, providers: BTreeSet<ProviderKey> },
    /// A pool has ended, or never began.
    Ended { pool: PoolId },
    /// All pools shall be stopped.
    StopAll,
}

/// What the Supervisor wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Start a provider's actor.
    StartProvider(ProviderKey),
    /// Open the pool.
    OpenPool,
    /// Refuse the pool: everything is being stopped.
    RefusePool,
    /// Stop a pool.
    StopPool(PoolId),
    /// End a provider's actor: no pool uses it any more.
    EndProvider(ProviderKey),
    /// There is no pool left.
    AllEnded,
}

/// The pools of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pools: BTreeMap<PoolId, BTreeSet<ProviderKey>>,
    stopping: bool,
}

impl State {
    pub(super) fn hear(&mut self, heard: Heard) -> Vec<Effect> {
        match heard {
            Heard::Open { .. } if self.stopping => vec![Effect::RefusePool],
            Heard::Open { pool, providers } => {
                let new = providers.iter().filter(|it| !self.is_used(**it));
                let mut effects: Vec<Effect> = new.map(|it| Effect::StartProvider(*it)).collect();
                effects.push(Effect::OpenPool);
                self.pools.insert(pool, providers);
                effects
            }
            Heard::Ended { pool } => {
                let Some(providers) = self.pools.remove(&pool) else { return vec![] };
                let unused = providers.into_iter().filter(|it| !self.is_used(*it));
                let mut effects: Vec<Effect> = unused.map(Effect::EndProvider).collect();
                if self.stopping && self.pools.is_empty() {
                    effects.push(Effect::AllEnded);
                }
                effects
            }
            Heard::StopAll => {
                self.stopping = true;
                if self.pools.is_empty() {
                    return vec![Effect::AllEnded];
                }
                self.pools.keys().cloned().map(Effect::StopPool).collect()
            }
        }
    }

    fn is_used(&self, provider: ProviderKey) -> bool {
        self.pools.values().any(|it| it.contains(&provider))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(pool: &str, providers: &[usize]) -> Heard {
        let providers = providers.iter().copied().map(ProviderKey).collect();
        Heard::Open { pool: PoolId::new(pool), providers }
    }

    fn ended(pool: &str) -> Heard {
        Heard::Ended { pool: PoolId::new(pool) }
    }

    #[test]
    fn pools_that_share_a_provider_share_its_actor_until_the_last_has_ended() {
        let mut state = State::default();
        let (one, two) = (ProviderKey(1), ProviderKey(2));
        for (heard, expected) in [
            (open("a", &[1]), vec![Effect::StartProvider(one), Effect::OpenPool]),
            (open("b", &[1, 2]), vec![Effect::StartProvider(two), Effect::OpenPool]),
            (ended("a"), vec![]),
            (ended("a"), vec![]),
            (ended("b"), vec![Effect::EndProvider(one), Effect::EndProvider(two)]),
        ] {
            let told = format!("{heard:?}");
            assert_eq!(state.hear(heard), expected, "{told}");
        }
        assert_eq!(state, State::default());
    }

    #[test]
    fn stopping_waits_for_every_pool_and_refuses_new_ones() {
        let mut state = State::default();
        state.hear(open("a", &[1]));
        state.hear(open("b", &[1]));
        let (a, b) = (PoolId::new("a"), PoolId::new("b"));
        assert_eq!(state.hear(Heard::StopAll), [Effect::StopPool(a), Effect::StopPool(b)]);
        assert_eq!(state.hear(open("c", &[1])), [Effect::RefusePool]);
        assert_eq!(state.hear(ended("b")), []);
        assert_eq!(state.hear(ended("a")), [Effect::EndProvider(ProviderKey(1)), Effect::AllEnded]);
    }

    #[test]
    fn stopping_nothing_is_done_at_once() {
        assert_eq!(State::default().hear(Heard::StopAll), [Effect::AllEnded]);
    }
}
