//! What functions find on their nodes: the pool around them, their share of the data, whether they are
//! still wanted, what is built once, and secrets.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skyward::prelude::*;
use skyward::{InstanceInfo, Shard};
use skyward_tests::{Ground, below, builder, desk, end, until};

const SOON: Duration = Duration::from_secs(40);

#[skyward::function]
async fn info() -> Option<InstanceInfo> {
    skyward::instance_info()
}

#[skyward::function]
async fn head() -> bool {
    skyward::is_head()
}

#[skyward::function]
async fn process() -> u32 {
    std::process::id()
}

#[skyward::function]
async fn share(length: u32) -> Vec<u32> {
    skyward::shard(&(0..length).collect::<Vec<_>>())
}

#[skyward::function]
async fn shuffled(length: u32, seed: u64) -> Result<(Vec<u32>, Vec<String>), Failure> {
    let xs: Vec<_> = (0..length).collect();
    let names: Vec<_> = xs.iter().map(ToString::to_string).collect();
    Ok(Shard::new().shuffle(seed).drop_last().of((&xs, &names))?)
}

#[skyward::function]
fn polls(mark: PathBuf) {
    let _ = std::fs::write(mark.with_extension("running"), "");
    while !skyward::cancelled() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = std::fs::write(mark, "cancelled");
}

/// Hands its cancellation to a thread and returns when that has heard of it.
#[skyward::function]
fn polls_elsewhere(mark: PathBuf) {
    let cancellation = skyward::cancellation();
    let helper = std::thread::spawn(move || {
        let _ = std::fs::write(mark.with_extension("running"), "");
        while !cancellation.is_cancelled() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = std::fs::write(mark, "cancelled");
    });
    let _ = helper.join();
}

/// Starts a task that lives on when this call is dropped at its await.
#[skyward::function]
async fn is_followed(mark: PathBuf) {
    let cancellation = skyward::cancellation();
    let running = mark.with_extension("running");
    tokio::spawn(async move {
        cancellation.cancelled().await;
        let _ = std::fs::write(mark, "cancelled");
    });
    let _ = std::fs::write(running, "");
    std::future::pending().await
}

#[derive(Serialize, Deserialize)]
struct Model {
    built_by: String,
}

fn load(log: &Path) -> Model {
    let name = skyward::instance_info().map(|it| it.name.to_string()).unwrap_or_default();
    let file = OpenOptions::new().create(true).append(true).open(log);
    // One write, so that the lines of two nodes do not mix.
    let _ = file.and_then(|mut it| it.write_all(format!("{name}\n").as_bytes()));
    // Long enough that others ask meanwhile.
    std::thread::sleep(Duration::from_millis(100));
    Model { built_by: name }
}

#[skyward::function]
fn uses_model(log: PathBuf) -> String {
    skyward::node_state(|| load(&log)).built_by.clone()
}

#[skyward::function]
async fn uses_model_in_a_task(log: PathBuf) -> String {
    struct Own(Model);
    skyward::node_state_async(async || Own(load(&log))).await.0.built_by.clone()
}

/// Fails until there is a file, and builds then.
#[skyward::function]
fn needs_a_file(path: PathBuf) -> Result<String, Failure> {
    struct Read(String);
    Ok(skyward::try_node_state(|| std::fs::read_to_string(&path).map(Read))?.0.clone())
}

#[skyward::function]
async fn length_of_secret(name: String) -> Option<usize> {
    skyward::secret(&name).map(|it| it.reveal().len())
}

#[skyward::function]
fn home_and_environment_of_a_child() -> Result<(PathBuf, String), Failure> {
    let home = std::env::var_os("HOME").ok_or("no HOME")?;
    let environment = std::process::Command::new("env").output()?.stdout;
    Ok((home.into(), String::from_utf8_lossy(&environment).into_owned()))
}

async fn appears(file: &Path) {
    let file = file.to_owned();
    let seen = tokio::task::spawn_blocking(move || until(SOON, || file.exists().then_some(())));
    seen.await.expect("joined").expect("the file appears");
}

