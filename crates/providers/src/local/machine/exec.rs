//! One command on the machine: a shell in the machine's directory, its streams on an SSH channel.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Handle, Msg};
use russh::{Channel, Sig};
use rustix::process::WaitStatus;
use skyward_runtime::program::ROLE_VARIABLE;
use tokio::net::unix::pipe;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::super::config::MARK;
use super::brake::Load;
use super::pump::{Stream, inward, outward};
use super::reaper::Reaper;

/// A command that has been started.
pub(super) struct Exec {
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
    end: oneshot::Receiver<WaitStatus>,
}

impl Exec {
    /// Starts a command as a login shell on a machine would.
    pub(super) fn start(command: &[u8], directory: &Path, reaper: &Reaper) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(OsString::from_vec(command.to_vec()));
        shell.current_dir(directory).env("HOME", directory).env(MARK, directory).env_remove(ROLE_VARIABLE);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let (mut child, end) = reaper.spawn(&mut shell)?;
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let stdin = OwnedFd::from(child.stdin.take().ok_or_else(gone)?);
        let stdout = OwnedFd::from(child.stdout.take().ok_or_else(gone)?);
        let stderr = OwnedFd::from(child.stderr.take().ok_or_else(gone)?);
        Ok(Self {
            stdin: pipe::Sender::from_owned_fd(stdin)?,
            stdout: pipe::Receiver::from_owned_fd(stdout)?,
            stderr: pipe::Receiver::from_owned_fd(stderr)?,
            end,
        })
    }

    /// Serves the command's streams until it is over, or the client hangs up. A client that hangs up
    /// does not end the command.
    pub(super) async fn serve(self, channel: Channel<Msg>, session: Handle, load: Arc<Load>) {
        let id = channel.id();
        let (reader, writer) = channel.split();
        let (eof, _) = oneshot::channel();
        let (over, after) = watch::channel(());
        let quiet = || {
            let mut after = after.clone();
            async move {
                // The sender is dropped when the shell is over.
                while after.changed().await.is_ok() {}
                sleep(LINGER).await;
            }
        };
        let outputs = async {
            tokio::join!(
                outward(self.stdout, &writer, Stream::Stdout, &load, quiet),
                outward(self.stderr, &writer, Stream::Stderr, &load, quiet),
            );
        };
        let end = async {
            if let Ok(status) = self.end.await {
                // An error means that the client is gone.
                let _ = match signal(status) {
                    None => session.exit_status_request(id, code(status)).await,
                    Some(signal) => {
                        session.exit_signal_request(id, signal, false, String::new(), String::new()).await
                    }
                };
            }
            drop(over);
        };
        let finish = async {
            let (mut outputs, mut end) = (pin!(outputs), pin!(end));
            let mut drained = false;
            loop {
                tokio::select! {
                    () = &mut outputs, if !drained => {
                        drained = true;
                        let _ = writer.eof().await;
                    }
                    () = &mut end => break,
                }
            }
            if !drained {
                // What the shell left behind may print for ever.
                let _ = timeout(LINGER_MOST, outputs).await;
                let _ = writer.eof().await;
            }
        };
        tokio::select! {
            () = inward(reader, self.stdin, eof, &load) => {}
            () = finish => {}
        }
        let _ = writer.close().await;
    }
}

fn code(status: WaitStatus) -> u32 {
    status.exit_status().and_then(|it| u32::try_from(it).ok()).unwrap_or(1)
}

fn signal(status: WaitStatus) -> Option<Sig> {
    let names = [
        (1, Sig::HUP),
        (2, Sig::INT),
        (3, Sig::QUIT),
        (4, Sig::ILL),
        (6, Sig::ABRT),
        (8, Sig::FPE),
        (9, Sig::KILL),
        (11, Sig::SEGV),
        (13, Sig::PIPE),
        (14, Sig::ALRM),
        (15, Sig::TERM),
    ];
    let number = status.terminating_signal()?;
    let known = names.into_iter().find(|it| it.0 == number).map(|it| it.1);
    Some(known.unwrap_or_else(|| Sig::Custom(number.to_string())))
}

/// How long output may pause after the shell is over before the channel is closed: its children may
/// hold the pipes open. Less could lose a slow child's last line, more delays every such command.
const LINGER: Duration = Duration::from_millis(100);

/// How long such output may go on without a pause.
const LINGER_MOST: Duration = Duration::from_secs(5);
