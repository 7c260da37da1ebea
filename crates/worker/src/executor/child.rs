//! The worker's end of one process that runs tasks.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{Aborted, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use skyward_runtime::link::{Outcome, WireError};
use skyward_runtime::model::{Crash, OutputStream, Roster, TaskId};
use skyward_runtime::program::{ROLE_VARIABLE, Role, TaskOrder, TaskReport, TaskStart, executable};
use skyward_runtime::registry::{Fault, Input};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::devices::VARIABLES;
use super::tail::Tail;
use super::talk::{AHEAD, Talk, fetch};
use super::tap::Tap;
use crate::output::Output;

/// A process that runs tasks, one at a time.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    /// Its process group, which it leads: what it starts is in it too.
    group: Pid,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    taps: [Arc<Tap>; 2],
    pumps: [AbortHandle; 2],
    tail: Arc<Tail>,
    news: News,
    kill: Duration,
    output: Arc<Output>,
    has_run: bool,
}

/// What a process is told whenever it changes.
#[derive(Debug)]
pub(super) struct News {
    /// Who is in the pool.
    pub(super) peers: watch::Receiver<Option<Roster>>,
    /// When the machine will be taken.
    pub(super) fate: watch::Receiver<Option<Instant>>,
}

/// How one task came out of a process.
#[derive(Debug)]
pub(super) enum Ran {
    /// It ended. `whole`: the process has heard all that it was told.
    Ended { outcome: Outcome, whole: bool },
    /// The process did. `unharmed`: before the function began.
    Gone { unharmed: bool },
}

