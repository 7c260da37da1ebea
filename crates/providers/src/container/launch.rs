//! One container from its start to its server: it is run with a shell that waits, gets this program, becomes it, and
//! says by which key it is known.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skyward_runtime::bootstrap::Program;
use skyward_runtime::program::{self, ROLE_VARIABLE, read_fingerprint};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind, Request};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::command::{SSH_PORT, Start};
use super::config::Config;
use super::engine::{Engine, PATIENCE, Spoken, local};
use super::failure::{Failure, last};
use super::map::{self, Life};
use crate::local::container_order;

/// What all containers of a request are made with.
pub(super) struct Launch<'a> {
    pub(super) engine: &'a Engine,
    pub(super) config: &'a Config,
    pub(super) program: Arc<Program>,
    pub(super) network: &'a str,
    pub(super) labels: [String; 2],
}

impl Launch<'_> {
    /// Runs a container and returns the OpenSSH public key line of its server. One that did not come as far is
    /// removed.
    pub(super) async fn launch(&self, name: &str, request: &Request) -> Result<String, ProviderError> {
        let launched = async {
            let port = self.run(name, request).await?;
            let key = self.install(name).await?;
            knock(port).await.map(|()| key)
        };
        let launched = launched.await;
        if launched.is_err() {
            // The sweep finds what cannot be removed now.
            let _ = remove(self.engine, name).await;
        }
        launched
    }

    /// Runs it with a shell that waits; the port that leads to it.
    async fn run(&self, name: &str, request: &Request) -> Result<u16, ProviderError> {
        let what = "run a container";
        let told = self.told(request)?;
        let mut tries = 0;
        loop {
            let port = free_port()?;
            let start = Start { name, labels: &self.labels, network: self.network, port, words: &told };
            let words = self.engine.runtime.run(self.config, &start)?;
            let spoken = self.engine.speak(what, &words, None, PATIENCE).await?;
            if spoken.good {
                return Ok(port);
            }
            tries += 1;
            // What was made before the port was found to be taken has the name.
            remove(self.engine, name).await?;
            if Failure::of(&spoken.why) != Failure::PortTaken || tries >= TRIES {
                return Err(self.engine.refused(what, &spoken.why));
            }
        }
    }

    /// What the first process is told: its script, and how this program becomes a machine.
    fn told(&self, request: &Request) -> Result<Vec<String>, ProviderError> {
        let order = container_order(&request.ssh_key, request.lease, SSH_PORT)
            .map_err(|error| local(format!("failed to tell a container what to be: {error}")))?;
        let order: String = order.iter().map(|it| format!("\\{it:03o}")).collect();
        let wait = request.lease.max(WAIT).as_secs().to_string();
        let script = include_str!("sh/boot.sh").to_owned();
        let mut told = vec![script, "skyward".to_owned(), self.program.path(), order, wait];
        told.extend(entry()?);
        Ok(told)
    }

    async fn install(&self, name: &str) -> Result<String, ProviderError> {
        let own = program::fingerprint().map_err(|it| local(it.to_string()))?;
        // What is not the running program says first that it is the same one.
        let other = self.config.worker_binary.as_deref();
        let same = if other.is_some() { own.clone() } else { String::new() };
        let mut arguments = vec![self.program.path(), self.program.size().to_string(), same];
        arguments.extend(entry()?);
        let words = self.engine.runtime.exec(name, include_str!("sh/install.sh"), &arguments);
        let input = Some(self.program.travels().clone());
        let spoken = self.engine.speak("give a container this program", &words, input, PATIENCE).await?;
        let key = spoken.said.lines().rev().map(str::trim).find(|it| it.starts_with("ssh-"));
        match (key, other) {
            (Some(key), _) if spoken.good => Ok(key.to_owned()),
            (_, Some(file)) if spoken.code == Some(FOREIGN) => {
                Err(another(file, &self.config.image, &own, &spoken.said))
            }
            _ => Err(self.failed(name, &spoken).await),
        }
    }

    /// Why a container did not become a machine.
    async fn failed(&self, name: &str, spoken: &Spoken) -> ProviderError {
        let words = self.engine.runtime.inspect(name);
        let inspected = self.engine.speak("look at a container", &words, None, PATIENCE).await.ok();
        let seen = inspected.and_then(|it| map::seen(self.engine.runtime, &it.said));
        let words = last_words(self.engine, name).await;
        let image = &self.config.image;
        let refuse =
            |kind, message: String| ProviderError::new(kind, format!("failed to run {image:?}: {message}"));
        match seen.map(|it| it.life) {
            Some(Life::Ended { out_of_memory: true, .. }) => refuse(
                ProviderErrorKind::InvalidRequest,
                "it used more memory than it may: raise `memory_mb`".to_owned(),
            ),
            Some(Life::Ended { code, .. }) if is_foreign(code, &words) => refuse(
                ProviderErrorKind::InvalidRequest,
                format!(
                    "its C library cannot run this program ({words}): name an `image` whose glibc is at least as new \
                     as the one that this program was built with, or build this program for the image as well \
                     (`--target {}-unknown-linux-musl` runs in any) and name that file as `worker_binary`",
                    std::env::consts::ARCH
                ),
            ),
            Some(Life::Ended { code, .. }) => {
                let code = code.map(|it| format!(" with {it}")).unwrap_or_default();
                refuse(
                    ProviderErrorKind::Transient,
                    format!("its first process ended{code}; its last words: {words}"),
                )
            }
            _ if is_without_shell(spoken) => {
                Failure::NoShell.error("run a container", &spoken.why, self.engine.runtime, self.config)
            }
            _ => refuse(
                ProviderErrorKind::Transient,
                format!("{}; its last words: {words}", last(&spoken.why)),
            ),
        }
    }
}

