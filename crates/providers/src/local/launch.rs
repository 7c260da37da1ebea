//! Starting a machine's process and hearing from it, from the provider's side.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skyward_runtime::model::{End, HostKey, InstanceId, InstanceState, Loss, Notice, SshEndpoint};
use skyward_runtime::program::{self, Role, decode_answer, encode_order};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::config::{Door, LOG, MachineStart, MachineUp};
use super::environment;
use super::place::{Plot, local};
use super::process::Process;

/// A machine whose process this program started.
///
/// ```text
/// waiting --Listening--> up
/// waiting --Failed, or its process ended--> failed
/// ```
pub(super) struct Machine {
    pub(super) id: InstanceId,
    pub(super) directory: PathBuf,
    pub(super) process: Process,
    /// The log, readable even when the machine has removed its directory.
    log: Mutex<File>,
    child: Mutex<Option<Child>>,
    boot: Mutex<Boot>,
}

enum Boot {
    /// Its answer is not there yet. `None` while somebody waits for it.
    Waiting(Option<Answer>),
    Up(Door),
    Failed(String),
}

/// The part of the answer that has come.
struct Answer {
    stdout: ChildStdout,
    bytes: Vec<u8>,
}

impl Machine {
    /// Starts the process, which finds on its standard input what to be: all of it is there before the process is, so
    /// that a program that is killed in the middle leaves a machine that has its lease, or none. Does not wait for it
    /// to be up.
    pub(super) async fn start(plot: Plot, start: &MachineStart) -> Result<Self, ProviderError> {
        let failed = |error| local("failed to start a machine", &plot.directory, error);
        let log = File::open(plot.directory.join(LOG)).map_err(failed)?;
        let order = encode_order(start).map_err(|error| failed(std::io::Error::other(error)))?;
        let order = readable(&plot.directory, &order).map_err(failed)?;
        let mut child = command()?.stdin(order).stderr(plot.log).spawn().map_err(failed)?;
        let process = child.id().and_then(Process::of).unwrap_or(Process { pid: 0, start: 0 });
        let answer = child.stdout.take().map(|stdout| Answer { stdout, bytes: Vec::new() });
        Ok(Self {
            id: plot.id,
            directory: plot.directory,
            process,
            log: Mutex::new(log),
            child: Mutex::new(Some(child)),
            boot: Mutex::new(Boot::Waiting(answer)),
        })
    }

    /// Where it is in its life; waits for a change a little when it is still booting.
    pub(super) async fn look(&self, notice: Notice) -> InstanceState {
        self.hear().await;
        let ended = self.ended();
        match &*lock(&self.boot) {
            Boot::Failed(reason) => InstanceState::Gone { reason: reason.clone(), loss: Loss::Crashed },
            Boot::Waiting(_) | Boot::Up(_) if ended.is_some() => {
                InstanceState::Gone { reason: self.reason(&ended.unwrap_or_default()), loss: Loss::Crashed }
            }
            Boot::Waiting(_) => InstanceState::Pending,
            Boot::Up(door) => running(door, self.process.pid, self.directory.clone(), notice),
        }
    }

    /// Waits until its process is gone and reaps it; `false` when that took too long.
    pub(super) async fn gone(&self, deadline: Duration) -> bool {
        let Some(child) = lock(&self.child).take() else { return true };
        // Whoever drops the wait leaves the child for the next one.
        let mut borrowed = Borrowed { slot: &self.child, value: Some(child) };
        let Some(child) = &mut borrowed.value else { return true };
        let gone = timeout(deadline, child.wait()).await.is_ok();
        if gone {
            borrowed.value = None;
        }
        gone
    }