impl Child {
    /// Starts one. It takes tasks when it is [`ready`](Self::ready).
    ///
    /// # Errors
    /// When the system cannot start it.
    pub(super) fn start(
        visible: Option<&str>,
        news: News,
        kill: Duration,
        output: Arc<Output>,
    ) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ((stdout, its_stdout), (stderr, its_stderr)) = (io::pipe()?, io::pipe()?);
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(format!("{} \"$0\" \"$@\"", Role::Task.shell_prefix()))
            .arg(executable()?)
            // What led the worker to where it became one leads its children there.
            .args(std::env::args_os().skip(1))
            .env_remove(ROLE_VARIABLE)
            .stdin(OwnedFd::from(theirs))
            .stdout(its_stdout)
            .stderr(its_stderr)
            .process_group(0)
            .kill_on_drop(true);
        for variable in VARIABLES {
            // What the image says stands.
            if let (Some(visible), None) = (visible, std::env::var_os(variable)) {
                command.env(variable, visible);
            }
        }
        let process = command.spawn()?;
        // The command holds its ends of the pipes, which would never end.
        drop(command);
        let group = process.id().and_then(|it| Pid::from_raw(i32::try_from(it).ok()?));
        let group = group.ok_or_else(|| io::Error::other("it has no process id"))?;
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let tail = Arc::new(Tail::new(Arc::clone(&output)));
        let taps = [
            Tap::new(stdout, OutputStream::Stdout, Arc::clone(&tail))?,
            Tap::new(stderr, OutputStream::Stderr, Arc::clone(&tail))?,
        ];
        let pumps = taps.each_ref().map(|it| tokio::spawn(Arc::clone(it).pump()).abort_handle());
        Ok(Self { process, group, reader, writer, taps, pumps, tail, news, kill, output, has_run: false })
    }

    /// Tells it who it is, and waits until it takes tasks.
    ///
    /// # Errors
    /// When it ends first.
    pub(super) async fn ready(&mut self, start: TaskStart) -> Result<(), WireError> {
        // When it has ended already, reading says so.
        let _ = TaskOrder::Start(Box::new(start)).write(&mut self.writer).await;
        while TaskReport::read(&mut self.reader).await? != TaskReport::Ready {}
        Ok(())
    }

    /// What it has said last.
    pub(super) const fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Whether it has run a task before.
    pub(super) const fn has_run(&self) -> bool {
        self.has_run
    }

    /// Whether it has ended while nobody looked. It is not waited for, so that its group's number is nobody else's.
    pub(super) fn has_ended(&self) -> bool {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.group), how), Ok(None))
    }

    /// Runs one task. A process whose future was dropped on the way is of no more use.
    pub(super) async fn run(&mut self, task: TaskId, order: TaskOrder, talk: &mut Talk) -> Ran {
        self.has_run = true;
        // What came since the last task is nobody's.
        self.settle();
        self.tail.begin(task);
        let Self { reader, writer, news, output, .. } = self;
        let Talk { inputs, more, made, streams } = talk;
        // Of each stream one wish, and that there will be none.
        let (wish, wishes) = mpsc::channel(2 * inputs.len().max(1));
        let mut unharmed = true;
        let ended = async {
            loop {
                match TaskReport::read(reader).await {
                    Ok(TaskReport::Ended(outcome)) => return Some(outcome),
                    Ok(TaskReport::Started) => unharmed = false,
                    Ok(TaskReport::Said { task, text, missed }) => {
                        output.missed(missed);
                        output.push(task, OutputStream::Log, text);
                    }
                    Ok(TaskReport::Ready) => {}
                    // No more of either come than were asked for. A process that says nonsense is as good as
                    // none.
                    Ok(TaskReport::Made(items)) => {
                        if let Err(TrySendError::Full(_)) = made.try_send(items) {
                            return None;
                        }
                    }
                    Ok(TaskReport::Wants { index }) => wish.try_send(Wish::More(index)).ok()?,
                    Ok(TaskReport::LetsGo { index }) => wish.try_send(Wish::NoMore(index)).ok()?,
                    Err(_) => return None,
                }
            }
        };
        let is_writing = AtomicBool::new(true);
        let tell = async {
            news.tell(writer).await?;
            say(writer, order).await?;
            for _ in 0..if *streams { AHEAD } else { 0 } {
                say(writer, TaskOrder::More).await?;
            }
            answer(writer, news, (inputs, wishes), more, &is_writing).await
        };
        let outcome = {
            let (ended, tell) = (pin!(ended), pin!(tell));
            tokio::select! {
                biased;
                outcome = ended => outcome,
                // It waits for what it will never hear, so it is ended.
                Err(error) = tell => {
                    Some(Outcome::Unencodable(format!("what its process has to be told: {error}")))
                }
            }
        };
        match outcome {
            Some(outcome) => {
                self.settle();
                self.tail.end();
                Ran::Ended { outcome, whole: !is_writing.load(Ordering::Relaxed) }
            }
            None => Ran::Gone { unharmed },
        }
    }

    /// How it ended, by itself. What it had started is killed.
    pub(super) async fn crash(&mut self) -> Crash {
        self.signal(Signal::KILL);
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        self.settle();
        // Whoever hears of the crash has seen what led to it.
        self.output.settle().await;
        let status = status.ok().and_then(Result::ok);
        Crash {
            signal: status.and_then(|it| it.signal()),
            code: status.and_then(|it| it.code()),
            output: self.tail.take(),
        }
    }

    /// Ends it and what it has started: at first it is told to, after a while it is killed.
    pub(super) async fn end(mut self) {
        self.signal(Signal::TERM);
        // Its end is noticed by its socket, not by waiting for it: as long as it was not waited for, its
        // group's number is nobody else's.
        let mut ignored = [0; 4096];
        let silent = async { while matches!(self.reader.read(&mut ignored).await, Ok(1..)) {} };
        let _ = tokio::time::timeout(self.kill, silent).await;
        self.signal(Signal::KILL);
        // Its last words are of use to whoever reads the output: they say where it was stuck.
        self.settle();
        if tokio::time::timeout(PATIENCE, self.process.wait()).await.is_err() {
            tracing::warn!(pid = self.group.as_raw_pid(), "a killed process does not end");
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have ended. A process that was waited for has no id, and its group's may be another's.
        if self.process.id().is_some() {
            let _ = kill_process_group(self.group, signal);
        }
    }

    fn settle(&self) {
        self.taps.iter().for_each(|it| it.settle());
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.pumps.iter().for_each(AbortHandle::abort);
    }
}

/// What a process says of a stream that it takes.
#[derive(Clone, Copy)]
enum Wish {
    More(u16),
    NoMore(u16),
}

/// Tells a process what it asks for, and what is new. `is_writing` is false between two orders.
async fn answer(
    writer: &mut OwnedWriteHalf,
    news: &mut News,
    (inputs, mut wishes): (&mut [Option<Input>], mpsc::Receiver<Wish>),
    more: &mut mpsc::Receiver<()>,
    is_writing: &AtomicBool,
) -> Result<Infallible, WireError> {
    let (mut fetching, mut fetches) = (FuturesUnordered::new(), BTreeMap::new());
    loop {
        is_writing.store(false, Ordering::Relaxed);
        let order = tokio::select! {
            Some(wish) = wishes.recv() => match wish {
                Wish::More(index) => match inputs.get_mut(usize::from(index)).and_then(Option::take) {
                    Some(input) => {
                        let (fetch, stop) = abortable(fetch(index, input));
                        fetches.insert(index, stop);
                        fetching.push(fetch);
                        continue;
                    }
                    // An input that has ended is there, and empty.
                    None => TaskOrder::Closed { index, fault: Some(asked_twice()) },
                },
                Wish::NoMore(index) => {
                    // Whoever makes it hears of it by the drop, wherever it is.
                    drop(inputs.get_mut(usize::from(index)).and_then(Option::take));
                    if let Some(stop) = fetches.remove(&index) {
                        stop.abort();
                    }
                    continue;
                }
            },
            Some(fetched) = fetching.next() => match fetched {
                Ok((index, rest, order)) => {
                    fetches.remove(&index);
                    if let Some(input) = inputs.get_mut(usize::from(index)) {
                        *input = Some(rest);
                    }
                    order
                }
                Err(Aborted) => continue,
            },
            Some(()) = more.recv() => TaskOrder::More,
            order = news.next() => order,
        };
        is_writing.store(true, Ordering::Relaxed);
        say(writer, order).await?;
    }
}

