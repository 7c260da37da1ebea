//! Programs that are killed, and run again: what they find, and what is left of those that are not. And what a
//! program is told whose pool another one has.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stderr, reason = "it says what it skips, and how far each killed program had come")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use skyward::journal::{Journal, Standing, give_back};
use skyward::prelude::*;
use skyward_runtime::random;
use skyward_tests::{Ground, output_within, patient, send, until};

#[path = "attach/journal.rs"]
mod journal;

/// How long one run may take on busy cores. It takes some three seconds by itself.
const DEADLINE: Duration = Duration::from_secs(120);

/// How many tasks a run has.
const TASKS: u32 = 200;

/// The seconds of leases that are to lapse.
const SHORT: u64 = 4;

/// The seconds of leases within which a program is run again.
const LONG: u64 = 20;

/// The seconds of leases that nothing waits for.
const PATIENT: u64 = 300;

/// What all runs of one program share.
struct Place(Ground);

impl Place {
    fn new(name: &str) -> Self {
        let ground = Ground::new(name);
        std::fs::create_dir_all(ground.path()).expect("made");
        Self(ground)
    }

    fn path(&self, of: &str) -> PathBuf {
        self.0.path().join(of)
    }

    fn journal(&self) -> Journal {
        Journal::open(&self.path("state")).expect("opened")
    }

    fn command(&self, name: &str, lease: u64, deed: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_returner"));
        command.arg(self.0.path()).args([name, &lease.to_string(), deed]);
        command
    }

    fn run(&self, name: &str, lease: u64, deed: &str) -> Output {
        output_within(DEADLINE, &mut self.command(name, lease, deed))
    }

    /// The file of the journal, opened beside those who use it.
    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path("state/journal.sqlite")).expect("opened")
    }

    /// Its machines, by their processes.
    fn machines(&self) -> BTreeSet<u32> {
        self.0.processes("machine").into_iter().collect()
    }

    /// Runs it until it has said this line, and for so long after that; then it is killed. What it had said.
    fn killed(&self, name: &str, lease: u64, line: Option<&str>, after: Duration) -> Vec<String> {
        let mut command = self.command(name, lease, "sweep");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut program = command.spawn().expect("started");
        let lines = BufReader::new(program.stdout.take().expect("piped")).lines();
        let (tell, told) = std::sync::mpsc::channel();
        let reader =
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(|it| drop(tell.send(it))));
        let mut said = Vec::new();
        while line.is_some_and(|line| !said.iter().any(|it| it == line)) {
            said.push(told.recv_timeout(DEADLINE).expect("it comes so far"));
        }
        std::thread::park_timeout(after);
        // Over already is fine: then it was not killed.
        let _ = program.kill();
        let _ = program.wait();
        reader.join().expect("no panic");
        said.extend(told);
        said
    }

    /// Each task that was computed, as often as it was.
    fn computed(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.path("computed")).unwrap_or_default();
        let mut computed: Vec<u32> = text.lines().map(|it| it.parse().expect("a number")).collect();
        computed.sort_unstable();
        computed
    }

    /// What runs on its machines, and their directories.
    fn left(&self) -> Vec<String> {
        let mut left = self.0.commands();
        left.retain(|it| it.contains("returner"));
        let machines = std::fs::read_dir(self.path("machines")).into_iter().flatten().flatten();
        left.extend(machines.map(|it| it.path().display().to_string()));
        left
    }

    /// Waits until the machines have ended by their leases, gives back what is left, and looks whether anything is.
    fn expect_nothing_after_leases_and_reap(&self) {
        let lapsed = until(DEADLINE, || {
            let journal = self.journal();
            let pools = journal.read().expect("read").pools;
            let over = |it| journal.holder(it).is_none() && journal_says_lapsed(&journal, it);
            (self.0.commands().iter().all(|it| !it.contains("returner")) && pools.iter().all(over))
                .then_some(())
        });
        assert!(lapsed.is_some(), "machines outlive their leases: {:#?}", self.0.commands());
        let journal = self.journal();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("built");
        for pool in journal.read().expect("read").pools {
            let left = runtime.block_on(give_back(&journal, &pool)).expect("given back");
            assert!(left.is_empty(), "{left:?}");
        }
        journal.sweep();
        assert_eq!(journal.read().expect("read"), skyward::journal::Reading::default());
        assert!(!self.path("state/keys").exists() && !self.path("state/locks").exists());
        assert_eq!(self.left(), Vec::<String>::new());
    }
}

