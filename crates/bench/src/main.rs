//! Measures Skyward beside the floor under it, in one run:
//! `cargo run --release -p skyward-bench -- CASE [--json] [--rounds N]`.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

mod idle;
mod import;
mod latency;
mod offers;
mod planning;
mod ssh;
mod start;
mod stream;

use std::fmt;
use std::time::Duration;

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = rounds(&arguments)?;
    let reports = match arguments.first().map(String::as_str) {
        Some(case) if ssh::is_asked(&arguments) => vec![ssh::measure(case, rounds).await?],
        Some("start") => vec![start::measure(rounds.unwrap_or(11)).await?],
        Some(start::CHILD) => return start::child().await,
        Some("idle") => vec![idle::measure().await?],
        Some("latency") => vec![latency::measure(rounds.unwrap_or(2000)).await?],
        Some("stream") => vec![stream::measure(rounds.unwrap_or(5)).await?],
        Some("plan") => planning::measure(rounds.unwrap_or(51))?,
        Some("plan-million") => planning::measure_million(rounds.unwrap_or(5))?,
        Some("catalog-import") => import::measure(rounds.unwrap_or(7))?,
        _ => {
            let cases = "start, idle, latency, stream, plan, plan-million or catalog-import";
            let then = "--json, --rounds N, --carrier ssh";
            return Err(format!("say what to measure: {cases}; then perhaps {then}").into());
        }
    };
    for report in reports {
        if arguments.iter().any(|it| it == "--json") {
            println!("{}", report.json());
        } else {
            println!("{report}");
        }
    }
    Ok(())
}

/// The number after `--rounds`.
fn rounds(arguments: &[String]) -> skyward::Result<Option<usize>> {
    let mut rest = arguments.iter().skip_while(|it| *it != "--rounds").skip(1);
    match rest.next().map(|it| it.parse()) {
        Some(Ok(0) | Err(_)) => Err("--rounds takes a number from 1".into()),
        Some(Ok(rounds)) => Ok(Some(rounds)),
        None => Ok(None),
    }
}

/// One case's result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) case: &'static str,
    pub(crate) ours: f64,
    /// What no program of this kind could beat, measured in the same run, where there is such a thing.
    pub(crate) floor: Option<f64>,
    pub(crate) unit: &'static str,
    pub(crate) rounds: usize,
}

impl Report {
    /// `{"case","ours","floor","ratio","unit","rounds"}`; `floor` and `ratio` are null without a floor.
    pub(crate) fn json(&self) -> String {
        let number = |it: Option<f64>| it.map_or("null".to_owned(), |it| format!("{it:.6}"));
        format!(
            r#"{{"case":"{}","ours":{},"floor":{},"ratio":{},"unit":"{}","rounds":{}}}"#,
            self.case,
            number(Some(self.ours)),
            number(self.floor),
            number(self.ratio()),
            self.unit,
            self.rounds
        )
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.filter(|floor| *floor > 0.0).map(|floor| self.ours / floor)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:.4} {}", self.case, self.ours, self.unit)?;
        if let (Some(floor), Some(ratio)) = (self.floor, self.ratio()) {
            write!(f, ", the floor {floor:.4} {}: {ratio:.2} times", self.unit)?;
        }
        write!(f, " ({} rounds)", self.rounds)
    }
}

/// The middle of what was measured; 0 of nothing.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_has_null_where_there_is_no_floor() {
        let report = Report { case: "start", ours: 0.5, floor: None, unit: "s", rounds: 3 };
        let expected = r#"{"case":"start","ours":0.500000,"floor":null,"ratio":null,"unit":"s","rounds":3}"#;
        assert_eq!(report.json(), expected);
        assert!(Report { floor: Some(0.25), ..report }.json().contains(r#""ratio":2.000000"#));
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3, 1, 2].map(Duration::from_secs).to_vec()), Duration::from_secs(2));
    }
}
