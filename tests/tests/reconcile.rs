//! What becomes of calls whose link breaks: their worker runs them on, and they are asked for over the next link.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use skyward::prelude::*;
use skyward::{Bytes, EventKind, Events, KeyError, Retention, Shared};
use skyward_tests::{Ground, desk, end, send};

/// Long enough for what busy cores do to a redial.
const PATIENCE: Duration = Duration::from_secs(60);

/// The worker: tasks with processes of their own are its children.
#[skyward::function]
async fn worker(executor: Executor) -> u32 {
    match executor {
        Executor::Thread => std::process::id(),
        Executor::Process => std::os::unix::process::parent_id(),
    }
}

/// Notes that it has begun, waits for a file, and gives this many bytes.
#[skyward::function]
async fn noted(note: PathBuf, until: PathBuf, bytes: usize) -> Bytes {
    write_line(&note);
    while !until.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Bytes::from(vec![7; bytes])
}

/// The same with large arguments, which have a stream of their own.
#[skyward::function]
async fn noted_large(note: PathBuf, until: PathBuf, large: Bytes) -> usize {
    write_line(&note);
    while !until.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    large.len()
}

/// Notes that it has begun, and when it is dropped.
#[skyward::function]
async fn drops(note: PathBuf, dropped: PathBuf) {
    struct Guard(PathBuf);
    impl Drop for Guard {
        fn drop(&mut self) {
            write_line(&self.0);
        }
    }
    let _guard = Guard(dropped);
    write_line(&note);
    std::future::pending::<()>().await;
}

#[skyward::function]
async fn one_more(number: u64) -> u64 {
    number + 1
}

/// A value that notes when it is dropped by another process than its owner's.
#[derive(Serialize, Deserialize)]
struct Table {
    note: PathBuf,
    owner: u32,
}

impl Drop for Table {
    fn drop(&mut self) {
        if std::process::id() != self.owner {
            write_line(&self.note);
        }
    }
}

#[skyward::function]
async fn note_of(table: Shared<Table>) -> PathBuf {
    table.note.clone()
}

fn write_line(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file");
    file.write_all(b"x\n").expect("written");
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// How a link is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The worker is frozen until its link has been given up: over QUIC.
    Frozen,
    /// The machine drops its SSH sessions.
    Sessions,
}

struct Scene {
    ground: Ground,
    desk: Ground,
    compute: Compute,
    events: Events,
    worker: u32,
    executor: Executor,
    cut: Cut,
}

impl Scene {
    async fn new(name: &str, cut: Cut, settings: Worker) -> skyward::Result<Self> {
        let (ground, desk) = (Ground::new(name), desk(name)?);
        let carrier = if cut == Cut::Frozen { Carrier::Quic } else { Carrier::Ssh };
        let timing = Timing { grace: PATIENCE, lease: PATIENCE * 2, ..Timing::short() };
        let compute = skyward_tests::apart()
            .spec(Spec::on(Local::default().directory(ground.path())))
            .carrier(carrier)
            .timing(timing)
            .worker(settings)
            .start()
            .await?;
        let executor = settings.executor;
        let worker = (worker(executor) >> &compute).await?;
        let events = compute.events();
        Ok(Self { ground, desk, compute, events, worker, executor, cut })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.desk.path().join(name)
    }

    /// Breaks the link, and waits until that is noticed. With [`Cut::Frozen`] the worker stands still until
    /// [`Self::mend`].
    async fn cut(&mut self) {
        self.strike();
        self.wait(|it| matches!(it, EventKind::LinkLost { .. })).await;
    }

    fn strike(&self) {
        match self.cut {
            Cut::Frozen => send(self.worker, Signal::STOP).expect("frozen"),
            Cut::Sessions => {
                for machine in self.ground.processes("machine") {
                    send(machine, Signal::USR1).expect("told");
                }
            }
        }
    }

    /// Waits until there is a link again.
    async fn mend(&mut self) {
        if self.cut == Cut::Frozen {
            send(self.worker, Signal::CONT).expect("woken");
        }
        self.wait(|it| matches!(it, EventKind::LinkRestored { .. })).await;
    }

    async fn wait(&mut self, is_it: impl Fn(&EventKind) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !is_it(&self.events.next().await.expect("the pool lives").kind) {}
        });
        waited.await.expect("in time");
    }

    async fn end(self) -> skyward::Result<()> {
        // The worker that ran everything has lived all the time.
        assert_eq!((worker(self.executor) >> &self.compute).await?, self.worker);
        end(self.compute, &self.ground).await
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in time: {what}");
}

