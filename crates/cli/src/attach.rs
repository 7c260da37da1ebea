//! `sky attach`: a pool that a program has left. What there is of it, commands on its nodes, and its end.

use std::io::{self, Write};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use skyward::Rank;
use skyward::journal::{Journal, Piece, SeenNode, Visit};
use skyward::provider::InstanceState;

use crate::arguments::AttachArguments;
use crate::state::State;
use crate::table::{Side, Table, terminal};
use crate::{Answer, Failed, failed};

/// Looks at a pool, or does what is asked for there.
pub(crate) fn attach(arguments: &AttachArguments) -> Result<Answer, Failed> {
    let state = State::of(arguments.state.as_deref())?;
    let journal = state.open()?.ok_or_else(|| state.missing("name", &arguments.name))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let visit = Visit::begin(&journal, &arguments.name).await.map_err(failed)?;
        if arguments.stop {
            return stop(visit).await;
        }
        if arguments.command.is_empty() {
            return Ok(look(&visit, arguments.json).await);
        }
        run(&visit, arguments).await
    })
}

async fn stop(visit: Visit) -> Result<Answer, Failed> {
    let title = visit.pool().title().to_owned();
    let left = visit.stop().await.map_err(failed)?;
    let lines: Vec<String> = left.iter().map(|it| format!("left: {it}\n")).collect();
    let text = if left.is_empty() { format!("{title}: given back\n") } else { lines.concat() };
    Ok(Answer { text, notes: Vec::new(), found: left.is_empty() })
}

async fn look(visit: &Visit, as_json: bool) -> Answer {
    let (pool, nodes) = (visit.pool(), visit.nodes().await);
    let age = Journal::now().saturating_sub(pool.begun);
    if as_json {
        let node = |it: &SeenNode| {
            let (state, why) = told(it);
            json!({
                "rank": it.rank.map(|it| it.0),
                "provider": it.provider,
                "machine": it.instance.as_str(),
                "ssh": it.ssh.as_ref().map(ToString::to_string),
                "state": state,
                "why": why,
            })
        };
        let told = json!({
            "pool": pool.id.as_str(),
            "name": pool.name,
            "age_seconds": age.as_secs(),
            "lease_seconds": pool.ttl.as_secs(),
            "lease_left_seconds": visit.lease_left().map(|it| it.as_secs()),
            "cost": visit.cost().to_string(),
            "nodes": nodes.iter().map(node).collect::<Value>(),
        });
        return Answer { text: format!("{told:#}\n"), notes: Vec::new(), found: true };
    }
    let left = match visit.lease_left() {
        Some(left) => format!("its machines live for {} more without a program", length(left)),
        None => "its machines have ended by their leases, as far as they can".to_owned(),
    };
    let (title, id, cost) = (pool.title(), &pool.id, visit.cost());
    let mut text = format!("pool {title} ({id}), begun {} ago, {cost} so far; {left}\n", length(age));
    let columns = ["NODE", "MACHINE", "STATE", "SSH"].map(|it| (it, Side::Left));
    let mut table = Table::new(&columns);
    for node in &nodes {
        let (state, why) = told(node);
        let state = if why.is_empty() { state.to_owned() } else { format!("{state}: {why}") };
        let rank = node.rank.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let ssh = node.ssh.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        table.line(vec![rank, format!("{} {}", node.provider, node.instance), state, ssh]);
    }
    text.push_str(&table.text(terminal()));
    Answer { text, notes: Vec::new(), found: true }
}

/// The state of a node in one word, and why.
fn told(node: &SeenNode) -> (&'static str, String) {
    match &node.state {
        Ok(InstanceState::Pending) => ("pending", String::new()),
        Ok(InstanceState::Running { .. }) => ("running", String::new()),
        Ok(InstanceState::Leaving { reason, .. }) => ("leaving", reason.clone()),
        Ok(InstanceState::Gone { reason, .. }) => ("gone", reason.clone()),
        Err(reason) => ("unknown", reason.clone()),
    }
}

