//! The runtime that is used: found once, then asked by its command, each time with a deadline.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use bytes::Bytes;
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::command::Runtime;
use super::config::Config;
use super::failure::{Failure, last};
use super::map::{self, Info, Listed};

/// A runtime that answers.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) runtime: Runtime,
    /// Its command, as it is started.
    pub(super) binary: String,
    pub(super) info: Info,
    config: Config,
}

impl Engine {
    /// The one that is named, or the first that answers.
    pub(super) async fn find(config: &Config) -> Result<Self, ProviderError> {
        if let Some(binary) = &config.binary {
            return match Self::open(binary, config).await {
                Ok(Some(engine)) => Ok(engine),
                Ok(None) => Err(local(format!(
                    "failed to find {binary:?}: install it, or name another runtime as `binary`"
                ))),
                Err(error) => Err(error),
            };
        }
        let mut failed = Vec::new();
        for runtime in Runtime::ALL {
            match Self::open(runtime.command(), config).await {
                Ok(Some(engine)) => return Ok(engine),
                Ok(None) => {}
                Err(error) => failed.push(error),
            }
        }
        // What the first of them says is what its user wants to know.
        let advice = "failed to find a container runtime: install docker, podman or nerdctl, or name its command as \
                      `binary`";
        Err(failed.into_iter().next().unwrap_or_else(|| local(advice)))
    }

    /// Asks a command what it is; `None` when there is none.
    async fn open(binary: &str, config: &Config) -> Result<Option<Self>, ProviderError> {
        let runtime = Runtime::of(binary);
        let engine =
            Self { runtime, binary: binary.to_owned(), info: Info::default(), config: config.clone() };
        let output = match engine.spoken(&runtime.info(), None, ANSWER).await {
            Err(Unspoken::Start(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            said => said.map_err(|it| engine.silent("ask what there is", it))?,
        };
        let what = "ask what there is";
        let found = map::info(runtime, &output.said, cfg!(target_os = "linux"));
        let trouble = found.as_ref().and_then(|(_, info)| info.trouble.clone());
        if !output.good || trouble.is_some() {
            return Err(engine.refused_for_good(what, &trouble.unwrap_or(output.why)));
        }
        let Some((runtime, info)) = found else {
            return Err(local(format!(
                "failed to understand what {binary:?} says of itself: name another runtime as `binary`"
            )));
        };
        Ok(Some(Self { runtime, info, ..engine }))
    }

    /// Runs a command of the runtime that must end well, and returns what it said.
    pub(super) async fn ask(&self, what: &str, words: &[String]) -> Result<String, ProviderError> {
        let spoken = self.speak(what, words, None, PATIENCE).await?;
        if spoken.good { Ok(spoken.said) } else { Err(self.refused(what, &spoken.why)) }
    }

    /// Runs a command of the runtime.
    pub(super) async fn speak(
        &self,
        what: &str,
        words: &[String],
        input: Option<Bytes>,
        deadline: Duration,
    ) -> Result<Spoken, ProviderError> {
        self.spoken(words, input, deadline).await.map_err(|it| self.silent(what, it))
    }

    /// An error for what the runtime said, which answered before: what is wrong with it now may be over soon.
    pub(super) fn refused(&self, what: &str, said: &str) -> ProviderError {
        let mut error = self.refused_for_good(what, said);
        if matches!(Failure::of(said), Failure::Down | Failure::Unreachable | Failure::Other) {
            error.kind = ProviderErrorKind::Transient;
        }
        error
    }

    /// An error for what the runtime said, where asking again is of no use.
    pub(super) fn refused_for_good(&self, what: &str, said: &str) -> ProviderError {
        Failure::of(said).error(what, said, self.runtime, &self.config)
    }

    /// What a list says, or that it is not understood: then nothing may be taken for gone.
    pub(super) async fn list(&self, what: &str, words: &[String]) -> Result<Vec<Listed>, ProviderError> {
        let said = self.ask(what, words).await?;
        map::listed(&said).ok_or_else(|| {
            let message =
                format!("failed to {what}: what {:?} says is not understood: {}", self.binary, last(&said));
            ProviderError::new(ProviderErrorKind::Transient, message)
        })
    }

    async fn spoken(
        &self,
        words: &[String],
        input: Option<Bytes>,
        deadline: Duration,
    ) -> Result<Spoken, Unspoken> {
        let mut command = Command::new(&self.binary);
        command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().map_err(Unspoken::Start)?;
        let mut stdin = child.stdin.take();
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin.take(), input) {
                // One that ends before it has read all says why.
                let _ = stdin.write_all(&input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let talk = async { tokio::join!(feed, child.wait_with_output()).1 };
        match timeout(deadline, talk).await {
            Ok(Ok(output)) => Ok(Spoken::of(&output)),
            Ok(Err(error)) => Err(Unspoken::Start(error)),
            Err(_) => Err(Unspoken::Late(deadline)),
        }
    }

    fn silent(&self, what: &str, why: Unspoken) -> ProviderError {
        let binary = &self.binary;
        match why {
            Unspoken::Start(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                local(format!("failed to {what}: this user may not start {binary:?}")).because(error)
            }
            Unspoken::Start(error) => {
                local(format!("failed to {what}: {binary:?} cannot be started")).because(error)
            }
            Unspoken::Late(deadline) => {
                let message = format!(
                    "failed to {what}: {binary:?} did not answer within {deadline:?}; see whether its daemon is well"
                );
                ProviderError::new(ProviderErrorKind::Transient, message)
            }
        }
    }
}

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spoken {
    /// Whether it ended well.
    pub(super) good: bool,
    /// Its exit code.
    pub(super) code: Option<i32>,
    /// On its standard output.
    pub(super) said: String,
    /// On its standard error.
    pub(super) why: String,
}

impl Spoken {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (good, code) = (output.status.success(), output.status.code());
        Self { good, code, said: text(&output.stdout), why: text(&output.stderr) }
    }
}

/// Why a command said nothing.
enum Unspoken {
    Start(io::Error),
    Late(Duration),
}

/// An error of this computer's.
pub(super) fn local(message: impl Into<String>) -> ProviderError {
    ProviderError::new(ProviderErrorKind::Local, message)
}

/// How long a runtime may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(20);

/// How long it may take to do something. A busy daemon takes seconds; none takes minutes.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
