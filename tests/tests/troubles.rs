//! What a person is told when a pool cannot start or a call cannot be made, and what is left then.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use futures_util::poll;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skyward::EventKind;
use skyward::prelude::*;
use skyward_providers::local::Faults;
use skyward_tests::{Ground, ended_within, output_within, until};

/// How long a start that fails may take here, on busy cores.
const SOON: Duration = Duration::from_secs(30);

#[skyward::function]
async fn one() -> u32 {
    1
}

#[skyward::function]
async fn sleeps(millis: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    millis
}

/// Cannot be encoded when it is odd.
#[derive(Clone, Debug)]
struct Even(u32);

impl Serialize for Even {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(2) {
            self.0.serialize(to)
        } else {
            Err(serde::ser::Error::custom(format!("{} is odd", self.0)))
        }
    }
}

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u32::deserialize(from).map(Self)
    }
}

#[skyward::function]
async fn half(number: Even) -> Even {
    Even(number.0 / 2)
}

fn builder(ground: &Ground, faults: Faults) -> skyward::Builder {
    let local = Local::default().directory(ground.path()).faults(faults);
    skyward_tests::apart().spec(Spec::on(local)).nodes(2).timing(Timing::short())
}

/// Starts a pool that cannot start, and looks for the words in what is told.
async fn refused(name: &str, words: &[&str], pool: impl FnOnce(skyward::Builder) -> skyward::Builder) {
    refused_with(name, Faults::default(), words, pool).await;
}

async fn refused_with(
    name: &str,
    faults: Faults,
    words: &[&str],
    pool: impl FnOnce(skyward::Builder) -> skyward::Builder,
) {
    let ground = Ground::new(name);
    let starting = pool(builder(&ground, faults)).start();
    let told = tokio::time::timeout(SOON, starting).await.expect("in time").expect_err("refused").to_string();
    for word in words {
        assert!(told.contains(word), "{word:?} is not in: {told}");
    }
    assert_eq!(ground.left(), Vec::<String>::new());
}

#[skyward::test]
async fn a_provider_that_always_refuses_is_asked_three_times_and_quoted() {
    let faults = Faults { refuse: u32::MAX, ..Faults::default() };
    let words = ["local gave 0 of 2 machines (attempt 3)", "no local machine is free"];
    refused_with("refuses", faults, &words, |it| it).await;
}

#[skyward::test]
async fn machines_that_die_while_they_boot_are_named_with_their_last_words() {
    let faults = Faults { die_after: Some(Duration::from_millis(1)), ..Faults::default() };
    refused_with("dies", faults, &["did not become ready", "its power was cut"], |it| it).await;
}

#[skyward::test]
async fn machines_that_never_boot_are_given_up_at_the_deadline() {
    let faults = Faults { boot_delay: Duration::from_secs(600), ..Faults::default() };
    let timing = Timing { boot: Duration::from_millis(300), ..Timing::short() };
    refused_with("slow", faults, &["had no address after"], |it| it.timing(timing)).await;
}

#[skyward::test]
async fn system_packages_on_machines_without_root_are_refused_before_anything_is_rented() {
    let image = Image::new().apt(["ffmpeg"]);
    refused("apt", &["ffmpeg", "no root", "`.pip`"], |it| it.image(image)).await;
}

#[skyward::test]
async fn a_shell_step_that_fails_is_quoted_with_its_exit_code_and_its_last_words() {
    let image = Image::new().shell("echo out; echo err >&2; exit 7");
    refused("step", &["shell 1", "exit code 7", "| out", "| err"], |it| it.image(image)).await;
}

#[skyward::test]
async fn a_step_that_never_ends_is_given_up_at_the_deadline() {
    let image = Image::new().shell("echo waiting; sleep 600");
    let (upload, bootstrap) = (Duration::from_millis(100), Duration::from_millis(900));
    let timing = Timing { upload, bootstrap, ..Timing::short() };
    let words = ["bootstrap took longer than 1s", "sleep 600", "| waiting", "`Timing::bootstrap`"];
    refused("endless", &words, |it| it.image(image).timing(timing)).await;
}

