//! The process that runs tasks, one at a time, from told to gone. Its first thread talks to the worker
//! and heeds SIGTERM; functions run on others, so that one that hangs does not keep it from either.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::net::UnixStream as Socket;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Signal, getpgrp, getpid, kill_process_group};
use skyward_runtime::inside::{self, InstanceInfo, TaskContext};
use skyward_runtime::link::{Outcome, WireError};
use skyward_runtime::model::{FunctionId, Peer, TaskId};
use skyward_runtime::program::{TaskOrder, TaskReport, TaskStart};
use skyward_runtime::registry::{Body, Registry};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::flow::{self, Ends};
use crate::output::TaskEvents;
use crate::{execute, panics};

/// Runs this process as one that runs tasks, to its end.
pub(crate) fn main() -> ! {
    panics::record();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match begin() {
        Ok(()) => exit(0),
        Err(error) => {
            say(&error);
            exit(1)
        }
    }
}

/// Standard error is the worker's to read: it explains why there is no process.
#[expect(clippy::print_stderr, reason = "the worker reads it")]
fn say(error: &io::Error) {
    eprintln!("skyward: failed to run tasks: {error}");
}

fn begin() -> io::Result<()> {
    // When memory runs out the system ends this process and not the worker. It may not be asked where
    // there is no such file.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    let socket = own_socket()?;
    Builder::new_current_thread().enable_all().build()?.block_on(serve(socket))
}

/// The worker's socket is our standard input at first. It is moved to where no function and no process
/// that one starts finds it.
fn own_socket() -> io::Result<Socket> {
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

async fn serve(socket: Socket) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let (mut reader, mut writer) = UnixStream::from_std(socket)?.into_split();
    let Ok(TaskOrder::Start(start)) = TaskOrder::read(&mut reader).await else {
        return Err(io::Error::other("it was not started by a worker of the same version"));
    };
    let runtime = runtime(start.slots)?;
    declare(*start)?;
    let mut events = listen_to_tasks();
    let (sender, mut orders) = mpsc::channel(1);
    tokio::spawn(listen(reader, sender));
    let _ = io::stdout().flush();
    // Whatever cannot be written need not be: the worker has gone, which the listener notices.
    let _ = TaskReport::Ready.write(&mut writer).await;
    let mut running: Option<Running> = None;
    let mut said = mpsc::channel(1).1;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            order = orders.recv() => match order {
                Some(TaskOrder::Run { task, function, arguments, .. }) => {
                    let _ = TaskReport::Started.write(&mut writer).await;
                    inside::forget_gone_commons();
                    let (started, says) = Running::start(&runtime, task, function, arguments);
                    (running, said) = (Some(started), says);
                }
                Some(TaskOrder::More) => running.iter().for_each(|it| it.ends.more()),
                Some(TaskOrder::Given { index, items }) => {
                    if let Some(running) = &running {
                        running.ends.given(index, items)?;
                    }
                }
                Some(TaskOrder::Closed { index, fault }) => {
                    if let Some(running) = &running {
                        running.ends.closed(index, fault)?;
                    }
                }
                Some(TaskOrder::Peers(roster)) => {
                    InstanceInfo::introduce(roster);
                }
                Some(TaskOrder::Taken { within }) => {
                    if let Some(deadline) = Instant::now().checked_add(within) {
                        inside::declare_preemption(deadline);
                    }
                }
                Some(TaskOrder::Start(_)) | None => break,
            },
            Some(said) = events.lines.recv() => {
                let _ = events.report(running.as_ref(), said).write(&mut writer).await;
            }
            Some(report) = said.recv() => {
                let _ = report.write(&mut writer).await;
            }
            outcome = Running::ended(&mut running) => {
                while let Ok(report) = said.try_recv() {
                    let _ = report.write(&mut writer).await;
                }
                // What it has said comes before what became of it.
                while let Ok(said) = events.lines.try_recv() {
                    let _ = events.report(running.as_ref(), said).write(&mut writer).await;
                }
                // What is left of it asks for nothing in the name of the next one.
                said = mpsc::channel(1).1;
                let gone = match running.take() {
                    Some(Running { ends, mut gone, .. }) => {
                        drop(ends);
                        tokio::time::timeout(LEAVING, gone.recv()).await.is_ok()
                    }
                    None => true,
                };
                if let Some(outcome) = outcome {
                    let _ = TaskReport::Ended(outcome).write(&mut writer).await;
                }
                // No other task shares the process with a function that still computes, nor the node's devices with
                // what that has started. What was written is read after the end too.
                if !gone {
                    end_with_all();
                }
            }
        }
    }
    drop(said);
    if let Some(running) = running {
        running.cancel().await;
    }
    Ok(())
}

/// What tasks say by `tracing`, on its way to the worker.
struct Events {
    lines: mpsc::Receiver<(Option<TaskId>, String)>,
    /// Lines that found no room.
    missed: Arc<AtomicU64>,
}