    /// Takes in the machine's answer, if it comes soon.
    async fn hear(&self) {
        let answer = match &mut *lock(&self.boot) {
            Boot::Waiting(answer) => answer.take(),
            Boot::Up(_) | Boot::Failed(_) => None,
        };
        let Some(answer) = answer else { return };
        let mut waiting = Heard { boot: &self.boot, answer: Some(answer) };
        let Some(answer) = &mut waiting.answer else { return };
        let Ok(heard) = timeout(PATIENCE, answer.whole()).await else { return };
        waiting.answer = None;
        *lock(&self.boot) = match heard {
            Ok(MachineUp::Listening(door)) => Boot::Up(door),
            Ok(MachineUp::Failed(reason)) => Boot::Failed(reason),
            Err(error) => Boot::Failed(self.reason(&error.to_string())),
        };
    }

    /// How its process ended, if it did.
    fn ended(&self) -> Option<String> {
        let status = lock(&self.child).as_mut().and_then(|child| child.try_wait().ok().flatten());
        status.map(|status| status.to_string())
    }

    fn reason(&self, ended: &str) -> String {
        let mut text = String::new();
        // A log that cannot be read has nothing to add.
        let _ = lock(&self.log).read_to_string(&mut text);
        let last: Vec<&str> = text.lines().rev().take(SHOWN).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        let over = format!("its process is over ({ended})");
        if last.is_empty() { over } else { format!("{over}; its last words: {}", last.join(" | ")) }
    }
}

impl Answer {
    /// Waits for all of it; what came is kept when the wait is dropped.
    async fn whole(&mut self) -> std::io::Result<MachineUp> {
        loop {
            if let Some(up) = decode_answer(&self.bytes).map_err(std::io::Error::other)? {
                return Ok(up);
            }
            if self.stdout.read_buf(&mut self.bytes).await? == 0 {
                return Err(std::io::Error::other("it ended before it was up"));
            }
        }
    }
}

/// Gives an answer that was waited for in vain back to the next who asks.
struct Heard<'a> {
    boot: &'a Mutex<Boot>,
    answer: Option<Answer>,
}

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            *lock(self.boot) = Boot::Waiting(Some(answer));
        }
    }
}

/// Gives a value back to where it was taken from.
struct Borrowed<'a, T> {
    slot: &'a Mutex<Option<T>>,
    value: Option<T>,
}

impl<T> Drop for Borrowed<'_, T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            *lock(self.slot) = Some(value);
        }
    }
}

/// A machine that is up, in the words of the contract.
pub(super) fn running(door: &Door, pid: u32, directory: PathBuf, notice: Notice) -> InstanceState {
    InstanceState::Running {
        ssh: SshEndpoint {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: door.port,
            user: String::from("skyward"),
            host_key: HostKey::Known(door.host_key.clone()),
            login: Box::default(),
        },
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        private: None,
        end: End::Process { pid, directory },
        notice,
    }
}

/// Takes a lock; a panic elsewhere does not make what it guards wrong.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This program, as a machine. Each of its commands gets the machine's directory as its home.
fn command() -> Result<Command, ProviderError> {
    let Some(arguments) = program::entry_arguments() else {
        return Err(ProviderError::new(
            ProviderErrorKind::Local,
            "failed to start a local machine: this program cannot become one; call `skyward::init()` \
             first in main, or use #[skyward::main] or #[skyward::test]",
        ));
    };
    let program = program::executable().map_err(|error| {
        ProviderError::new(ProviderErrorKind::Local, "failed to find the running program").because(error)
    })?;
    let mut command = Command::new("sh");
    command.env_clear().envs(environment::kept(std::env::vars_os()));
    command.arg("-c").arg(format!("{} \"$0\" \"$@\"", Role::Machine.shell_prefix()));
    command.arg(program).args(arguments).stdout(Stdio::piped());
    Ok(command)
}

/// A file with this content and without a name, to be read from its beginning.
fn readable(directory: &Path, content: &[u8]) -> std::io::Result<File> {
    let path = directory.join("order");
    let mut file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// How long a look at a booting machine waits for it to be up. A machine takes some 20 ms, so most
/// are seen the moment they are up; much longer would delay looks at others.
const PATIENCE: Duration = Duration::from_millis(50);

/// How many lines of the log are shown.
const SHOWN: usize = 5;
