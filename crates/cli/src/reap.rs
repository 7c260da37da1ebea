//! `sky reap`: what this user's programs have rented and nobody owns any more, what clouds have that nobody knows of,
//! and giving it back.

use std::time::Duration;

use serde_json::Value;
use skyward::InvalidRequest;
use skyward::journal::{Foreigners, Journal, Reading, foreigners};

use crate::arguments::ReapArguments;
use crate::rented::Rented;
use crate::state::{State, unusable};
use crate::table::{Side, Table, terminal};
use crate::{Answer, Failed, chain, failed};

/// Lists, and gives back when that is asked for.
pub(crate) fn reap(arguments: &ReapArguments) -> Result<Answer, Failed> {
    let mut answer = once(arguments, true)?;
    if !arguments.watch {
        return Ok(answer);
    }
    loop {
        answer.tell()?;
        std::thread::sleep(Duration::from_secs(arguments.every));
        // Another program may have it busy; the next time it may not.
        answer = once(arguments, false).unwrap_or_else(|error| Answer {
            text: String::new(),
            notes: vec![format!("warning: {}", chain(error.as_ref()))],
            found: false,
        });
    }
}

/// One look. `first`: what is named must be there; later it may have been given back.
fn once(arguments: &ReapArguments, first: bool) -> Result<Answer, Failed> {
    let state = State::of(arguments.state.as_deref())?;
    let journal = state.open()?;
    let reading = journal.as_ref().map(Journal::read).transpose().map_err(unusable)?.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut notes: Vec<String> =
        reading.damage.iter().map(|it| format!("warning: the journal is damaged: {it}")).collect();
    let foreign = match arguments.known {
        true => Foreigners::default(),
        false => runtime.block_on(foreigners(&with(&reading, state.others()))).map_err(failed)?,
    };
    let unasked =
        |(name, why): &(String, String)| format!("warning: {name} was not asked what else is there: {why}");
    notes.extend(foreign.failed.iter().map(unasked));
    let own = reading.pools.into_iter().filter_map(|it| Some(Rented::own(journal.as_ref()?, it, arguments)));
    let foreign = foreign.pools.into_iter().map(|it| Rented::foreign(it, arguments));
    let mut lines: Vec<Rented> = own.chain(foreign).collect();
    for named in arguments.pool.iter().filter(|_| first) {
        if !lines.iter().any(|it| it.is_called(named)) {
            let allowed = "must be the name or the id of a pool that `sky reap` lists";
            return Err(InvalidRequest::new("pool", named, allowed).into());
        }
    }
    if journal.is_none() {
        notes.push(state.none());
    }
    let mut is_left = false;
    if arguments.yes {
        journal.iter().for_each(Journal::sweep);
        for line in lines.iter_mut().filter(|it| it.is_reaped) {
            is_left |= !runtime.block_on(line.end(journal.as_ref(), arguments.forget));
        }
        // What was named is not given back, and somebody counts on it.
        is_left |= lines.iter().any(|it| it.is_refused);
    } else if lines.iter().any(|it| it.is_reaped) {
        let what = if arguments.forget { "forgotten" } else { "given back" };
        notes.push(format!("nothing was {what}: say --yes to do so"));
    }
    if arguments.forget && lines.iter().any(|it| it.is_reaped) {
        notes.push(FORGETTING.to_owned());
    }
    Ok(Answer { text: text(&lines, arguments), notes, found: !is_left })
}

/// All that is known here.
fn with(reading: &Reading, others: Reading) -> Reading {
    let pools = reading.pools.iter().cloned().chain(others.pools).collect();
    let damage = reading.damage.iter().cloned().chain(others.damage).collect();
    Reading { pools, damage }
}

fn text(lines: &[Rented], arguments: &ReapArguments) -> String {
    if arguments.json {
        return format!("{:#}\n", lines.iter().map(Rented::json).collect::<Value>());
    }
    if lines.is_empty() {
        return "nothing is rented, as far as this computer knows\n".to_owned();
    }
    let columns = ["POOL", "NAME", "MACHINES", "STATE", ""].map(|it| (it, Side::Left));
    let mut table = Table::new(&columns);
    lines.iter().for_each(|it| table.line(it.cells()));
    table.text(terminal())
}

/// What forgetting means.
const FORGETTING: &str = "what is forgotten may still be there and cost money: look at what its cloud lists";
