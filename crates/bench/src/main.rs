//! Measures Skyward beside the floor under it, in one run, each in turn:
//! `cargo run --release -p skyward-bench -- CASE [--json] [--rounds N] [--carrier ssh]`.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

mod bulk;
mod crowd;
mod fleet;
mod floor;
mod hosts;
mod idle;
mod import;
mod latency;
mod offers;
mod planning;
mod ssh;
mod start;
mod stream;
mod throughput;
mod usage;

use std::fmt;
use std::time::Duration;

/// The cases, for who names none of them.
const CASES: &str = "start, idle, latency, throughput, throughput-16, bulk, behind-bulk, fairness, broadcast, fleet, stream, \
    plan, plan-million, catalog-import, hosts-start, hosts-spread, hosts-udp or hosts-delay";

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = rounds(&arguments)?;
    let rounds = |usual: usize| asked.unwrap_or(usual);
    let reports = match arguments.first().map_or("", String::as_str) {
        case if ssh::is_asked(&arguments) => vec![ssh::measure(case, asked).await?],
        "stream" => stream::measure(rounds(5)).await?,
        "start" => start::measure(rounds(11)).await?,
        start::CHILD => return start::child().await,
        floor::NODE => return floor::node().await,
        "idle" => idle::measure().await?,
        "latency" => latency::measure(rounds(2000)).await?,
        "throughput" => throughput::measure(rounds(5)).await?,
        "throughput-16" => throughput::measure_16(rounds(5)).await?,
        "bulk" => bulk::measure(rounds(7)).await?,
        "behind-bulk" => crowd::behind_bulk(rounds(5)).await?,
        "fairness" => crowd::fairness(rounds(3)).await?,
        "broadcast" => fleet::broadcast(rounds(200)).await?,
        "fleet" => fleet::fleet().await?,
        "plan" => planning::measure(rounds(51))?,
        "plan-million" => planning::measure_million(rounds(5))?,
        "hosts-start" => hosts::start(rounds(3)).await?,
        "hosts-spread" => hosts::spread().await?,
        "hosts-udp" => hosts::udp(rounds(3)).await?,
        "hosts-delay" => hosts::delay(rounds(3)).await?,
        "catalog-import" => import::measure(rounds(7))?,
        _ => {
            return Err(format!(
                "say what to measure: {CASES}; then perhaps --json, --rounds N, --carrier ssh"
            )
            .into());
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
    /// Ours beside the floor of the same run.
    pub(crate) const fn beside(
        case: &'static str,
        ours: f64,
        floor: f64,
        unit: &'static str,
        rounds: usize,
    ) -> Self {
        Self { case, ours, floor: Some(floor), unit, rounds }
    }

    /// Ours, where there is nothing to compare with.
    pub(crate) const fn alone(case: &'static str, ours: f64, unit: &'static str, rounds: usize) -> Self {
        Self { case, ours, floor: None, unit, rounds }
    }

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

/// What this part of what was measured does not exceed; 0 of nothing.
pub(crate) fn percentile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    let at = (times.len() as f64 * part) as usize;
    times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
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

    #[test]
    fn a_percentile_is_one_that_few_exceed() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_secs).collect();
        assert_eq!(percentile(&mut times, 0.99), Duration::from_secs(100));
        assert_eq!(percentile(&mut times, 0.5), Duration::from_secs(51));
        assert_eq!(percentile(&mut [], 0.5), Duration::ZERO);
    }
}