/// Says something to a process. One that has ended does not hear it, which is noticed by reading.
async fn say(writer: &mut OwnedWriteHalf, order: TaskOrder) -> Result<(), WireError> {
    match order.write(writer).await {
        Err(WireError::Interrupted(_)) => Ok(()),
        said => said,
    }
}

fn asked_twice() -> Fault {
    Fault::Undecodable("a stream that it takes was asked for twice".to_owned())
}

impl News {
    /// Says what it has not heard.
    async fn tell(&mut self, writer: &mut OwnedWriteHalf) -> Result<(), WireError> {
        while let Some(order) = self.next().now_or_never() {
            say(writer, order).await?;
        }
        Ok(())
    }

    /// The next that it has not heard. Dropping the future loses nothing.
    async fn next(&mut self) -> TaskOrder {
        let Self { peers, fate } = self;
        loop {
            let order = tokio::select! {
                roster = newest(peers) => roster.map(TaskOrder::Peers),
                deadline = newest(fate) => deadline.map(|it| {
                    TaskOrder::Taken { within: it.saturating_duration_since(Instant::now()) }
                }),
            };
            if let Some(order) = order {
                return order;
            }
        }
    }
}

/// What has changed, when it has. Who could change it no more leaves it as it is.
async fn newest<T: Clone>(news: &mut watch::Receiver<Option<T>>) -> Option<T> {
    if news.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    news.borrow_and_update().clone()
}

/// How long a killed process is waited for. The system ends it at once unless it waits for a device that
/// does not answer; then its slot is given away all the same.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// Answers a process with one input, which asks so, until something holds of what it is told.
    async fn answering<T>(input: Input, asks: &[Wish], until: impl AsyncFnOnce(UnixStream) -> T) -> T {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (_reader, mut writer) = ours.into_split();
        let (wish, wishes) = mpsc::channel(1);
        let (_more, mut more) = mpsc::channel(1);
        let mut news = News { peers: watch::channel(None).1, fate: watch::channel(None).1 };
        let (mut inputs, is_writing) = ([Some(input)], AtomicBool::new(false));
        let telling = answer(&mut writer, &mut news, (&mut inputs, wishes), &mut more, &is_writing);
        let asking = async {
            for it in asks {
                wish.send(*it).await.expect("heard");
            }
            until(theirs).await
        };
        tokio::select! {
            held = asking => held,
            Err(error) = telling => panic!("{error}"),
            () = tokio::time::sleep(PATIENCE) => panic!("not in time"),
        }
    }

    #[tokio::test]
    async fn an_input_that_is_waited_for_or_was_never_there_has_not_ended() {
        for (asks, asked) in [(&[Wish::More(0), Wish::More(0)][..], 0), (&[Wish::More(7)], 7)] {
            let told = async |mut theirs| TaskOrder::read(&mut theirs).await.expect("told");
            let told = answering(stream::pending().boxed(), asks, told).await;
            let is_fault = matches!(&told, TaskOrder::Closed { index, fault: Some(_) } if *index == asked);
            assert!(is_fault, "{told:?}");
        }
    }

    #[tokio::test]
    async fn an_input_is_dropped_when_its_process_lets_it_go_also_while_it_is_waited_for() {
        for asks in [&[Wish::NoMore(0)][..], &[Wish::More(0), Wish::NoMore(0)]] {
            let source = Arc::new(());
            let held = Arc::clone(&source);
            let input = stream::pending().map(move |it| {
                let _ = &held;
                it
            });
            let is_dropped = async |_: UnixStream| {
                while Arc::strong_count(&source) > 1 {
                    tokio::task::yield_now().await;
                }
            };
            answering(input.boxed(), asks, is_dropped).await;
        }
    }
}
