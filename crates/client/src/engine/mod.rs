//! The part of Skyward that one process has once: a tokio runtime of its own, on which everything that
//! keeps machines alive or gives them back runs, and the supervisor. A user's runtime that is dropped,
//! or a main that blocks, cannot stop it; it ends with the process.

mod keeper;
mod place;
mod signals;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use skyward_runtime::supervisor::Supervisor;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;

pub(crate) use keeper::{Ending, Keeper};
pub(crate) use place::InPlace;

/// The runtime, the supervisor, and every pool that is not torn down yet.
pub(crate) struct Engine {
    runtime: Runtime,
    supervisor: OnceCell<Supervisor>,
    pools: Mutex<Pools>,
    signals: OnceLock<()>,
    signal: OnceLock<signals::Signal>,
}

#[derive(Default)]
struct Pools {
    next: u64,
    live: BTreeMap<u64, Keeper>,
    /// What could not be given back and nobody was told of.
    unsaid: Vec<String>,
}

/// What becomes of machines that are kept for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// They are given back.
    GivenBack,
    /// They are left to their leases, where those end them; the others are given back here when their time is over.
    Left,
}

/// At least two threads, so that a task of the user's that computes without ever awaiting cannot stop
/// the renewal of leases on a machine with one core.
const FEWEST_THREADS: usize = 2;

static ENGINE: OnceLock<Result<Engine, std::io::Error>> = OnceLock::new();

impl Engine {
    /// The engine of this process, started on first use.
    pub(crate) fn get() -> Result<&'static Self, crate::Error> {
        ENGINE.get_or_init(Self::start).as_ref().map_err(|it| {
            crate::Error::from(it.to_string())
                .context("the system gives Skyward no threads; raise its limit (`ulimit -u`)")
        })
    }

    /// The engine, if there is one.
    pub(crate) fn existing() -> Option<&'static Self> {
        ENGINE.get().and_then(|it| it.as_ref().ok())
    }

    fn start() -> Result<Self, std::io::Error> {
        let count = AtomicUsize::new(0);
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores.max(FEWEST_THREADS))
            .thread_name_fn(move || format!("{THREAD_NAME}{}", count.fetch_add(1, Ordering::Relaxed)))
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            supervisor: OnceCell::new(),
            pools: Mutex::default(),
            signals: OnceLock::new(),
            signal: OnceLock::new(),
        })
    }

    /// Runs a future on this thread, and what it spawns on Skyward's own.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The runtime.
    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }

    /// Has SIGINT and SIGTERM give everything back before the process ends. The first call counts.
    pub(crate) fn heed_signals(&'static self) {
        self.signals.get_or_init(|| {
            if let Err(error) = signals::heed(self) {
                tracing::warn!(%error, "SIGINT and SIGTERM are not heeded; only leases end machines then");
            }
        });
    }

    /// Gives back the machines of all pools, and says on stderr what is left, and every so often what is waited for.
    /// Each pool has its own deadline. Machines that are kept for the user may be left to their leases, or are waited
    /// for where these do not end them.
    async fn give_everything_back(&self, kept: Kept) {
        loop {
            let keeps = |it: &Keeper| kept == Kept::Left && it.is_keeping();
            let left = |it: &Keeper| keeps(it) && !it.is_unattended();
            let live: Vec<Keeper> = self.pools().live.values().filter(|it| !left(it)).cloned().collect();
            if live.is_empty() {
                break;
            }
            live.iter().filter(|it| !keeps(it)).for_each(Keeper::stop);
            for keeper in &live {
                let waits = if keeps(keeper) { KEPT } else { "still giving back" };
                let mut ended = std::pin::pin!(keeper.ended());
                if keeps(keeper) {
                    say(&format!("{waits} {}", keeper.waits_for()));
                }
                while tokio::time::timeout(TELL, &mut ended).await.is_err() {
                    say(&format!("{waits} {}", keeper.waits_for()));
                }
            }
        }
        let unsaid = std::mem::take(&mut self.pools().unsaid);
        for left in unsaid {
            say(&format!("could not give back {left}"));
        }
    }

    /// What the end of `main` does: gives everything back, and ends the process here if a signal asked
    /// for it, before `main` reports errors that the signal caused.
    pub(crate) fn finish(&self) {
        if !self.pools().live.is_empty() || !self.pools().unsaid.is_empty() {
            // A program that ends because of a machine that failed must not take that machine with it.
            let kept = if self.signal.get().is_some() { Kept::GivenBack } else { Kept::Left };
            self.block_on(self.give_everything_back(kept));
        }
        if let Some(signal) = self.signal.get() {
            std::process::exit(signal.exit_code());
        }
    }

    /// Whether nothing but this program ends some of the machines that there are.
    fn is_unattended(&self) -> bool {
        self.pools().live.values().any(Keeper::is_unattended)
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// How often it is said what is waited for.
const TELL: Duration = Duration::from_secs(30);

/// Why a program waits for machines that its user wanted to look at.
const KEPT: &str = "no lease ends machines of this cloud, so this program stays until their time is over (Ctrl-C \
                    gives them back at once): it keeps";

/// How the names of Skyward's threads begin.
const THREAD_NAME: &str = "skyward-";

/// Says something about the end of the process, where there is nobody left to return it to.
#[expect(
    clippy::print_stderr,
    reason = "the process ends, and machines that may cost money are its user's business"
)]
fn say(line: &str) {
    eprintln!("skyward: {line}");
}
