//! A worker process with everything that a client needs to reach it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use skyward_runtime::link::{
    Authority, CLIENT, CallRequest, Dialer, Hello, Identity, Link, LinkError, Outcome, PROTOCOL,
};
use skyward_runtime::model::{
    Attempt, End, Epoch, Executor, Incarnation, Notice, PoolId, Rank, Secret, TaskId,
};
use skyward_runtime::payload::Payload;
use skyward_runtime::program::{Role, WorkerStart, WorkerUp};
use skyward_runtime::registry::Registry;
use skyward_runtime::timing::Timing;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::functions;

/// How long anything in a test may take that is expected to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A pool's client.
pub(crate) struct Client {
    pub(crate) authority: Authority,
    pub(crate) identity: Identity,
    pub(crate) cookie: Secret<String>,
    pub(crate) pool: PoolId,
}

/// A worker, and the process that plays its machine.
pub(crate) struct Node {
    pub(crate) client: Client,
    pub(crate) hello: Hello,
    pub(crate) address: SocketAddr,
    /// The TCP port on loopback.
    pub(crate) tcp: u16,
    pub(crate) home: TempDir,
    pub(crate) worker: Child,
    pub(crate) machine: Child,
    pub(crate) worker_pid: u32,
    pub(crate) timing: Timing,
    /// What the worker was told, encoded: for another one on the same machine.
    pub(crate) start: Vec<u8>,
}

impl Client {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let pool = PoolId::new(format!("p{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let authority = Authority::new(&pool).expect("made");
        let identity = authority.issue(CLIENT).expect("issued");
        Self { authority, identity, cookie: Secret::new(format!("cookie of {pool}")), pool }
    }

    pub(crate) fn hello(&self, epoch: u64) -> Hello {
        Hello {
            protocol: PROTOCOL,
            registry: Registry::global().expect("distinct").hash(),
            program: None,
            pool: self.pool.clone(),
            incarnation: Incarnation::new(format!("{}-w0", self.pool)),
            epoch: Epoch(epoch),
        }
    }
}

impl Node {
    /// A worker with four slots, a time to miss its client that busy cores do not reach, and a lease
    /// that outlives the test.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut WorkerStart)) -> Self {
        let client = Client::new();
        let home = tempfile::tempdir().expect("made");
        std::fs::create_dir_all(home.path().join(".skyward")).expect("made");
        let machine = Command::new("sleep").arg("600").kill_on_drop(true).spawn().expect("started");
        let hello = client.hello(3);
        let mut start = WorkerStart {
            pool: client.pool.clone(),
            rank: Rank(0),
            incarnation: hello.incarnation.clone(),
            epoch: hello.epoch,
            listen: Ipv4Addr::LOCALHOST.into(),
            identity: client.authority.issue(hello.incarnation.as_str()).expect("issued"),
            cookie: client.cookie.clone(),
            lease: Duration::from_secs(60),
            end: End::Process { pid: machine.id().expect("running"), directory: home.path().join("machine") },
            notice: Notice::None,
            slots: 4,
            executor: Executor::Thread,
            reuse: true,
            retention: Default::default(),
            kill: Timing::short().kill,
            detect: Duration::from_secs(5),
            drain: Timing::short().drain,
            inputs: Timing::short().inputs,
            accelerators: vec![],
            secrets: [].into(),
        };
        change(&mut start);
        let mut worker = spawn(home.path());
        let frame = rmp_serde::to_vec_named(&start).expect("encoded");
        let up = tell(&mut worker, &frame).await;
        let WorkerUp::Listening { port, tcp, pid } = up else { panic!("{up:?}") };
        let address = SocketAddr::new(start.listen, port);
        let timing = Timing { detect: start.detect, ..Timing::short() };
        Self { client, hello, address, tcp, home, worker, machine, worker_pid: pid, timing, start: frame }
    }

    pub(crate) fn dialer(&self) -> Dialer {
        Dialer::new(&self.client.identity, &self.timing).expect("usable")
    }

    pub(crate) async fn link(&self) -> Link {
        self.dial(self.hello.clone()).await.expect("welcome")
    }

    pub(crate) async fn dial(&self, hello: Hello) -> Result<Link, LinkError> {
        self.dialer().dial(self.address, hello, SOON).await
    }

    /// How many files and sockets the worker has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.worker_pid)).expect("running").count()
    }

    /// A file that functions can write.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.worker.start_kill();
        let _ = self.machine.start_kill();
    }
}

/// This program as a worker, which has not been told anything yet.
pub(crate) fn spawn(home: &Path) -> Child {
    let program = std::env::current_exe().expect("known");
    Command::new("sh")
        .arg("-c")
        .arg(format!("{} \"$0\"", Role::Worker.shell_prefix()))
        .arg(program)
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(home.join("worker.log")).expect("made"))
        .kill_on_drop(true)
        .spawn()
        .expect("started")
}

/// Tells a worker what to do and waits for its answer.
pub(crate) async fn tell(worker: &mut Child, frame: &[u8]) -> WorkerUp {
    let stdin = worker.stdin.as_mut().expect("piped");
    let length = u32::try_from(frame.len()).expect("small");
    stdin.write_all(&length.to_be_bytes()).await.expect("written");
    stdin.write_all(frame).await.expect("written");
    let stdout = worker.stdout.as_mut().expect("piped");
    let answered = tokio::time::timeout(SOON, async {
        let mut received = Vec::new();
        loop {
            if let Some(up) = WorkerUp::decode(&received).expect("an answer") {
                return up;
            }
            let read = stdout.read_buf(&mut received).await.expect("readable");
            assert_ne!(read, 0, "the worker ended before it answered");
        }
    });
    answered.await.expect("in time")
}

/// A call without a time limit, of a task of its own.
pub(crate) fn request(function: &str, arguments: impl Into<Payload>) -> CallRequest {
    static TASKS: AtomicU64 = AtomicU64::new(1_000);
    CallRequest {
        task: TaskId(TASKS.fetch_add(1, Ordering::Relaxed)),
        attempt: Attempt(0),
        function: functions::id(function),
        turn: 0,
        remaining: None,
        key: None,
        arguments: arguments.into(),
    }
}

/// Calls and expects an outcome.
pub(crate) async fn call(link: &Link, function: &str, arguments: impl Into<Payload>) -> Outcome {
    link.call(request(function, arguments)).await.expect("an outcome")
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(SOON, async {
        let mut look = tokio::time::interval(Duration::from_millis(2));
        while !holds() {
            look.tick().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} does not come true"));
}

/// What a file says; empty while it is not there.
pub(crate) fn says(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A path as arguments.
pub(crate) fn as_arguments(path: &Path) -> Bytes {
    path.to_str().expect("text").to_owned().into()
}

/// Whether a process is there.
pub(crate) fn is_running(pid: u32) -> bool {
    // A zombie has ended; only its parent has not asked yet.
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|it| !it.is_empty() && !it.starts_with('Z'))
}