#[skyward::test]
async fn an_included_path_that_is_missing_is_named_with_where_it_was_looked_for() {
    let image = Image::new().include("no/such/thing");
    refused("include", &["no/such/thing", "does not exist (looked in"], |it| it.image(image)).await;
}

#[skyward::test]
async fn no_nodes_and_too_many_nodes_are_refused_with_the_bounds() {
    for (nodes, bound) in [(0, "at least 1"), (1001, "at most 1000"), (5000, "at most 1000")] {
        let words = [&format!("nodes.desired is {nodes}"), bound];
        refused("nodes", &words, |it| it.nodes(nodes)).await;
    }
}

#[skyward::test]
async fn what_cannot_be_encoded_is_named_and_the_node_lives_on() -> skyward::Result<()> {
    let ground = Ground::new("encode");
    let compute = builder(&ground, Faults::default()).nodes(1).start().await?;
    for (number, words) in [(3, ["argument `number`", "3 is odd"]), (6, ["the value", "3 is odd"])] {
        let error = (half(Even(number)) >> &compute).await.expect_err("cannot be encoded");
        assert!(matches!(error, CallError::Unencodable(_)), "{error:?}");
        let told = error.to_string();
        assert!(words.iter().all(|it| told.contains(it)), "{told}");
        assert!(told.contains("Serialize"), "{told}");
    }
    assert_eq!((half(Even(4)) >> &compute).await?.0, 2);
    compute.stop().await
}

#[skyward::test]
async fn a_broadcast_that_is_dropped_on_its_way_to_its_caller_frees_its_slots() -> skyward::Result<()> {
    let ground = Ground::new("shares");
    let compute = builder(&ground, Faults::default()).start().await?;
    let mut events = compute.events();
    let mut broadcast = Box::pin(sleeps(1) * &compute);
    assert!(poll!(&mut broadcast).is_pending());
    // Both shares are granted now, and their caller has not looked since.
    let mut granted = 0;
    while granted < 2 {
        if let Some(EventKind::TaskStarted { .. }) = events.next().await.map(|it| it.kind) {
            granted += 1;
        }
    }
    drop(broadcast);
    for rank in 0..2 {
        assert_eq!((one().timeout(SOON) >> compute.node(rank)).await?, 1);
    }
    compute.stop().await
}

#[skyward::test]
async fn every_task_that_starts_is_seen_to_end() -> skyward::Result<()> {
    let ground = Ground::new("ends");
    let compute = builder(&ground, Faults::default()).nodes(1).start().await?;
    let mut events = compute.events();
    assert_eq!((one() >> &compute).await?, 1);
    let limit = Duration::from_millis(50);
    assert!((sleeps(60_000).timeout(limit) >> &compute).await.is_err());
    assert!(tokio::time::timeout(limit, sleeps(60_000) >> &compute).await.is_err());
    let last = compute.spawn(sleeps(60_000));
    let (mut started, mut ended) = (0, 0);
    let mut stopping = Some(compute);
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::TaskStarted { .. } => started += 1,
            EventKind::TaskFinished { .. } | EventKind::TaskCancelled { .. } | EventKind::TaskLost { .. } => {
                ended += 1;
            }
            EventKind::Stopped { .. } => break,
            _ => {}
        }
        if started == 4
            && let Some(compute) = stopping.take()
        {
            compute.stop().await?;
        }
    }
    assert!(last.await.is_err());
    assert_eq!((started, ended), (4, 4));
    Ok(())
}

/// What a process holds that could pile up.
#[derive(Debug)]
struct Held {
    files: usize,
    threads: usize,
    tasks: usize,
    actors: usize,
    names: usize,
    groups: usize,
}

impl Held {
    fn now() -> Self {
        let count = |directory: &str| std::fs::read_dir(directory).expect("readable").count();
        Self {
            files: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            actors: ractor::registry::get_all_pids().len(),
            names: ractor::registry::registered().len(),
            groups: ractor::pg::which_scopes_and_groups().len(),
        }
    }

