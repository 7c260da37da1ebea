//! An image, the program and a worker on a machine, over SSH.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use skyward_runtime::bootstrap::{
    BootstrapError, Includes, Program, Progress, StartWorkerError, deploy, plan, run as bootstrap,
    start_worker,
};
use skyward_runtime::link::Identity;
use skyward_runtime::model::{
    Capabilities, End, Epoch, Executor, Image, Incarnation, Notice, PoolId, Rank, Secret,
};
use skyward_runtime::program::WorkerStart;
use skyward_runtime::ssh::Session;

use crate::harness::Tests;
use crate::stage::{Stage, eventually, lives, run};

const LONG: Duration = Duration::from_secs(30);
const NO_ROOT: Capabilities =
    Capabilities { ends_itself: true, udp: true, same_computer: true, ..Capabilities::NONE };

pub(crate) fn register(tests: &mut Tests) {
    tests.add("an_image_is_made_over_ssh_and_made_once", makes_image);
    tests.add("a_failing_step_is_reported_with_its_own_last_output", failing_step);
    tests.add("a_step_past_the_deadline_is_named", late_step);
    tests.add("what_a_step_leaves_running_does_not_hold_the_bootstrap_up", daemon);
    tests.add("the_running_program_is_deployed_and_becomes_a_worker_that_stays", worker);
    tests.add("a_program_that_ends_before_it_answers_is_reported_with_its_log", no_worker);
}

async fn made(
    session: &Session,
    image: &Image,
    deadline: Duration,
) -> (Result<(), BootstrapError>, Vec<Progress>) {
    let told = Mutex::new(Vec::new());
    let includes = Includes::pack(image).unwrap();
    let plan = plan(image, &NO_ROOT).unwrap();
    let result = bootstrap(session, &plan, &includes, deadline, &|it| told.lock().unwrap().push(it)).await;
    (result, told.into_inner().unwrap())
}

async fn makes_image() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let data = stage.folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("x"), "content").unwrap();
    let image = Image::new().env("A", "it's").include(&data).shell("cat data/x; echo; echo $A >&2");
    let (result, told) = made(&session, &image, LONG).await;
    result.unwrap();
    for line in ["content", "it's"] {
        assert!(
            told.iter().any(|it| matches!(it, Progress::Output { line: said, .. } if said == line)),
            "{told:?}"
        );
    }
    let began = Instant::now();
    let (result, told) = made(&session, &image, LONG).await;
    result.unwrap();
    println!("second bootstrap in {:?}", began.elapsed());
    let skipped = told.iter().filter(|it| matches!(it, Progress::Skipped { .. })).count();
    assert_eq!(skipped, 4, "{told:?}");
    stage.finish().await;
}

async fn failing_step() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let (result, _) = made(&session, &Image::new().shell("echo last words; exit 3"), LONG).await;
    let Err(BootstrapError::Step { code: 3, output, .. }) = result else { panic!("{result:?}") };
    assert_eq!(output, ["last words"]);
    stage.finish().await;
}

async fn late_step() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let (result, _) = made(&session, &Image::new().shell("sleep 1000"), Duration::from_millis(500)).await;
    let Err(BootstrapError::Deadline { step, .. }) = result else { panic!("{result:?}") };
    assert_eq!(step, "shell 1: sleep 1000");
    stage.finish().await;
}

async fn daemon() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let (result, _) = made(&session, &Image::new().shell("sleep 1000 &"), LONG).await;
    result.unwrap();
    stage.finish().await;
}

async fn deployed(session: &Session, home: &Path) -> String {
    let program = Program::of_running(false).unwrap();
    let first = deploy(session, &program, LONG).await.unwrap();
    let second = deploy(session, &program, LONG).await.unwrap();
    assert_eq!((first.sent, second.sent), (true, false));
    assert!(home.join(&first.path).exists());
    first.path
}

fn order(pool: &str) -> WorkerStart {
    WorkerStart {
        pool: PoolId::new(pool),
        rank: Rank(0),
        incarnation: Incarnation::new("i"),
        epoch: Epoch(1),
        listen: [127, 0, 0, 1].into(),
        identity: Identity {
            certificate: vec![1; 600],
            key: Secret::new(vec![2; 200]),
            authority: vec![3; 600],
        },
        cookie: Secret::new("c".into()),
        lease: LONG,
        end: End::Command { shell: "true".into() },
        notice: Notice::None,
        slots: 1,
        executor: Executor::Thread,
        reuse: true,
        retention: Default::default(),
        kill: Duration::from_secs(1),
        detect: LONG,
        drain: LONG,
        inputs: LONG,
        accelerators: vec![],
        secrets: [].into(),
    }
}

async fn worker() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let path = deployed(&session, &machine.directory).await;
    let began = Instant::now();
    let up = start_worker(&session, &path, &order("stays"), LONG).await.unwrap();
    println!("worker up in {:?}", began.elapsed());
    assert_eq!(up.port, 4242);
    drop(session);
    let session = stage.session(&machine).await;
    assert!(lives(up.pid));
    assert_eq!(run(&session, "cat .skyward/work/alive").await, "stays");
    stage.end(&machine).await;
    eventually("the worker is gone with its machine", async || (!lives(up.pid)).then_some(())).await;
    stage.finish().await;
}

async fn no_worker() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let path = deployed(&session, &machine.directory).await;
    let error = start_worker(&session, &path, &order("dies"), LONG).await.unwrap_err();
    let StartWorkerError::Ended { log } = &error else { panic!("{error}") };
    assert_eq!(log, "a reason");
    stage.finish().await;
}

/// What this program does as a worker: answers and stays, or gives a reason and ends.
pub(crate) fn worker_main() {
    let order = WorkerStart::read(std::io::stdin().lock()).unwrap();
    if order.pool.as_str() == "dies" {
        std::io::Write::write_all(&mut std::io::stderr(), b"a reason\n").unwrap();
        std::process::exit(1);
    }
    std::fs::write("alive", order.pool.as_str()).unwrap();
    let up = skyward_runtime::program::WorkerUp::Listening { port: 4242, tcp: 4243, pid: std::process::id() };
    up.write(std::io::stdout().lock()).unwrap();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    rustix::stdio::dup2_stdin(&null).unwrap();
    rustix::stdio::dup2_stdout(&null).unwrap();
    loop {
        std::thread::park();
    }
}