fn journal_says_lapsed(journal: &Journal, pool: &skyward::journal::KnownPool) -> bool {
    pool.standing(journal.holder(pool), Journal::now()) == Standing::Lapsed
}

/// The same of one that is owned.
fn would_be_lapsed(pool: &skyward::journal::KnownPool) -> bool {
    pool.standing(None, Journal::now()) == Standing::Lapsed
}

fn said(output: &Output) -> String {
    let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

fn results(lines: &[String]) -> Vec<u32> {
    lines.iter().filter_map(|it| it.strip_prefix("result ")?.parse().ok()).collect()
}

fn all_results() -> Vec<u32> {
    (0..TASKS).map(|it| it * 7).collect()
}

/// A number below `most`, other ones in each run.
fn below(most: u64) -> u64 {
    let text = random::text(8).expect("random numbers");
    text.bytes().fold(0, |sum: u64, it| sum.wrapping_mul(31).wrapping_add(it.into())) % most
}

/// How many programs are killed: ten in the gate, more with `SKYWARD_KILLS`.
fn kills() -> u64 {
    std::env::var("SKYWARD_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(10)
}

/// Of three programs one is killed while it rents, one while it runs, one while it gives back.
#[test]
fn killed_at_any_moment_it_leaves_nothing_or_goes_on_where_it_was() {
    let next = AtomicU64::new(0);
    let one_after_another = || {
        loop {
            let kill = next.fetch_add(1, Ordering::Relaxed);
            if kill >= kills() {
                break;
            }
            killed_once(kill);
        }
    };
    // Most of the time they wait for leases.
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(one_after_another))));
}

fn killed_once(kill: u64) {
    let place = Place::new("attach-kills");
    let (line, most) = match kill % 3 {
        0 => (None, 1500),
        1 => (Some("running"), 1100),
        _ => (Some("delivered"), 120),
    };
    let after = Duration::from_millis(below(most));
    // Whatever has come to "running" is run again.
    let lease = if line == Some("delivered") { SHORT } else { LONG };
    let lines = place.killed("sweep", lease, line, after);
    let (ran, delivered) = (lines.contains(&"running".to_owned()), lines.contains(&"delivered".to_owned()));
    let before = place.computed().len();
    eprintln!("kill {kill}, {after:?} after {line:?}: ran {ran}, delivered {delivered}, {before} computed");
    if delivered {
        assert_eq!(results(&lines), all_results());
    } else if ran {
        let output = place.run("sweep", lease, "sweep");
        let told = said(&output);
        assert!(output.status.success() && told.contains("attached: 2 nodes"), "{told}");
        let lines: Vec<String> = told.lines().map(str::to_owned).collect();
        assert_eq!(results(&lines), all_results());
        assert_eq!(place.computed(), (0..TASKS).collect::<Vec<_>>());
        // It ended well, so that nobody has to wait for anything.
        assert_eq!(place.left(), Vec::<String>::new());
        assert!(place.journal().read().expect("read").pools.is_empty());
    }
    let distinct: BTreeSet<u32> = place.computed().into_iter().collect();
    assert_eq!(distinct.len(), place.computed().len(), "computed twice");
    if delivered || !ran {
        place.expect_nothing_after_leases_and_reap();
    }
}

#[test]
fn a_second_program_is_told_who_has_the_pool_and_other_specs_are_refused() {
    let place = Place::new("attach-second");
    std::fs::write(place.path("data"), "some").expect("written");
    let mut holder = place.command("train", PATIENT, "hold");
    holder.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut holder = holder.spawn().expect("started");
    let mut line = String::new();
    BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
    assert_eq!(line.trim(), "running");
    let second = place.run("train", PATIENT, "sweep");
    let told = said(&second);
    assert!(!second.status.success(), "{told}");
    assert!(told.contains(&format!("pool train is in use by process {}", holder.id())), "{told}");
    // Another pool is another's.
    let third = place.run("other", SHORT, "sweep");
    assert!(third.status.success(), "{}", said(&third));
    holder.kill().expect("killed");
    holder.wait().expect("waited");
    let refuses = |deed: &str, words: &str| {
        let other = place.run("train", PATIENT, deed);
        let told = said(&other);
        assert!(!other.status.success(), "{told}");
        assert!(told.contains(words) && told.contains("sky reap"), "{told}");
    };
    refuses("wider", "specs, nodes, image, worker, carrier or `cluster` are others");
    refuses("secret", "its secrets are others");
    std::fs::write(place.path("data"), "other").expect("written");
    refuses("sweep", "its included files are others");
    let journal = place.journal();
    let pool = journal.named("train").expect("read").expect("there");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("built");
    assert_eq!(runtime.block_on(give_back(&journal, &pool)).expect("given back"), []);
    assert_eq!((place.left(), journal.read().expect("read").pools), (Vec::new(), Vec::new()));
}