/// Runs the command on one node, or on all of them at once. What each writes is behind its rank.
async fn run(visit: &Visit, arguments: &AttachArguments) -> Result<Answer, Failed> {
    let there = visit.pool().machines.iter().filter_map(|it| it.node.as_ref());
    let mut ranks: Vec<Rank> = match arguments.node {
        Some(rank) => vec![Rank(rank)],
        None => there.map(|it| it.rank).collect(),
    };
    ranks.sort_unstable();
    ranks.dedup();
    if ranks.is_empty() {
        let title = visit.pool().title();
        return Err(format!(
            "pool {title} has no node to run it on: `sky attach {title}` shows its machines"
        )
        .into());
    }
    let command = shell(&arguments.command);
    let ended = join_all(ranks.into_iter().map(|rank| run_on(visit, rank, &command))).await;
    let notes = ended.into_iter().filter_map(Result::err).collect::<Vec<_>>();
    Ok(Answer { text: String::new(), found: notes.is_empty(), notes })
}

/// Runs a command to its end on one node; why it did not end well.
async fn run_on(visit: &Visit, rank: Rank, command: &str) -> Result<(), String> {
    let failed = |why: &dyn std::fmt::Display| format!("[{rank}] {why}");
    let mut running = visit.command(rank, command).await.map_err(|it| failed(&it))?;
    let (mut out, mut err) = (Lines::default(), Lines::default());
    loop {
        let written = match running.next().await {
            Some(Piece::Stdout(piece)) => out.take(&piece, rank, &mut io::stdout().lock()),
            Some(Piece::Stderr(piece)) => err.take(&piece, rank, &mut io::stderr().lock()),
            Some(Piece::Exit(code)) => {
                let _ = out.end(rank, &mut io::stdout().lock());
                let _ = err.end(rank, &mut io::stderr().lock());
                return match code {
                    Some(0) => Ok(()),
                    Some(code) => Err(failed(&format!("ended with code {code}"))),
                    None => Err(failed(&"was ended by a signal")),
                };
            }
            None => return Err(failed(&"its machine cannot be reached any more")),
        };
        // Who reads no further has what it wanted.
        if written.is_err() {
            return Ok(());
        }
    }
}

/// What one node writes on one stream, put out by whole lines.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn take(&mut self, piece: &[u8], rank: Rank, to: &mut impl Write) -> io::Result<()> {
        for part in piece.split_inclusive(|it| *it == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") || self.begun.len() >= LONGEST {
                write!(to, "[{rank}] ")?;
                to.write_all(&self.begun)?;
                self.begun.clear();
            }
        }
        to.flush()
    }

    fn end(&mut self, rank: Rank, to: &mut impl Write) -> io::Result<()> {
        if self.begun.is_empty() { Ok(()) } else { self.take(b"\n", rank, to) }
    }
}

/// Bytes of a line that is not waited for any longer to end.
const LONGEST: usize = 64 << 10;

/// One argument is a line for the shell; several are a program and what it is given.
fn shell(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => {
            words.iter().map(|it| format!("'{}'", it.replace('\'', r"'\''"))).collect::<Vec<_>>().join(" ")
        }
    }
}

/// A length of time, in its two largest units.
fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[test]
fn a_line_is_the_shells_and_words_stay_words() {
    let words = |it: &[&str]| shell(&it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
    assert_eq!(words(&["nvidia-smi | head"]), "nvidia-smi | head");
    assert_eq!(words(&["ls", "it's here"]), r"'ls' 'it'\''s here'");
}

#[test]
fn what_nodes_write_comes_by_whole_lines_with_their_ranks() {
    let (mut lines, mut told) = (Lines::default(), Vec::new());
    for piece in ["a\nb", "c\n\nd"] {
        lines.take(piece.as_bytes(), Rank(3), &mut told).expect("written");
    }
    lines.end(Rank(3), &mut told).expect("written");
    assert_eq!(String::from_utf8(told).expect("text"), "[3] a\n[3] bc\n[3] \n[3] d\n");
}

#[test]
fn lengths_read_well() {
    for (seconds, shown) in [(59, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (90_000, "1 d 1 h")] {
        assert_eq!(length(Duration::from_secs(seconds)), shown);
    }
}