impl Events {
    /// A line that comes from a thread which the task has started is the task's too.
    fn report(&self, running: Option<&Running>, (task, text): (Option<TaskId>, String)) -> TaskReport {
        let task = task.or_else(|| running.map(|it| it.task));
        TaskReport::Said { task, text, missed: self.missed.swap(0, Ordering::Relaxed) }
    }
}

/// A program that has a subscriber of its own keeps it; what that prints is output like any other.
fn listen_to_tasks() -> Events {
    let (sender, lines) = mpsc::channel(EVENTS);
    let missed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&missed);
    let layer = TaskEvents::new(move |task, text| {
        if sender.try_send((task, text)).is_err() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let _ = tracing_subscriber::registry().with(layer.with_filter(crate::asked())).try_init();
    Events { lines, missed }
}

/// How many events wait for the thread that sends them. It sends some hundred thousand a second, so this is
/// for the moment in which it has no processor.
const EVENTS: usize = 1024;

/// Passes on what the worker says. When it says no more it has gone: then everything here ends, and what
/// was started here.
async fn listen(mut reader: OwnedReadHalf, orders: mpsc::Sender<TaskOrder>) {
    let over: WireError = loop {
        match TaskOrder::read(&mut reader).await {
            Ok(order) => drop(orders.send(order).await),
            Err(over) => break over,
        }
    };
    tracing::debug!(%over, "the worker has gone");
    end_with_all()
}

/// Ends this process and what was started in it.
fn end_with_all() -> ! {
    if getpgrp() == getpid() {
        let _ = kill_process_group(getpid(), Signal::KILL);
    }
    exit(1)
}

/// The threads that functions run on. It lives as long as the process.
fn runtime(slots: u32) -> io::Result<Handle> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = (cores / usize::try_from(slots.max(1)).unwrap_or(usize::MAX)).max(FEWEST_THREADS);
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .worker_threads(threads)
        .thread_name("skyward-task")
        .build()?;
    Ok(Box::leak(Box::new(runtime)).handle().clone())
}

/// How long a plain function may go on after its outcome is known, as when a stream that it takes broke. A process
/// whose function is then still there ends.
const LEAVING: Duration = Duration::from_millis(100);

/// So that a function that computes without ever awaiting does not stop what it has spawned.
const FEWEST_THREADS: usize = 2;

/// Declares what functions may know.
fn declare(start: TaskStart) -> io::Result<()> {
    inside::declare_directory(std::env::current_dir()?);
    inside::declare_secrets(start.secrets);
    inside::find_commons_in(start.commons);
    let own = Peer::new(start.rank, start.incarnation, start.address);
    InstanceInfo::alone(start.pool, own, start.accelerators, start.slots)
        .at_slot(start.slot, start.devices)
        .declare();
    Ok(())
}

/// The task that runs.
struct Running {
    task: TaskId,
    ended: JoinHandle<Option<Outcome>>,
    cancel: CancellationToken,
    ends: Ends,
    /// Closed when nothing of the function runs any more.
    gone: mpsc::Receiver<Infallible>,
}

impl Running {
    /// Starts it; what it says of its streams comes out of the receiver.
    fn start(
        runtime: &Handle,
        task: TaskId,
        id: FunctionId,
        arguments: Bytes,
    ) -> (Self, mpsc::Receiver<TaskReport>) {
        let (runs, gone) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        let cancelled = cancel.clone();
        let function = Registry::global().ok().and_then(|it| it.get(id));
        let (ends, streams, said) = flow::streams(function.map(|it| &it.body));
        let ended = runtime.spawn(async move {
            let Some(function) = function else { return Some(Outcome::UnknownFunction) };
            let context = TaskContext::of(task);
            let run = async {
                match function.body {
                    Body::Async(_) | Body::Blocking(_) => {
                        execute::run(function, arguments, runs, &context).await
                    }
                    Body::Stream { .. } | Body::Iterator { .. } => {
                        flow::run(function, arguments, streams, runs, &context).await
                    }
                }
            };
            let outcome = tokio::select! {
                outcome = run => Some(outcome),
                () = cancelled.cancelled_owned() => None,
            };
            // A line that the function did not end.
            let _ = io::stdout().flush();
            outcome
        });
        (Self { task, ended, cancel, ends, gone }, said)
    }

    async fn ended(running: &mut Option<Self>) -> Option<Outcome> {
        match running {
            // Panics have been caught inside.
            Some(running) => (&mut running.ended).await.ok().flatten(),
            None => std::future::pending().await,
        }
    }

    /// Drops an async function; tells a plain one that it is not wanted, and waits until it has returned.
    async fn cancel(self) {
        let Self { ended, cancel, ends, mut gone, .. } = self;
        cancel.cancel();
        // One that waits for an item waits no longer.
        drop(ends);
        let _ = ended.await;
        gone.recv().await;
    }
}