#[skyward::test]
async fn every_node_knows_the_whole_pool_from_the_first_call_on() -> skyward::Result<()> {
    let ground = Ground::new("info");
    let compute =
        builder(&ground).nodes(3).worker(Worker { concurrency: 2, ..Worker::default() }).start().await?;
    let all: Vec<InstanceInfo> = (info() * &compute).await?.into_iter().flatten().collect();
    assert_eq!(all.iter().map(|it| it.rank.0).collect::<Vec<_>>(), [0, 1, 2]);
    for own in &all {
        assert_eq!((&own.pool, own.nodes, own.slots), (compute.id(), 3, 2));
        assert_eq!(own.head, Some([127, 0, 0, 1].into()));
        assert_eq!((&own.peers, own.accelerators.len()), (&all[0].peers, 0));
        let as_seen = own.peers.iter().find(|it| it.rank == own.rank).map(|it| &it.name);
        assert_eq!(as_seen, Some(&own.name));
    }
    assert_eq!(all[0].peers.iter().map(|it| it.rank.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((head() * &compute).await?, [true, false, false]);
    assert_eq!((info().local().await?, head().local().await?), (None, true));
    end(compute, &ground).await
}

#[skyward::test]
async fn a_lost_node_is_no_peer_any_more() -> skyward::Result<()> {
    let ground = Ground::new("peers");
    let mut local = Local::default();
    local.directory = Some(ground.path().to_owned());
    let compute =
        skyward_tests::apart().spec(Spec::on(local)).timing(Timing::short()).nodes(2).start().await?;
    let lost = (info() >> compute.node(1)).await?.expect("on a node").name;
    let process = (process() >> compute.node(1)).await?;
    let process = rustix::process::Pid::from_raw(i32::try_from(process)?).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::KILL)?;
    let forgotten = async {
        loop {
            let here = (info() >> compute.head()).await?.expect("on a node");
            if here.peers.iter().all(|it| it.name != lost) {
                return Ok::<_, skyward::Error>(here);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let here = tokio::time::timeout(SOON, forgotten).await.expect("the peers are current")?;
    assert_eq!(here.nodes as usize, here.peers.len());
    end(compute, &ground).await
}

#[skyward::test]
async fn shares_of_all_nodes_are_all_of_the_data() -> skyward::Result<()> {
    let ground = Ground::new("shard");
    let compute = builder(&ground).nodes(3).start().await?;
    assert_eq!((share(8) * &compute).await?, [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]);
    let shares = (shuffled(10, 42) * &compute).await?;
    // random.Random(42).shuffle(list(range(10))) of Python, in blocks of three.
    assert_eq!(shares.iter().flat_map(|it| &it.0).copied().collect::<Vec<_>>(), [7, 3, 2, 8, 5, 6, 9, 4, 0]);
    for (numbers, names) in &shares {
        assert_eq!(&numbers.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
    }
    assert_eq!(share(3).local().await?, [0, 1, 2]);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_function_that_asks_hears_that_its_caller_is_gone() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("cancelled"), desk("cancelled")?);
    let compute = builder(&ground).worker(Worker { concurrency: 3, ..Worker::default() }).start().await?;
    let marks = ["thread", "helper", "task"].map(|it| desk.path().join(it));
    let [thread, helper, task] = &marks;
    let calls = [polls(thread.clone()), polls_elsewhere(helper.clone()), is_followed(task.clone())];
    let calls = calls.map(|it| compute.spawn(it));
    for mark in &marks {
        appears(&mark.with_extension("running")).await;
        assert!(!mark.exists(), "{mark:?} while it was wanted");
    }
    calls.into_iter().for_each(skyward::Spawned::cancel);
    for mark in &marks {
        appears(mark).await;
    }
    // The slots are free again.
    (gather((0..3).map(|_| head())) >> &compute).await?;
    end(compute, &ground).await
}

#[skyward::test]
async fn a_function_that_asks_hears_that_its_time_is_over() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("overtime"), desk("overtime")?);
    let compute = builder(&ground).start().await?;
    let mark = desk.path().join("mark");
    let late = polls(mark.clone()).timeout(Duration::from_millis(200)) >> &compute;
    assert!(matches!(late.await, Err(CallError::TimedOut(_))));
    appears(&mark).await;
    end(compute, &ground).await?;
    let mark = desk.path().join("local");
    let late = polls(mark.clone()).timeout(Duration::from_millis(50)).local();
    assert!(matches!(late.await, Err(CallError::TimedOut(_))));
    appears(&mark).await;
    Ok(())
}

#[skyward::test]
async fn what_a_node_needs_is_built_once_for_all_its_calls() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("state"), desk("state")?);
    let compute =
        builder(&ground).nodes(2).worker(Worker { concurrency: 4, ..Worker::default() }).start().await?;
    for (log, call) in [
        ("plain", uses_model as fn(PathBuf) -> Call<String>),
        ("async", uses_model_in_a_task as fn(PathBuf) -> Call<String>),
    ] {
        let log = desk.path().join(log);
        let mut used = (gather((0..20).map(|_| call(log.clone()))) >> &compute).await?;
        let mut built: Vec<_> = std::fs::read_to_string(&log)?.lines().map(str::to_owned).collect();
        built.sort();
        used.sort();
        used.dedup();
        assert_eq!((built.len(), &built), (2, &used), "one builder on each node, and each node was used");
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn a_builder_that_failed_is_tried_again_by_the_next_call() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("retried"), desk("retried")?);
    let compute = builder(&ground).start().await?;
    let path = desk.path().join("weights");
    assert!(matches!((needs_a_file(path.clone()) >> &compute).await, Err(CallError::Task(_))));
    std::fs::write(&path, "1.5")?;
    for _ in 0..2 {
        assert_eq!((needs_a_file(path.clone()) >> &compute).await?, "1.5");
        let _ = std::fs::remove_file(&path);
    }
    end(compute, &ground).await
}