async fn a_running_call_is_not_run_again(name: &str, cut: Cut) -> skyward::Result<()> {
    let mut scene = Scene::new(name, cut, Worker { concurrency: 3, ..Worker::default() }).await?;
    let (note, large, go) = (scene.file("note"), scene.file("large"), scene.file("go"));
    let bytes = Bytes::from(vec![1; 1 << 20]);
    let call = scene.compute.spawn(noted(note.clone(), go.clone(), 10));
    let alone = scene.compute.spawn(noted_large(large.clone(), go.clone(), bytes));
    let never = scene.compute.spawn(noted(scene.file("once"), go.clone(), 20).once());
    until("all run", || lines(&note) + lines(&large) + lines(&scene.file("once")) == 3).await;
    for _ in 0..2 {
        scene.cut().await;
        scene.mend().await;
    }
    write_line(&go);
    assert_eq!(call.await?[..], [7; 10]);
    assert_eq!(alone.await?, 1 << 20);
    assert_eq!(never.await?[..], [7; 20]);
    assert_eq!((lines(&note), lines(&large), lines(&scene.file("once"))), (1, 1, 1));
    scene.end().await
}

#[skyward::test]
async fn a_call_that_runs_while_its_quic_link_breaks_is_not_run_again() -> skyward::Result<()> {
    a_running_call_is_not_run_again("reconcile-quic", Cut::Frozen).await
}

#[skyward::test]
async fn a_call_that_runs_while_its_ssh_session_breaks_is_not_run_again() -> skyward::Result<()> {
    a_running_call_is_not_run_again("reconcile-ssh", Cut::Sessions).await
}

#[skyward::test]
async fn a_thousand_outcomes_of_a_break_all_arrive_and_none_twice() -> skyward::Result<()> {
    let worker = Worker { concurrency: 1000, ..Worker::default() };
    let mut scene = Scene::new("reconcile-thousand", Cut::Sessions, worker).await?;
    let (note, go) = (scene.file("note"), scene.file("go"));
    let calls: Vec<_> =
        (1..=1000).map(|it| scene.compute.spawn(noted(note.clone(), go.clone(), it))).collect();
    until("all run", || lines(&note) == 1000).await;
    // They end at once, most of them while there is no link.
    write_line(&go);
    scene.cut().await;
    scene.mend().await;
    for (call, bytes) in calls.into_iter().zip(1..) {
        assert_eq!(call.await?.len(), bytes);
    }
    assert_eq!(lines(&note), 1000);
    scene.end().await
}

#[skyward::test]
async fn outcomes_that_memory_does_not_hold_go_to_the_disk_and_arrive() -> skyward::Result<()> {
    let retention = Retention { memory: 1 << 20, ..Retention::default() };
    let worker = Worker { concurrency: 6, retention, ..Worker::default() };
    let mut scene = Scene::new("reconcile-disk", Cut::Sessions, worker).await?;
    let (note, go) = (scene.file("note"), scene.file("go"));
    let size = 3 << 20;
    let calls: Vec<_> = (0..6).map(|_| scene.compute.spawn(noted(note.clone(), go.clone(), size))).collect();
    until("all run", || lines(&note) == 6).await;
    scene.cut().await;
    write_line(&go);
    scene.mend().await;
    for call in calls {
        assert!(call.await?[..] == vec![7; size][..]);
    }
    assert_eq!(lines(&note), 6);
    scene.end().await
}

#[skyward::test]
async fn a_call_that_is_cancelled_during_a_break_stops_after_it() -> skyward::Result<()> {
    let mut scene = Scene::new("reconcile-cancel", Cut::Frozen, Worker::default()).await?;
    let (note, dropped) = (scene.file("note"), scene.file("dropped"));
    let call = scene.compute.spawn(drops(note.clone(), dropped.clone()));
    until("it runs", || lines(&note) == 1).await;
    scene.cut().await;
    call.cancel();
    scene.mend().await;
    until("it stops", || lines(&dropped) == 1).await;
    // Its slot is free again.
    scene.end().await
}

#[skyward::test]
async fn a_worker_that_keeps_as_much_as_it_may_takes_nothing_new_and_then_goes_on() -> skyward::Result<()> {
    let retention = Retention { memory: 1 << 20, disk: 0 };
    let worker = Worker { concurrency: 2, retention, ..Worker::default() };
    let mut scene = Scene::new("reconcile-full", Cut::Sessions, worker).await?;
    let (note, go) = (scene.file("note"), scene.file("go"));
    // Its caller does not take what is there, so the worker keeps it.
    let mut kept = Box::pin(noted(note.clone(), go.clone(), 3 << 20).key("kept") >> &scene.compute);
    let has_ended = tokio::select! {
        _ = &mut kept => true,
        () = until("it runs", || lines(&note) == 1) => false,
    };
    assert!(!has_ended, "it waits for its file");
    write_line(&go);
    // Others come back until its outcome is there; from then on none does.
    let deadline = Instant::now() + PATIENCE;
    let stuck = loop {
        let mut next = scene.compute.spawn(one_more(1));
        if tokio::time::timeout(Duration::from_secs(2), &mut next).await.is_err() {
            break next;
        }
        assert!(Instant::now() < deadline, "it goes on taking calls");
    };
    assert_eq!(kept.await?.len(), 3 << 20);
    assert_eq!(stuck.await?, 2);
    assert_eq!((one_more(2) >> &scene.compute).await?, 3);
    scene.cut().await;
    scene.mend().await;
    scene.end().await
}

