//! `start`: from the start of a process to its first result on two local nodes. Each round is a fresh
//! process, so that loading the program counts. Then another pool in the same process, which has the program packed
//! (`start-again`); where machines have it, too, is `hosts-start-again`. There is no floor: nothing else does this.

use std::env;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use skyward::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::{Report, median};

/// The case that a round's process is started with.
pub(crate) const CHILD: &str = "start-child";

const FIRST_RESULT: &str = "first result";

/// What a process says behind that, and before the seconds that another pool took to its first result.
const AGAIN: &str = "again ";

#[skyward::function]
fn nothing() {}

/// What is said of a node when a phase of its start is over, in their order, and the phase's name. What comes
/// after the last is the first call.
const PHASES: [(&str, &str); 5] = [
    ("reaching", "start-machine"),
    ("bootstrapping", "start-ssh"),
    ("program", "start-upload"),
    ("joining", "start-bootstrap"),
    ("ready", "start-join"),
];

/// The median over this many processes, of the time until they say that they have a result.
pub(crate) async fn measure(rounds: usize) -> skyward::Result<Vec<Report>> {
    let program = env::current_exe()?;
    let (mut times, mut again) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    let mut phases: [Vec<Duration>; PHASES.len() + 1] = Default::default();
    for _ in 0..rounds {
        let began = Instant::now();
        let mut child = Command::new(&program)
            .arg(CHILD)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or("a piped output is missing")?;
        let mut events = child.stderr.take().ok_or("a piped output is missing")?;
        let told = tokio::spawn(async move {
            let mut told = String::new();
            events.read_to_string(&mut told).await.map(|_| told)
        });
        let mut lines = BufReader::new(output).lines();
        let line = lines.next_line().await?;
        let took = began.elapsed();
        let second = lines.next_line().await?;
        let status = child.wait().await?;
        let seconds = second.as_ref().and_then(|it| it.strip_prefix(AGAIN)?.parse().ok());
        let (Some(FIRST_RESULT), Some(seconds), true) = (line.as_deref(), seconds, status.success()) else {
            return Err(format!("a round ended with {status} and said {line:?}, then {second:?}").into());
        };
        times.push(took);
        again.push(Duration::from_secs_f64(seconds));
        let told = told.await??;
        let mut before = Duration::ZERO;
        for (times, (word, _)) in phases.iter_mut().zip(PHASES) {
            let reached = reached(&told, word).unwrap_or(before).max(before);
            times.push(reached.saturating_sub(before));
            before = reached;
        }
        let [.., call] = &mut phases;
        call.push(took.saturating_sub(before));
    }
    let mut reports = vec![Report::alone("start", median(times).as_secs_f64(), "s", rounds)];
    let names = PHASES.iter().map(|(_, name)| *name).chain(["start-call"]);
    reports.extend(
        names.zip(phases).map(|(name, it)| Report::alone(name, median(it).as_secs_f64(), "s", rounds)),
    );
    reports.push(Report::alone("start-again", median(again).as_secs_f64(), "s", rounds));
    Ok(reports)
}

/// When the last node was said to have come so far, after the pool's start.
fn reached(told: &str, word: &str) -> Option<Duration> {
    let after = |line: &str| {
        let (head, said) = line.split_once("s] node ")?;
        let (_, said) = said.split_once(": ")?;
        let after = head.rsplit(' ').next()?.parse().ok()?;
        said.starts_with(word).then_some(Duration::from_secs_f64(after))
    };
    told.lines().filter_map(after).max()
}

/// One round.
pub(crate) async fn child() -> skyward::Result<()> {
    let compute = Compute::builder().nodes(2).console().start().await?;
    (nothing() >> &compute).await?;
    let mut output = std::io::stdout();
    writeln!(output, "{FIRST_RESULT}")?;
    output.flush()?;
    compute.stop().await?;
    let began = Instant::now();
    let compute = Compute::builder().nodes(2).start().await?;
    (nothing() >> &compute).await?;
    writeln!(output, "{AGAIN}{}", began.elapsed().as_secs_f64())?;
    output.flush()?;
    compute.stop().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_reached_when_the_last_node_has_reached_it() {
        let told = "[p1   0.10s] preparing\n[p1   0.25s] node 0: ready\n[p1   0.50s] node 1: ready\n";
        assert_eq!(reached(told, "ready"), Some(Duration::from_millis(500)));
        assert_eq!(reached(told, "joining"), None);
    }
}