/// Refuses a file that is no program which can say what it is, before anything is made for it.
pub(super) fn check(file: &Path, content: &[u8]) -> Result<(), ProviderError> {
    let (file, variable) = (file.display(), ROLE_VARIABLE.as_bytes());
    if content.windows(variable.len()).any(|it| it == variable) {
        return Ok(());
    }
    let message = format!(
        "failed to use `worker_binary` {file}: it is no program of Skyward; build this program for the image's C \
         library, and name that file"
    );
    Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message))
}

/// Why a file is not this program in another build, by what it said when it was asked in a container.
fn another(file: &Path, image: &str, own: &str, said: &str) -> ProviderError {
    let short = |it: &str| it.chars().take(14).collect::<String>();
    let why = match read_fingerprint(said) {
        Some(its) => format!(
            "it is another program: its functions are {} and ours are {}; build it from the same sources as this program",
            short(its),
            short(own)
        ),
        None => format!(
            "{image:?} cannot run it ({}); build this program for the image's C library (`--target \
             {}-unknown-linux-musl` runs in any)",
            last(said),
            std::env::consts::ARCH
        ),
    };
    let message = format!("failed to use `worker_binary` {}: {why}", file.display());
    ProviderError::new(ProviderErrorKind::InvalidRequest, message)
}

/// The arguments with which this program becomes a machine.
fn entry() -> Result<Vec<String>, ProviderError> {
    let Some(entry) = program::entry_arguments() else {
        return Err(local(
            "failed to run a container: this program cannot become its first process; call `skyward::init()` first in \
             main, or use #[skyward::main] or #[skyward::test]",
        ));
    };
    let text = |it: &OsString| it.to_str().map(str::to_owned);
    let words: Option<Vec<_>> = entry.iter().map(text).collect();
    words.ok_or_else(|| local("this program's arguments are no text"))
}

/// Whether a program could not be started for want of a library, or because it is another processor's. A shell says so
/// by its code, and the loader of a C library that is too old in words.
fn is_foreign(code: Option<i64>, words: &str) -> bool {
    let said = ["GLIBC", "GLIBCXX", "error while loading"];
    matches!(code, Some(126 | 127)) || (code == Some(1) && said.iter().any(|it| words.contains(it)))
}

fn is_without_shell(spoken: &Spoken) -> bool {
    matches!(spoken.code, Some(126 | 127)) && Failure::of(&spoken.why) == Failure::NoShell
}

/// Removes a container; one that is not there is gone already.
pub(super) async fn remove(engine: &Engine, name: &str) -> Result<(), ProviderError> {
    let what = "remove a container";
    let mut words = engine.runtime.remove();
    words.push(name.to_owned());
    let spoken = engine.speak(what, &words, None, PATIENCE).await?;
    if !spoken.good && !Failure::is_gone(&spoken.why, name) {
        let mut error = engine.refused(what, &spoken.why);
        error.kind = ProviderErrorKind::Transient;
        return Err(error);
    }
    Ok(())
}

/// What a container said last, as one line.
pub(super) async fn last_words(engine: &Engine, name: &str) -> String {
    for tried in 1.. {
        let asked =
            engine.speak("read what a container said", &engine.runtime.logs(name), None, PATIENCE).await;
        let words = match asked {
            // Its first process writes on its standard error, which some runtimes keep apart.
            Ok(spoken) => last(&format!("{}\n{}", spoken.said, spoken.why)),
            Err(error) => error.to_string(),
        };
        // What it said just before it ended may not be written down yet.
        if !words.is_empty() || tried >= LOOKS {
            return words;
        }
        sleep(PAUSE).await;
    }
    String::new()
}

/// Looks whether an SSH server answers at a port of loopback: a runtime may be another computer's, or see another
/// loopback than we do.
async fn knock(port: u16) -> Result<(), ProviderError> {
    let answer = async {
        let mut greeting = [0; 4];
        loop {
            if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
                && stream.read_exact(&mut greeting).await.is_ok()
                && greeting == *b"SSH-"
            {
                return;
            }
            sleep(PAUSE).await;
        }
    };
    timeout(KNOCK, answer).await.map_err(|_| {
        local(
            "failed to reach a container at this computer's loopback, where its server is published: the runtime is              another computer's (`DOCKER_HOST`, a context), or this program runs in a container itself; use a runtime              that runs where this program does",
        )
    })
}

/// A port on loopback that nothing has now.
fn free_port() -> Result<u16, ProviderError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    bound.map(|it| it.port()).map_err(|error| local("failed to find a free port on loopback").because(error))
}

/// How the script ends that could not run the program.
const FOREIGN: i32 = 74;

/// How often a port that was taken meanwhile is tried anew.
const TRIES: u32 = 5;

/// How often it is looked for what a container said that has said nothing.
const LOOKS: u32 = 20;

/// How long the first process waits for the program at least: it may be large, and the runtime busy.
const WAIT: Duration = Duration::from_secs(120);

/// How long a server that listens may take to answer through the runtime, and the pause between two looks.
const KNOCK: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