#[skyward::test]
async fn a_keyed_call_survives_a_break_and_its_key_is_one_calls_at_a_time() -> skyward::Result<()> {
    let mut scene = Scene::new("reconcile-key", Cut::Frozen, Worker::default()).await?;
    let (note, go) = (scene.file("note"), scene.file("go"));
    let call = scene.compute.spawn(noted(note.clone(), go.clone(), 10).key("mine"));
    until("it runs", || lines(&note) == 1).await;
    let again = (one_more(1).key("mine") >> &scene.compute).await;
    assert!(matches!(again, Err(CallError::Key(KeyError::InUse { .. }))), "{again:?}");
    let unfit = (one_more(1).key("") >> &scene.compute).await;
    assert!(matches!(unfit, Err(CallError::Key(KeyError::Unfit { length: 0 }))), "{unfit:?}");
    scene.cut().await;
    write_line(&go);
    scene.mend().await;
    assert_eq!(call.await?[..], [7; 10]);
    assert_eq!(lines(&note), 1);
    // Its outcome was taken, so the key is free, for another function too.
    assert_eq!((one_more(1).key("mine") >> &scene.compute).await?, 2);
    let all = (gather((0..100).map(one_more)).key("many") >> &scene.compute).await?;
    assert_eq!(all, (1..=100).collect::<Vec<_>>());
    scene.end().await
}

/// Values that calls share stay on a node whose link breaks, and those go that their owner drops meanwhile.
async fn shared_values_outlive_a_link_and_not_their_owner(
    name: &str,
    cut: Cut,
    executor: Executor,
) -> skyward::Result<()> {
    let mut scene = Scene::new(name, cut, Worker { executor, ..Worker::default() }).await?;
    let table = |name: &str| Shared::new(Table { note: scene.file(name), owner: std::process::id() });
    let [kept, early, late] = ["kept", "early", "late"].map(|it| table(it).expect("encoded"));
    let all = gather([&kept, &early, &late].map(|it| note_of(it.clone()))) >> &scene.compute;
    assert_eq!(all.await?, ["kept", "early", "late"].map(|it| scene.file(it)));
    let lies_in_files = executor == Executor::Process;
    assert_eq!(scene.ground.files_in("shared").len(), if lies_in_files { 3 } else { 0 });
    scene.strike();
    // Nobody knows yet that nothing that is said now is heard.
    drop(early);
    scene.wait(|it| matches!(it, EventKind::LinkLost { .. })).await;
    drop(late);
    scene.mend().await;
    until("their files go", || scene.ground.files_in("shared").len() == usize::from(lies_in_files)).await;
    // A process lets go of what has gone before its next task.
    assert_eq!((note_of(kept.clone()) >> &scene.compute).await?, scene.file("kept"));
    until("they go", || ["early", "late"].iter().all(|it| lines(&scene.file(it)) == 1)).await;
    assert_eq!(lines(&scene.file("kept")), 0);
    if lies_in_files {
        // It was not sent again: where somebody takes it away, it is missing.
        scene.ground.files_in("shared").iter().for_each(|it| std::fs::remove_file(it).expect("removed"));
        let missing = (note_of(kept.clone()) >> &scene.compute).await;
        assert!(missing.is_err() && scene.ground.files_in("shared").is_empty(), "{missing:?}");
    }
    scene.end().await
}

#[skyward::test]
async fn shared_values_of_processes_outlive_a_quic_link_and_not_their_owner() -> skyward::Result<()> {
    let executor = Executor::Process;
    shared_values_outlive_a_link_and_not_their_owner("reconcile-shared-quic", Cut::Frozen, executor).await
}

#[skyward::test]
async fn shared_values_of_processes_outlive_an_ssh_link_and_not_their_owner() -> skyward::Result<()> {
    let executor = Executor::Process;
    shared_values_outlive_a_link_and_not_their_owner("reconcile-shared-ssh", Cut::Sessions, executor).await
}

#[skyward::test]
async fn shared_values_in_a_workers_memory_outlive_a_link_and_not_their_owner() -> skyward::Result<()> {
    let executor = Executor::Thread;
    shared_values_outlive_a_link_and_not_their_owner("reconcile-shared-memory", Cut::Frozen, executor).await
}
