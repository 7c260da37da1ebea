//! `start`: from the start of a process to its first result on two local nodes. Each round is a fresh
//! process, so that loading the program counts. There is no floor: nothing else does this.

use std::env;
use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

use skyward::prelude::*;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::{Report, median};

/// The case that a round's process is started with.
pub(crate) const CHILD: &str = "start-child";

const FIRST_RESULT: &str = "first result";

#[skyward::function]
fn nothing() {}

/// The median over this many processes, of the time until they say that they have a result.
pub(crate) async fn measure(rounds: usize) -> skyward::Result<Report> {
    let program = env::current_exe()?;
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let began = Instant::now();
        let mut child =
            Command::new(&program).arg(CHILD).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = child.stdout.take().ok_or("a piped output is missing")?;
        let line = BufReader::new(output).lines().next_line().await?;
        let took = began.elapsed();
        let status = child.wait().await?;
        if line.as_deref() != Some(FIRST_RESULT) || !status.success() {
            return Err(format!("a round ended with {status} and said {line:?}").into());
        }
        times.push(took);
    }
    Ok(Report { case: "start", ours: median(times).as_secs_f64(), floor: None, unit: "s", rounds })
}

/// One round.
pub(crate) async fn child() -> skyward::Result<()> {
    let compute = Compute::builder().nodes(2).start().await?;
    (nothing() >> &compute).await?;
    let mut output = std::io::stdout();
    writeln!(output, "{FIRST_RESULT}")?;
    output.flush()?;
    compute.stop().await
}