#[skyward::test]
async fn a_secret_reaches_functions_and_nothing_else() -> skyward::Result<()> {
    let ground = Ground::new("secret");
    // Made here, so that this program's own file does not hold it.
    let secret = skyward_runtime::random::text(40)?;
    let builder = builder(&ground).nodes(2).secret("HF_TOKEN", &secret).secret("EMPTY", "");
    assert!(!format!("{builder:?}").contains(&secret));
    let compute = builder.start().await?;
    let mut logs = String::new();
    assert_eq!((length_of_secret("HF_TOKEN".into()) * &compute).await?, [Some(40); 2]);
    assert_eq!((length_of_secret("EMPTY".into()) >> &compute).await?, Some(0));
    assert_eq!((length_of_secret("OTHER".into()) >> &compute).await?, None);
    assert_eq!(length_of_secret("HF_TOKEN".into()).local().await?, None);
    for (home, environment) in (home_and_environment_of_a_child() * &compute).await? {
        assert!(!environment.contains(&secret), "a child's environment");
        let log = std::fs::read_to_string(home.join(".skyward/worker.log"))?;
        assert!(!log.is_empty());
        logs.push_str(&log);
    }
    assert!(!logs.contains(&secret), "a worker's log");
    let found = tokio::task::spawn_blocking({
        let (secret, directory) = (secret.clone(), ground.path().to_owned());
        let processes = [ground.processes("worker"), ground.processes("machine")].concat();
        assert_eq!(processes.len(), 4);
        move || {
            let mut files = below(&directory);
            files.retain(|it| it.is_file());
            for process in processes {
                files.extend(["environ", "cmdline"].map(|it| PathBuf::from(format!("/proc/{process}/{it}"))));
            }
            assert!(files.len() > 12, "{files:?}");
            let holds = |it: &PathBuf| {
                let content = std::fs::read(it).unwrap_or_default();
                content.windows(secret.len()).any(|it| it == secret.as_bytes())
            };
            files.into_iter().filter(holds).collect::<Vec<_>>()
        }
    });
    assert_eq!(found.await?, Vec::<PathBuf>::new());
    end(compute, &ground).await
}

#[skyward::test]
async fn secrets_that_do_not_fit_are_refused_before_anything_is_rented() -> skyward::Result<()> {
    let ground = Ground::new("large-secret");
    let refused = builder(&ground).secret("ALL", "x".repeat(300 << 10)).start().await;
    let refused = refused.expect_err("too large").to_string();
    assert!(refused.contains("262144") && !refused.contains("xxx"), "{refused}");
    assert_eq!(ground.left(), Vec::<String>::new());
    Ok(())
}