/// What a program says, by line, as it says it.
struct Said {
    lines: std::sync::mpsc::Receiver<String>,
    before: Vec<String>,
}

impl Said {
    fn of(output: impl std::io::Read + Send + 'static) -> Self {
        let (tell, lines) = std::sync::mpsc::channel();
        let read = BufReader::new(output).lines();
        std::thread::spawn(move || read.map_while(Result::ok).for_each(|it| drop(tell.send(it))));
        Self { lines, before: Vec::new() }
    }

    /// Waits until it has said this line.
    fn until(&mut self, line: &str) {
        while !self.before.iter().any(|it| it == line) {
            self.before.push(self.lines.recv_timeout(DEADLINE).expect("it comes so far"));
        }
    }

    /// All that it says until it ends.
    fn all(mut self) -> Vec<String> {
        self.before.extend(self.lines);
        self.before
    }
}

/// As a laptop that slept, or a program that somebody stopped with Ctrl-Z, when somebody took its lock away meanwhile.
#[test]
fn who_stood_still_and_lost_its_pool_ends_with_who_has_it_and_leaves_it_unharmed() {
    let place = Place::new("attach-frozen");
    let piped = |deed: &str| {
        let mut command = place.command("sweep", PATIENT, deed);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("started")
    };
    let mut first = piped("sweep");
    let mut said_first = Said::of(first.stdout.take().expect("piped"));
    said_first.until("running");
    // Some of its tasks run, and others wait.
    let begun = until(DEADLINE, || (place.computed().len() >= 4).then_some(()));
    assert!(begun.is_some(), "nothing is computed");
    send(first.id(), Signal::STOP).expect("stopped");

    // As long as it has its lock nobody else has the pool, however still it stands.
    let refused = said(&place.run("sweep", PATIENT, "sweep"));
    assert!(refused.contains(&format!("pool sweep is in use by process {}", first.id())), "{refused}");
    std::fs::remove_file(place.path("state/locks/name-sweep")).expect("its lock is taken away");
    let mut second = piped("linger");
    let mut said_second = Said::of(second.stdout.take().expect("piped"));
    said_second.until("delivered");

    send(first.id(), Signal::CONT).expect("goes on");
    let trouble = Said::of(first.stderr.take().expect("piped")).all().join("\n");
    let ended = first.wait().expect("waited");
    assert!(!ended.success(), "{trouble}");
    let by = format!("pool sweep was taken over by another program (process {} on ", second.id());
    assert!(trouble.contains(&by) && trouble.contains("run this program again"), "{trouble}");
    assert!(results(&said_first.all()).is_empty(), "its results are its successor's");

    // Its successor has its lock, its nodes, and its results, each of them once.
    let journal = place.journal();
    let pool = journal.named("sweep").expect("read").expect("there");
    assert_eq!(journal.holder(&pool).map(|it| it.pid), Some(second.id()));
    assert_eq!(pool.machines.iter().filter(|it| it.node.is_some()).count(), 2, "{pool:?}");
    drop(second.stdin.take());
    let mut told = Said::of(second.stderr.take().expect("piped")).all();
    assert!(second.wait().expect("waited").success(), "{told:#?}");
    let lines = said_second.all();
    assert_eq!(results(&lines), all_results());
    assert!(lines.contains(&"still here".to_owned()) && lines.contains(&"stopped".to_owned()), "{lines:?}");
    told.retain(|it| it.contains("lost") || it.contains("restarted"));
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(place.computed(), (0..TASKS).collect::<Vec<_>>());
    assert_eq!((place.left(), journal.read().expect("read").pools), (Vec::new(), Vec::new()));
}

