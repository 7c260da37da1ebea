//! A hyper-parameter sweep on four nodes: 63 settings of an elastic net, cross-validated on wines, shown as
//! they arrive; then the same sweep in this process, which must agree to the last bit.
//! Run it with `cargo run --release --example sweep`.

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::fmt;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use skyward::prelude::*;
use skyward_sweep::{Score, Setting, cross_validate, grid};

#[skyward::function]
fn score(setting: Setting) -> Result<Score, Failure> {
    Ok(cross_validate(setting)?)
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let settings = grid();

    let began = Instant::now();
    let compute = Compute::builder().nodes(4).console().start().await?;
    let rented = began.elapsed();
    let far = on_nodes(&compute, &settings).await?;
    let took = began.elapsed();
    compute.stop().await?;

    let began = Instant::now();
    let near = settings.iter().map(|setting| cross_validate(*setting)).collect::<Result<Vec<_>, _>>()?;
    report(&settings, &far, &near, rented, took, began.elapsed());

    let different = far.iter().zip(&near).filter(|(far, near)| !far.same_bits(near)).count();
    if different > 0 || far.len() != near.len() {
        return Err(Different { settings: different }.into());
    }
    println!("all {} scores are equal, bit by bit", near.len());
    Ok(())
}

/// The scores in the order of the settings; each is printed as soon as it is there.
async fn on_nodes(compute: &Compute, settings: &[Setting]) -> skyward::Result<Vec<Score>> {
    let mut arriving = pin!(compute.stream(gather(settings.iter().copied().map(score))).indexed());
    let mut scores = Vec::with_capacity(settings.len());
    while let Some((at, score)) = arriving.next().await {
        let score = score?;
        scores.push((at, score));
        if let Some(setting) = settings.get(at) {
            println!("{:>2}/{}  {setting}  {score}", scores.len(), settings.len());
        }
    }
    scores.sort_unstable_by_key(|(at, _)| *at);
    Ok(scores.into_iter().map(|(_, score)| score).collect())
}

fn report(
    settings: &[Setting],
    far: &[Score],
    near: &[Score],
    rented: Duration,
    took: Duration,
    alone: Duration,
) {
    let [rented, took, alone] = [rented, took, alone].map(|it| it.as_secs_f64());
    println!();
    for (place, scores, how) in [
        ("4 nodes", far, format!("{took:.2} s, of which {rented:.2} s to start")),
        ("here", near, format!("{alone:.2} s, one setting after the other")),
    ] {
        if let Some((setting, score)) = best(settings, scores) {
            println!("best, {place:<8} {setting}  {score}  ({how})");
        }
    }
}

/// The setting with the least error; the first of them when several share it.
fn best<'a>(settings: &'a [Setting], scores: &'a [Score]) -> Option<(&'a Setting, &'a Score)> {
    settings.iter().zip(scores).min_by(|(_, one), (_, other)| one.error.total_cmp(&other.error))
}

/// The nodes and this process disagree.
#[derive(Debug)]
struct Different {
    settings: usize,
}

impl fmt::Display for Different {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} settings have another score on the nodes than in this process", self.settings)
    }
}

impl std::error::Error for Different {}
