//! `sky reap`: what this user's programs have rented and nobody owns any more, and giving it back.

use std::time::Duration;

use serde_json::{Value, json};
use skyward::InvalidRequest;
use skyward::journal::{Journal, KnownPool, Standing, give_back};

use crate::arguments::ReapArguments;
use crate::table::{Side, Table, terminal};
use crate::{Answer, Failed};

/// A pool, and what may be done with it.
struct Line {
    pool: KnownPool,
    standing: Standing,
    /// Whether it is given back, or would be.
    reaped: bool,
    /// What came of that.
    told: String,
}

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
            notes: vec![format!("warning: {error}")],
            found: false,
        });
    }
}

/// One look. `first`: what is named must be there; later it may have been given back.
fn once(arguments: &ReapArguments, first: bool) -> Result<Answer, Failed> {
    let folder = Journal::folder_of_user()?;
    if !Journal::exists(&folder) {
        let notes = vec![format!("there is no journal in {}: nothing was rented", folder.display())];
        return Ok(Answer { text: empty(arguments), notes, found: true });
    }
    let journal = Journal::open(&folder)?;
    let reading = journal.read()?;
    for named in arguments.pool.iter().filter(|_| first) {
        if !reading.pools.iter().any(|it| is_called(it, named)) {
            let allowed = "must be the name or the id of a pool that `sky reap` lists";
            return Err(InvalidRequest::new("pool", named, allowed).into());
        }
    }
    let mut notes: Vec<String> =
        reading.damage.iter().map(|it| format!("warning: the journal is damaged: {it}")).collect();
    let mut lines: Vec<Line> = reading.pools.into_iter().map(|it| line(&journal, it, arguments)).collect();
    let mut failed = false;
    if arguments.yes {
        journal.sweep();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for line in lines.iter_mut().filter(|it| it.reaped) {
            line.told = match runtime.block_on(give_back(&journal, &line.pool)) {
                Ok(left) if left.is_empty() => "given back".to_owned(),
                Ok(left) => {
                    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
                    failed = true;
                    format!("left: {}", left.join("; "))
                }
                Err(error) => {
                    failed = true;
                    error.to_string()
                }
            };
        }
    } else if lines.iter().any(|it| it.reaped) {
        notes.push("nothing was given back: say --yes to do so".to_owned());
    }
    Ok(Answer { text: text(&lines, arguments), notes, found: !failed })
}

fn line(journal: &Journal, pool: KnownPool, arguments: &ReapArguments) -> Line {
    let standing = pool.standing(journal.holder(&pool), Journal::now());
    let named = arguments.pool.iter().any(|it| is_called(&pool, it));
    let chosen = arguments.pool.is_empty() || named;
    let reaped = chosen
        && match standing {
            Standing::Owned(_) => false,
            Standing::Attachable(_) => named || arguments.all,
            Standing::Lapsed => true,
        };
    let told = if reaped { "would be given back" } else { "is left alone" };
    Line { pool, standing, reaped, told: told.to_owned() }
}

fn is_called(pool: &KnownPool, named: &str) -> bool {
    pool.id.as_str() == named || pool.name.as_deref() == Some(named)
}

fn state(standing: &Standing) -> String {
    match standing {
        Standing::Owned(holder) => format!("in use by {holder}"),
        Standing::Attachable(left) => format!("can still be attached to, for {} s", left.as_secs()),
        Standing::Lapsed => "nobody's".to_owned(),
    }
}

fn text(lines: &[Line], arguments: &ReapArguments) -> String {
    if arguments.json {
        let line = |it: &Line| {
            json!({
                "pool": it.pool.id.as_str(),
                "name": it.pool.name,
                "state": state(&it.standing),
                "machines": it.pool.machines.iter().map(|it| it.instance.as_str()).collect::<Vec<_>>(),
                "reaped": it.reaped,
                "told": it.told,
            })
        };
        return format!("{:#}\n", lines.iter().map(line).collect::<Value>());
    }
    if lines.is_empty() {
        return "nothing is rented, as far as this computer knows\n".to_owned();
    }
    let columns = ["POOL", "NAME", "MACHINES", "STATE", ""].map(|it| (it, Side::Left));
    let mut table = Table::new(&columns);
    for Line { pool, standing, told, .. } in lines {
        let name = pool.name.clone().unwrap_or_else(|| "-".to_owned());
        let machines: Vec<String> =
            pool.machines.iter().map(|it| format!("{} {}", it.provider, it.instance)).collect();
        let machines = if machines.is_empty() { "-".to_owned() } else { machines.join(", ") };
        table.line(vec![pool.id.to_string(), name, machines, state(standing), told.clone()]);
    }
    table.text(terminal())
}

fn empty(arguments: &ReapArguments) -> String {
    if arguments.json { "[]\n".to_owned() } else { String::new() }
}