#[skyward::function]
async fn machine() -> String {
    skyward::instance_info().map_or_else(String::new, |it| it.name.to_string())
}

#[skyward::test]
async fn nodes_that_ended_meanwhile_are_replaced_and_the_others_keep_what_they_have() -> skyward::Result<()> {
    let place = Place::new("attach-heals");
    let builder = || {
        let builder =
            skyward_tests::apart().spec(Spec::on(Local::default().directory(place.path("machines"))));
        builder.nodes(2).timing(patient()).name("heals").state(place.path("state"))
    };
    let compute = builder().start().await?;
    let before = (machine().key("all") * &compute).await?;
    compute.detach().await?;

    // The whole of one computer loses its power.
    let victim = place.0.processes("machine").into_iter().next().expect("a machine");
    for process in place.0.on_machine(victim) {
        // What hangs below what was killed may be over already.
        let _ = send(process, Signal::KILL);
    }
    let compute = builder().start().await?;
    let at = async |rank: u32| (machine().key(format!("all[{rank}]")) >> compute.node(rank)).await;
    let after = [at(0).await?, at(1).await?];
    assert_eq!(after.iter().filter(|it| before.contains(it)).count(), 1, "{before:?} {after:?}");
    compute.stop().await?;
    assert_eq!(place.left(), Vec::<String>::new());
    assert!(place.journal().read()?.pools.is_empty());
    Ok(())
}

/// It says something else of what the pool is; the journal knows.
#[skyward::test]
async fn the_same_program_attaches_by_name_alone_and_its_pool_heals() -> skyward::Result<()> {
    let place = Place::new("attach-by-name");
    let nobody = place.run("train", LONG, "attach");
    let told = said(&nobody);
    assert!(
        !nobody.status.success() && told.contains("failed to attach to pool train: there is none"),
        "{told}"
    );
    assert!(!place.path("state").exists() && !place.path("machines").exists(), "nothing is begun");
    place.killed("train", PATIENT, Some("running"), Duration::from_millis(300));

    // The nodes run another program than this one.
    let refused = skyward_tests::apart().name("train").state(place.path("state")).attach().await;
    let told = refused.expect_err("refused").to_string();
    assert!(told.contains("it was begun by another build of the program"), "{told}");

    let victim = place.0.processes("machine").into_iter().next().expect("a machine");
    for process in place.0.on_machine(victim) {
        // What hangs below what was killed may be over already.
        let _ = send(process, Signal::KILL);
    }
    let output = place.run("train", PATIENT, "attach");
    let told = said(&output);
    assert!(output.status.success() && told.contains("attached: 2 nodes"), "{told}");
    let lines: Vec<String> = told.lines().map(str::to_owned).collect();
    assert_eq!(results(&lines), all_results());
    assert_eq!(place.left(), Vec::<String>::new());
    assert!(place.journal().read()?.pools.is_empty());
    Ok(())
}

#[skyward::test]
async fn who_attaches_by_name_is_told_who_has_the_pool_and_when_its_machines_have_ended()
-> skyward::Result<()> {
    let place = Place::new("attach-by-name-held");
    let builder = || {
        let builder =
            skyward_tests::apart().spec(Spec::on(Local::default().directory(place.path("machines"))));
        builder.timing(Timing::short()).name("held").state(place.path("state"))
    };
    let compute = builder().start().await?;
    let attach =
        || skyward_tests::apart().name("held").state(place.path("state")).timing(Timing::short()).attach();
    let told = attach().await.expect_err("held").to_string();
    assert!(told.contains(&format!("pool held is in use by process {}", std::process::id())), "{told}");
    compute.detach().await?;
    let compute = attach().await?;
    compute.detach().await?;
    let lapsed = until(DEADLINE, || {
        let journal = place.journal();
        let pool = journal.named("held").expect("read").expect("there");
        journal_says_lapsed(&journal, &pool).then_some(pool)
    });
    let pool = lapsed.expect("it lapses");
    let told = attach().await.expect_err("ended").to_string();
    assert!(told.contains("failed to attach to pool held: its machines have ended"), "{told}");
    assert_eq!(give_back(&place.journal(), &pool).await?, []);
    assert_eq!(place.left(), Vec::<String>::new());
    Ok(())
}
