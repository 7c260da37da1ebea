//! What is built once for each node and used by every call: a model, a connection, a cache.
//!
//! ```text
//! empty --first caller--> building --built--> there, for all
//!   ^                        |
//!   +-- failed, panicked, cancelled: the next caller builds
//! ```

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The value of this type that this node has, built by the first call that asks for it. Calls that ask
/// meanwhile wait for it. When the builder panics, so does this, and the next call builds.
///
/// There is one value of each type in a worker process, whoever asks: give it a type of your own where
/// one node needs two of a kind. It lives as long as the worker; in a `.local()` call, as long as the
/// program. With [`Executor::Process`](crate::Executor) each slot's process has one of its own, which
/// lives as long as that process: until a call in it crashes or is given up.
///
/// It blocks the thread while the value is built, so a call of an async function uses
/// [`node_state_async`]. The builder must not ask for the type that it builds.
///
/// ```
/// struct Model(Vec<f32>);
///
/// #[skyward::function]
/// fn infer(at: usize) -> f32 {
///     let model = skyward::node_state(|| Model(vec![0.5; 4])); // loaded once, however many calls
///     model.0.get(at).copied().unwrap_or_default()
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     assert_eq!(infer(1).local().await?, 0.5);
///     Ok(())
/// }
/// ```
pub fn node_state<T: Send + Sync + 'static>(build: impl FnOnce() -> T) -> Arc<T> {
    let Ok(state) = try_node_state(|| Ok::<T, Infallible>(build()));
    state
}

/// As [`node_state`], of a builder that may fail.
///
/// # Errors
/// The builder's. The next call that asks builds again.
///
/// ```
/// use skyward::Failure;
///
/// struct Vocabulary(String);
///
/// #[skyward::function]
/// fn words() -> Result<usize, Failure> {
///     let read = || Ok::<_, std::io::Error>(Vocabulary(std::fs::read_to_string("words.txt")?));
///     Ok(skyward::try_node_state(read)?.0.lines().count())
/// }
/// ```
pub fn try_node_state<T: Send + Sync + 'static, E>(
    build: impl FnOnce() -> Result<T, E>,
) -> Result<Arc<T>, E> {
    match Slot::of_type().claim() {
        Claim::Built(state) => Ok(state),
        Claim::Build(building) => build().map(|it| building.done(it)),
    }
}

/// As [`node_state`], for async functions. When the call that builds is cancelled, one that waits
/// builds.
///
/// ```
/// struct Model(Vec<f32>);
///
/// #[skyward::function]
/// async fn size() -> usize {
///     skyward::node_state_async(async || Model(vec![0.5; 4])).await.0.len()
/// }
/// ```
pub async fn node_state_async<T: Send + Sync + 'static, F: Future<Output = T>>(
    build: impl FnOnce() -> F,
) -> Arc<T> {
    let Ok(state) = try_node_state_async(|| {
        let built = build();
        async { Ok::<T, Infallible>(built.await) }
    })
    .await;
    state
}

/// As [`node_state_async`], of a builder that may fail.
///
/// # Errors
/// The builder's. The next call that asks builds again.
pub async fn try_node_state_async<T: Send + Sync + 'static, E, F: Future<Output = Result<T, E>>>(
    build: impl FnOnce() -> F,
) -> Result<Arc<T>, E> {
    match Slot::of_type().claim_async().await {
        Claim::Built(state) => Ok(state),
        Claim::Build(building) => build().await.map(|it| building.done(it)),
    }
}

static SLOTS: Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>> = Mutex::new(BTreeMap::new());

/// The place of one type's value.
struct Slot<T> {
    state: Mutex<State<T>>,
    /// For threads that wait.
    changed: Condvar,
    /// For tasks that wait.
    notify: Notify,
}

enum State<T> {
    Empty,
    Building,
    Built(Arc<T>),
}

/// What whoever asks gets: the value, or the duty to build it.
enum Claim<T> {
    Built(Arc<T>),
    Build(Building<T>),
}

/// The duty to build. Dropped undone, it goes to the next.
struct Building<T> {
    slot: Arc<Slot<T>>,
}

impl<T: Send + Sync + 'static> Slot<T> {
    fn new() -> Self {
        Self { state: Mutex::new(State::Empty), changed: Condvar::new(), notify: Notify::new() }
    }

    fn of_type() -> Arc<Self> {
        let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(Self::new()));
        // The key is the type, so this never makes one that nobody else has.
        Arc::clone(slot).downcast().unwrap_or_else(|_| Arc::new(Self::new()))
    }

    fn claim(self: Arc<Self>) -> Claim<T> {
        let mut state = self.lock();
        loop {
            if let Some(claim) = self.look(&mut state) {
                return claim;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    async fn claim_async(self: Arc<Self>) -> Claim<T> {
        loop {
            let mut changed = std::pin::pin!(self.notify.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(claim) = self.look(&mut self.lock()) {
                return claim;
            }
            changed.await;
        }
    }

    fn look(self: &Arc<Self>, state: &mut State<T>) -> Option<Claim<T>> {
        match state {
            State::Built(built) => Some(Claim::Built(Arc::clone(built))),
            State::Building => None,
            State::Empty => {
                *state = State::Building;
                Some(Claim::Build(Building { slot: Arc::clone(self) }))
            }
        }
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Building<T> {
    fn done(self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        *self.slot.lock() = State::Built(Arc::clone(&value));
        value
    }
}

impl<T> Drop for Building<T> {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        if matches!(*state, State::Building) {
            *state = State::Empty;
        }
        drop(state);
        self.slot.changed.notify_all();
        self.slot.notify.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_asks_while_it_is_built_waits_for_it() {
        struct Once(u32);
        static BUILT: AtomicU32 = AtomicU32::new(0);
        let ask = || {
            let build = || {
                thread::sleep(Duration::from_millis(20));
                Once(BUILT.fetch_add(1, Ordering::SeqCst))
            };
            node_state(build).0
        };
        let threads: Vec<_> = (0..8).map(|_| thread::spawn(ask)).collect();
        assert!(threads.into_iter().all(|it| it.join().expect("joined") == 0));
        assert_eq!(BUILT.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_builder_that_fails_or_panics_leaves_it_to_the_next() {
        struct Late(u32);
        assert_eq!(try_node_state(|| Err::<Late, _>("no")).err(), Some("no"));
        assert!(catch_unwind(|| node_state(|| -> Late { panic!("no") })).is_err());
        assert_eq!(node_state(|| Late(3)).0, 3);
        assert_eq!(try_node_state(|| Err::<Late, _>("no longer asked")).map(|it| it.0), Ok(3));
    }

    #[tokio::test]
    async fn an_async_builder_that_is_cancelled_leaves_it_to_one_that_waits() {
        struct Slow(&'static str);
        let first = tokio::spawn(node_state_async(|| async {
            std::future::pending::<()>().await;
            Slow("first")
        }));
        tokio::task::yield_now().await;
        let second = tokio::spawn(node_state_async(|| async { Slow("second") }));
        let failing = tokio::spawn(try_node_state_async(|| async { Err::<Slow, _>("failed") }));
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        first.abort();
        let failed = failing.await.expect("joined");
        assert_eq!(second.await.expect("joined").0, "second");
        // Whichever of the two came first: it failed, or it found what the other built.
        assert!(failed.is_err_and(|it| it == "failed") || node_state(|| Slow("third")).0 == "second");
        // Threads and tasks share the value.
        assert_eq!(thread::spawn(|| node_state(|| Slow("third")).0).join().expect("joined"), "second");
    }
}
