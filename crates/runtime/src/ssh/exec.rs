//! A command on a machine, its output as it comes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::time::timeout;

use super::{Session, SshError};

/// A running command. Dropping it closes its channel; the command itself is not ended by that, it
/// only finds nobody at the other end of its streams.
pub struct Running {
    session: Session,
    reader: ChannelReadHalf,
    writer: Arc<ChannelWriteHalf<Msg>>,
    feed: Option<BoxFuture<'static, ()>>,
    /// How the command ended, while its last output may still be on the way.
    exit: Option<Option<i32>>,
    eof: bool,
    refused: bool,
    over: bool,
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// One piece of a running command's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// From standard output.
    Stdout(Bytes),
    /// From standard error.
    Stderr(Bytes),
    /// It ended. `None`: by a signal.
    Exit(Option<i32>),
}

impl Running {
    pub(super) fn new(channel: Channel<Msg>, session: Session) -> Self {
        let (reader, writer) = channel.split();
        Self {
            session,
            reader,
            writer: Arc::new(writer),
            feed: None,
            exit: None,
            eof: false,
            refused: false,
            over: false,
        }
    }

    /// Gives the command its standard input, whole, and closes it. The bytes travel while
    /// [`Self::next`] is waited for.
    pub(super) fn feed(&mut self, mut stdin: Bytes) {
        let writer = Arc::clone(&self.writer);
        self.feed = Some(
            async move {
                while !stdin.is_empty() {
                    let part = stdin.split_to(stdin.len().min(PART));
                    // A failure means that the session or the command is over, which the reader hears too.
                    if writer.data_bytes(part).await.is_err() {
                        return;
                    }
                }
                let _ = writer.eof().await;
            }
            .boxed(),
        );
    }

    /// The next piece; `None` after `Exit` or when the session broke before it. Dropping the wait
    /// loses nothing.
    pub async fn next(&mut self) -> Option<Piece> {
        while !self.over {
            if let (Some(code), true) = (self.exit, self.eof) {
                return self.end(code);
            }
            let message = match self.exit {
                None => self.message().await,
                // A child of the command may hold its output open for ever; the command is over.
                Some(code) => match timeout(LINGER, self.message()).await {
                    Ok(message) => message,
                    Err(_) => return self.end(code),
                },
            };
            match message {
                Some(ChannelMsg::Data { data }) => return Some(Piece::Stdout(data)),
                Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => return Some(Piece::Stderr(data)),
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    self.exit = Some(Some(i32::try_from(exit_status).unwrap_or(i32::MAX)));
                }
                Some(ChannelMsg::ExitSignal { .. }) => self.exit = Some(None),
                Some(ChannelMsg::Eof) => self.eof = true,
                Some(ChannelMsg::Failure) => {
                    self.refused = true;
                    self.over = true;
                }
                Some(ChannelMsg::Close) | None => match self.exit {
                    Some(code) => return self.end(code),
                    None => self.over = true,
                },
                Some(_) => {}
            }
        }
        None
    }

    /// Waits for the end and keeps all output.
    ///
    /// # Errors
    /// When the session broke before the command ended, or the command said more than 64 MiB.
    pub async fn output(mut self) -> Result<Output, SshError> {
        let mut output = Output { code: None, stdout: Vec::new(), stderr: Vec::new() };
        while let Some(piece) = self.next().await {
            match piece {
                Piece::Stdout(bytes) => output.stdout.extend_from_slice(&bytes),
                Piece::Stderr(bytes) => output.stderr.extend_from_slice(&bytes),
                Piece::Exit(code) => return Ok(Output { code, ..output }),
            }
            if output.stdout.len() + output.stderr.len() > MOST {
                return Err(self.endless());
            }
        }
        Err(self.broken())
    }

    /// More was said than anything that is asked here has to say.
    pub(super) fn endless(&self) -> SshError {
        SshError::Endless { endpoint: self.session.endpoint().to_string() }
    }

    /// Why there was no `Exit`.
    pub fn broken(&self) -> SshError {
        if self.refused {
            return SshError::ExecRefused { endpoint: self.session.endpoint().to_string() };
        }
        self.session.broken()
    }

    fn end(&mut self, code: Option<i32>) -> Option<Piece> {
        self.over = true;
        Some(Piece::Exit(code))
    }

    async fn message(&mut self) -> Option<ChannelMsg> {
        loop {
            let Some(feed) = &mut self.feed else { return self.reader.wait().await };
            tokio::select! {
                message = self.reader.wait() => return message,
                () = feed => self.feed = None,
            }
        }
    }
}

/// How much of a command's output is kept in memory at most.
const MOST: usize = 64 << 20;

impl Drop for Running {
    fn drop(&mut self) {
        let writer = Arc::clone(&self.writer);
        // Outside of a runtime the session cannot live either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { writer.close().await });
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("session", &self.session).field("exit", &self.exit).finish()
    }
}

/// SSH's number for standard error.
const STDERR: u32 = 1;

/// How much of its standard input a command is given at once. The library keeps, for as long as the session lives, room
/// for the largest part that it ever encrypted: a mebibyte for each node of a pool, when that is what a window lets go.
const PART: usize = 64 * 1024;

/// How long output may follow the end of a command whose children hold its streams open. Less loses
/// the tail of what it printed on a slow connection, more delays commands that leave a child behind.
const LINGER: Duration = Duration::from_millis(500);
