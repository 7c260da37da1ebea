//! Keeps one pool from before its first machine until after its last, on the engine, whatever becomes
//! of those who asked for it.
//!
//! ```text
//! starting --ready--> running --stop--> stopping --gave back, or out of time--> ended
//! starting --failed--> ended
//! starting --failed, machines are kept--> keeping --stop, or their time is over--> ended
//! starting --stop--> stopping
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use skyward_runtime::model::Leftover;
use skyward_runtime::pool::{Pool, PoolRequest, StartError};
use skyward_runtime::supervisor::Supervisor;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Engine, THREAD_NAME};
use crate::Error;

/// A handle of one pool's life.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    stop: CancellationToken,
    ended: watch::Receiver<Option<Arc<Ending>>>,
    /// How long its end may take at the most; what the pool itself says at its own deadline comes before.
    longest: Duration,
    /// Some of its machines may not be able to end their own bill.
    unattended: bool,
    /// The pool, once there is one.
    pool: Arc<OnceLock<Pool>>,
    /// The start failed, and all that there is are machines that are kept for the user.
    keeping: Arc<AtomicBool>,
}

/// How a pool ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything was given back, but for these.
    GaveBack(Vec<Leftover>),
    /// It failed while it ran, which is a defect of Skyward's; everything was given back but for these.
    Failed(StartError, Vec<Leftover>),
    /// It had not been confirmed when the time was up: these machines may be there.
    OutOfTime { after: Duration, machines: Vec<String>, unattended: bool },
    /// What kept the pool failed, which is a defect of Skyward's.
    Unknown { machines: Vec<String>, unattended: bool },
}

/// A pool's entry among the live ones, until its task is over, however that ends.
struct Record {
    engine: &'static Engine,
    number: u64,
    keeper: Keeper,
    ended: watch::Sender<Option<Arc<Ending>>>,
    ending: Option<Ending>,
}

/// Cancels a start that nobody waits for any more.
struct Asked(CancellationToken, bool);

impl Engine {
    /// Starts a pool. `printer` prints its events, and has printed the last one before the pool counts
    /// as ended.
    ///
    /// # Errors
    /// What the supervisor says, or that everything is being given back already. Dropping the future
    /// gives back what it had rented.
    pub(crate) async fn keep(
        &'static self,
        request: PoolRequest,
        printer: Option<JoinHandle<()>>,
    ) -> Result<(Pool, u32, Keeper), Error> {
        if self.signal.get().is_some() {
            return Err(Error::from(ENDING));
        }
        let stop = CancellationToken::new();
        let (ended_sender, ended) = watch::channel(None);
        let keeping = Arc::default();
        let keeper = Keeper {
            stop: stop.clone(),
            ended,
            longest: request.longest_end() + MARGIN,
            unattended: !request.unattended().is_empty(),
            pool: Arc::default(),
            keeping,
        };
        let (ready_sender, ready) = oneshot::channel();
        let record = Record::new(self, keeper.clone(), ended_sender);
        let own = keeper.clone();
        self.handle().spawn(async move {
            let ending = self.run(request, &own, ready_sender).await;
            if let Some(printer) = printer {
                let _ = tokio::time::timeout(FLUSH, printer).await;
            }
            record.end(ending);
        });
        let mut asked = Asked(stop, true);
        let answer = ready.await;
        asked.1 = false;
        match answer {
            Ok(Ok((pool, nodes))) => Ok((pool, nodes, keeper)),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::from("the pool was stopped before it was ready; start another one")),
        }
    }

    async fn run(&self, request: PoolRequest, keeper: &Keeper, ready: Ready) -> Ending {
        let out_of_time = async {
            keeper.stop.cancelled().await;
            tokio::time::sleep(keeper.longest).await;
        };
        tokio::select! {
            ending = self.live(request, keeper, ready) => ending,
            () = out_of_time => Ending::OutOfTime {
                after: keeper.longest,
                machines: keeper.machines(),
                unattended: keeper.unattended,
            },
        }
    }

    /// One pool's life, to its end.
    async fn live(&self, request: PoolRequest, keeper: &Keeper, ready: Ready) -> Ending {
        let stop = &keeper.stop;
        // Whoever asked may be gone; then nobody needs the answer.
        let refuse = |ready: Ready, error| drop(ready.send(Err(error)));
        let pool = match self.open(request).await {
            Ok(pool) => pool,
            Err(error) => {
                refuse(ready, error);
                return Ending::GaveBack(Vec::new());
            }
        };
        let _ = keeper.pool.set(pool.clone());
        let started = tokio::select! {
            started = pool.started() => started,
            () = stop.cancelled() => Err(StartError::Stopped),
        };
        match started {
            Ok(nodes) => {
                // A caller who is gone cannot stop the pool, so it ends here.
                if ready.send(Ok((pool.clone(), nodes))).is_ok() {
                    stop.cancelled().await;
                }
                stop.cancel();
                let stopped = pool.stop().await;
                match stopped.failure {
                    Some(failure) => Ending::Failed(failure, stopped.left),
                    None => Ending::GaveBack(stopped.left),
                }
            }
            Err(error @ StartError::Kept { .. }) => {
                keeper.keeping.store(true, Ordering::Release);
                refuse(ready, error);
                let stopped = tokio::select! {
                    stopped = pool.ended() => stopped,
                    () = stop.cancelled() => pool.stop().await,
                };
                Ending::GaveBack(stopped.left)
            }
            Err(error) => {
                let left = pool.stop().await.left;
                refuse(ready, error);
                Ending::GaveBack(left)
            }
        }
    }

    async fn open(&self, request: PoolRequest) -> Result<Pool, StartError> {
        let supervisor = self.supervisor.get_or_try_init(Supervisor::start).await;
        let failed = |error| StartError::Internal(format!("failed to start the root actor: {error}"));
        supervisor.map_err(failed)?.open(request).await
    }
}