    fn is_at_most(&self, other: &Self) -> bool {
        let all = |it: &Self| [it.files, it.threads, it.tasks, it.actors, it.names, it.groups];
        all(self).into_iter().zip(all(other)).all(|(one, other)| one <= other)
    }
}

/// Run in a process of its own, where no other test's pools are counted.
#[skyward::test]
#[ignore = "started by `pools_that_come_and_go_leave_nothing_in_their_process`"]
async fn pools_come_and_go() -> skyward::Result<()> {
    let pools = std::env::var("SKYWARD_TEST_POOLS").ok().and_then(|it| it.parse().ok()).unwrap_or(8);
    let ground = Ground::new("pools");
    let mut first = None;
    for _ in 0..pools {
        // Patient timers, so that one that outlives its pool is seen.
        let compute = builder(&ground, Faults::default()).timing(Timing::default()).start().await?;
        assert_eq!((one() * &compute).await?, [1, 1]);
        compute.stop().await?;
        first.get_or_insert_with(Held::now);
    }
    let first = first.expect("at least one pool");
    // Threads for blocking work come and go by themselves; a few more than after one pool are fine.
    let most = Held { threads: first.threads + 4, tasks: first.tasks + 4, ..first };
    let settled = until(SOON, || Some(Held::now()).filter(|it| it.is_at_most(&most)));
    assert!(settled.is_some(), "{:?} after {pools} pools, {most:?} allowed", Held::now());
    Ok(())
}

#[test]
fn pools_that_come_and_go_leave_nothing_in_their_process() {
    let test = std::env::current_exe().expect("a path");
    let mut alone = Command::new(test);
    alone.args(["--exact", "pools_come_and_go", "--ignored", "--nocapture"]);
    // A pool takes a second; a hundred of them are what somebody who looks for a leak asks for.
    let output = output_within(SOON * 20, &mut alone);
    assert!(output.status.success(), "{}", text(&output));
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned()).concat()
}

/// Runs a program that gets into trouble, and looks for the words in what it is told.
fn troubled(command: &mut Command, words: &[&str]) {
    let began = Instant::now();
    let told = text(&output_within(SOON, command));
    assert!(began.elapsed() < SOON, "it took {:?}: {told}", began.elapsed());
    for word in words {
        assert!(told.contains(word), "{word:?} is not in: {told}");
    }
}

fn trouble(name: &str, ground: &Ground) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trouble"));
    command.arg(name).arg(ground.path());
    command
}

#[test]
fn a_program_without_init_is_told_to_call_it() {
    let ground = Ground::new("no-init");
    troubled(&mut trouble("no-init", &ground), &["#[skyward::main]", "skyward::init()"]);
    assert_eq!(ground.left(), Vec::<String>::new());
}

#[test]
fn a_directory_that_cannot_be_made_is_named_with_another_way() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trouble"));
    command.args(["unwritable", "default"]).env("TMPDIR", "/dev/null/nowhere");
    troubled(&mut command, &["/dev/null/nowhere/skyward-", "Not a directory", "TMPDIR"]);
}

#[test]
fn too_few_open_files_are_an_error_that_names_the_limit_and_leave_nothing() {
    for limit in [10, 12, 14, 17] {
        let ground = Ground::new("files");
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {limit} && exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_trouble")).arg("files").arg(ground.path());
        troubled(&mut command, &["Too many open files", "`ulimit -n`"]);
        assert_eq!(ground.left(), Vec::<String>::new());
    }
}

#[test]
fn programs_that_share_a_directory_do_not_disturb_each_other_and_the_last_removes_it() {
    let ground = Ground::new("shared");
    let started: Vec<_> = (0..3)
        .map(|_| {
            let mut command = trouble("none", &ground);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().expect("started")
        })
        .collect();
    for program in started {
        let told = text(&ended_within(SOON * 2, program));
        assert!(told.contains("[1, 1]"), "{told}");
    }
    assert_eq!(ground.left(), Vec::<String>::new());
}
