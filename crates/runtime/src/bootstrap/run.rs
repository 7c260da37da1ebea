//! Does a plan on a machine, over one SSH command. Called by the node while it bootstraps.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::includes::{Includes, size};
use super::plan::Plan;
use super::progress::{Progress, Reader, Told};
use super::script::script;
use crate::ssh::{Piece, Session, SshError};

/// Why a machine did not become what the image asks for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The included files could not be uploaded.
    #[error("failed to upload the included files: {0}")]
    Upload(#[source] SshError),
    /// The script could not be started.
    #[error("failed to start the bootstrap: {0}")]
    Start(#[source] SshError),
    /// A step failed.
    #[error(
        "bootstrap step `{step}` failed with exit code {code}{}; correct it in the image and start again, \
         or keep the machine to look at it (`keep_on_failure`)",
        last(output)
    )]
    Step {
        /// Which.
        step: String,
        /// Its exit code; 128 and more: it was ended by a signal.
        code: i32,
        /// Its last lines, at most 20.
        output: Vec<String>,
    },
    /// Time was up.
    #[error(
        "bootstrap took longer than {deadline:?} and was at `{step}`{}; allow more time \
         (`Timing::bootstrap`, `Timing::upload`) or do less in the image",
        last(output)
    )]
    Deadline {
        /// The step that was running, or what came before the first.
        step: String,
        /// How long all was allowed to take.
        deadline: Duration,
        /// The step's last lines, at most 20.
        output: Vec<String>,
    },
    /// The SSH session broke. Steps that are done stay done, so another try goes on from there.
    #[error("the SSH session broke during bootstrap, at `{step}`{}: {source}", last(output))]
    Broken {
        /// Why.
        source: Box<SshError>,
        /// The step that was running, or what came before the first.
        step: String,
        /// The step's last lines, at most 20.
        output: Vec<String>,
    },
    /// The script ended without saying how: the machine's disk or shell fails.
    #[error(
        "the bootstrap script ended early at `{step}` with {}{}; see whether the machine has a POSIX `sh`, \
         room on its disk and a home folder that can be written", code_name(*code), last(output)
    )]
    Ended {
        /// The step that was running, or what came before the first.
        step: String,
        /// Its exit code; `None`: a signal.
        code: Option<i32>,
        /// The last lines, at most 20.
        output: Vec<String>,
    },
    /// This computer gave no random numbers.
    #[error("failed to draw a random number on this computer: {0}")]
    Random(getrandom::Error),
}

impl BootstrapError {
    /// Whether another try on the same machine, over a new session, can help.
    pub const fn retry(&self) -> bool {
        match self {
            Self::Upload(source) | Self::Start(source) => source.retry(),
            Self::Broken { source, .. } => source.retry(),
            Self::Step { .. } | Self::Deadline { .. } | Self::Ended { .. } | Self::Random(_) => false,
        }
    }
}

/// Uploads the included files and runs the plan's steps that are not done yet. The deadline counts
/// for both together. A plan of nothing costs nothing.
///
/// Dropping the future closes the SSH command; a step that runs may go on until it prints. A second run
/// waits for it. What a step leaves running in the background loses its output when this returns.
///
/// # Errors
/// When a step fails, time is up, or the machine cannot be used; see [`BootstrapError::retry`].
pub async fn run(
    session: &Session,
    plan: &Plan,
    includes: &Includes,
    deadline: Duration,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), BootstrapError> {
    let plan = plan.with(includes);
    if plan.is_empty() {
        return Ok(());
    }
    let began = Instant::now();
    upload(session, includes, deadline, progress).await?;
    let nonce = nonce()?;
    let text = format!("nonce={nonce}\n{}", script(&plan));
    let mut reader = Reader::new(nonce, &plan);
    let work = follow(session, text, &mut reader, progress);
    match timeout_at(began + deadline, work).await {
        Ok(ended) => ended,
        Err(_elapsed) => {
            Err(BootstrapError::Deadline { step: place(&reader), deadline, output: reader.last_lines() })
        }
    }
}

async fn upload(
    session: &Session,
    includes: &Includes,
    deadline: Duration,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), BootstrapError> {
    let (Some(archive), Some(path)) = (includes.archive(), includes.path()) else { return Ok(()) };
    let step = format!("upload: {} ({})", includes.names(), size(archive.bytes.len() as u64));
    let began = Instant::now();
    progress(Progress::Started { step: step.clone() });
    let uploaded = session.upload(archive, &path, deadline).await.map_err(BootstrapError::Upload)?;
    progress(if uploaded.sent {
        Progress::Finished { step, took: began.elapsed() }
    } else {
        Progress::Skipped { step }
    });
    Ok(())
}

async fn follow(
    session: &Session,
    text: String,
    reader: &mut Reader,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), BootstrapError> {
    let mut command = session.start("exec sh -s", Bytes::from(text)).await.map_err(BootstrapError::Start)?;
    let (mut since, mut exit) = (Instant::now(), None);
    while let Some(piece) = command.next().await {
        let told = match piece {
            Piece::Stdout(bytes) | Piece::Stderr(bytes) => reader.read(&bytes),
            // Servers may tell how a command ended before they pass on its last words.
            Piece::Exit(code) => {
                exit = Some(code);
                continue;
            }
        };
        for fact in told {
            progress(match fact {
                Told::Waiting => Progress::Waiting,
                Told::Started { step } => {
                    since = Instant::now();
                    Progress::Started { step }
                }
                Told::Skipped { step } => Progress::Skipped { step },
                Told::Output { step, line } => Progress::Output { step, line },
                Told::Finished { step } => Progress::Finished { step, took: since.elapsed() },
                Told::Failed { step, code } => {
                    return Err(BootstrapError::Step { step, code, output: reader.last_lines() });
                }
                // What a step left in the background may keep the command open: it is not waited for.
                Told::Ended => return Ok(()),
            });
        }
    }
    reader.finish();
    let (step, output) = (place(reader), reader.last_lines());
    Err(match exit {
        Some(code) => BootstrapError::Ended { step, code, output },
        None => BootstrapError::Broken { source: Box::new(command.broken()), step, output },
    })
}

fn place(reader: &Reader) -> String {
    reader.step().unwrap_or("before the first step").to_owned()
}

/// 128 random bits. They travel on the script's standard input, where steps cannot see them.
fn nonce() -> Result<String, BootstrapError> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(BootstrapError::Random)?;
    Ok(hex::encode(random))
}

fn last(output: &[String]) -> String {
    if output.is_empty() {
        return " and printed nothing".to_owned();
    }
    let lines: String = output.iter().map(|it| format!("\n  | {it}")).collect();
    format!("; it last printed:{lines}\n")
}

fn code_name(code: Option<i32>) -> String {
    code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_steps_own_last_words_and_a_way_out() {
        let failed = BootstrapError::Step {
            step: "apt: ffmpg".into(),
            code: 100,
            output: vec!["E: Unable to locate package ffmpg".into()],
        };
        let text = failed.to_string();
        for part in ["`apt: ffmpg`", "100", "E: Unable to locate package ffmpg", "correct it in the image"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!failed.retry());
    }

    #[test]
    fn a_deadline_names_the_step_that_was_running() {
        let late = BootstrapError::Deadline {
            step: "pip: torch".into(),
            deadline: Duration::from_secs(300),
            output: vec![],
        };
        assert!(late.to_string().contains("300s and was at `pip: torch` and printed nothing"), "{late}");
    }
}