/// Where the answer to a start goes.
type Ready = oneshot::Sender<Result<(Pool, u32), StartError>>;

impl Record {
    fn new(engine: &'static Engine, keeper: Keeper, ended: watch::Sender<Option<Arc<Ending>>>) -> Self {
        let mut pools = engine.pools();
        pools.next = pools.next.wrapping_add(1);
        let number = pools.next;
        pools.live.insert(number, keeper.clone());
        drop(pools);
        Self { engine, number, keeper, ended, ending: None }
    }

    fn end(mut self, ending: Ending) {
        self.ending = Some(ending);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let ending = self.ending.take().unwrap_or_else(|| self.keeper.unknown());
        let mut pools = self.engine.pools();
        pools.live.remove(&self.number);
        pools.unsaid.extend(ending.words());
        drop(pools);
        self.ended.send_replace(Some(Arc::new(ending)));
    }
}

impl Keeper {
    /// Asks for everything to be given back.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether its machines are kept for the user, and end by themselves.
    pub(super) fn is_keeping(&self) -> bool {
        self.keeping.load(Ordering::Acquire)
    }

    /// Whether nothing ends some of its machines but this program.
    pub(super) const fn is_unattended(&self) -> bool {
        self.unattended
    }

    /// The machines that are not given back, as far as is known.
    fn machines(&self) -> Vec<String> {
        let bill = self.pool.get().map(Pool::bill);
        let machines = bill.into_iter().flat_map(|it| it.machines).filter(|it| it.open);
        machines.map(|it| it.instance.to_string()).collect()
    }

    /// What is waited for, in a line.
    pub(super) fn waits_for(&self) -> String {
        let pool = self.pool.get().map_or_else(String::new, |it| format!(" of pool {}", it.id()));
        match self.machines() {
            none if none.is_empty() => format!("everything{pool}"),
            machines => format!("{}{pool}", listed(&machines)),
        }
    }

    fn unknown(&self) -> Ending {
        Ending::Unknown { machines: self.machines(), unattended: self.unattended }
    }

    /// Waits until the pool is torn down or its time is up.
    pub(crate) async fn ended(&self) -> Arc<Ending> {
        let mut ended = self.ended.clone();
        let ending = ended.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
        ending.unwrap_or_else(|| Arc::new(self.unknown()))
    }

    /// Gives everything back and blocks this thread until that is done or its time is up.
    pub(crate) fn stop_and_wait(&self, engine: &Engine) {
        self.stop();
        if self.ended.borrow().is_some() {
            return;
        }
        let (done, wait) = channel();
        let keeper = self.clone();
        engine.handle().spawn(async move {
            keeper.ended().await;
            let _ = done.send(());
        });
        // On one of the engine's own threads, what waits in that thread's queue has to go on elsewhere,
        // or the teardown could wait behind the thread that waits for the teardown.
        let block = || wait.recv_timeout(self.longest.saturating_add(MARGIN));
        let own = std::thread::current().name().is_some_and(|it| it.starts_with(THREAD_NAME));
        let _ = if own { tokio::task::block_in_place(block) } else { block() };
    }

    /// The caller has been told how the pool ended, so the end of `main` need not say it again.
    pub(crate) fn said(&self, engine: &Engine, ending: &Ending) {
        let said = ending.words();
        engine.pools().unsaid.retain(|it| !said.contains(it));
    }
}

/// How long a pool's end waits for its last event to be printed. Printing takes microseconds, but stderr
/// may be a pipe that nobody reads.
const FLUSH: Duration = Duration::from_secs(1);

const ENDING: &str = "the program is being ended, so no pool can start; run it again";

/// How much later than the pool itself its keeper gives up, and a thread that waits later than that: the pool's own
/// deadline is the one that should be met first, because it says what is left.
const MARGIN: Duration = Duration::from_secs(2);

impl Ending {
    /// What is left, one line for each.
    pub(crate) fn words(&self) -> Vec<String> {
        let told = |it: &Leftover| format!("{it}; let `sky reap` try again, or remove it by hand");
        match self {
            Self::GaveBack(left) => left.iter().map(told).collect(),
            Self::Failed(_, left) => Self::GaveBack(left.clone()).words(),
            Self::OutOfTime { after, machines, unattended } => {
                vec![format!("{} within {after:.0?}; {}", listed(machines), ends(*unattended))]
            }
            Self::Unknown { machines, unattended } => {
                let ends = ends(*unattended);
                vec![format!("{}, because Skyward itself failed; {ends}", listed(machines))]
            }
        }
    }
}

/// These machines; everything where none is known.
fn listed(machines: &[String]) -> String {
    match machines {
        [] => "everything".to_owned(),
        [one] => format!("machine {one}"),
        many => format!("{} machines ({})", many.len(), many.join(", ")),
    }
}

/// What ends machines that are left.
const fn ends(unattended: bool) -> &'static str {
    match unattended {
        false => "leases end the machines, but look at what your provider lists",
        true => {
            "no lease ends machines that cannot end their own bill: look at what your provider lists, and end them"
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.1 {
            self.0.cancel();
        }
    }
}
