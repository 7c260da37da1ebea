//! `sky reap`: what this user's programs have rented and nobody owns any more, what clouds have that nobody knows of,
//! and giving it back.

use std::time::Duration;

use serde_json::{Value, json};
use skyward::journal::{
    ForeignPool, Foreigners, Journal, KnownPool, Standing, foreigners, forget, give_back, obstacles,
};
use skyward::{InvalidRequest, Leftover};

use crate::arguments::ReapArguments;
use crate::table::{Side, Table, terminal};
use crate::{Answer, Failed, failed};

/// A pool, and what may be done with it.
struct Line {
    pool: Pool,
    state: String,
    /// Whether it is given back, or would be.
    reaped: bool,
    /// What came of that.
    told: String,
}

/// Whose it is.
enum Pool {
    /// A program of this user began it here.
    Own(Box<KnownPool>),
    /// A cloud has it, and nobody knows of it here.
    Foreign(ForeignPool),
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
    let journal = if Journal::exists(&folder) { Some(Journal::open(&folder)?) } else { None };
    let reading = journal.as_ref().map(Journal::read).transpose()?.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut notes: Vec<String> =
        reading.damage.iter().map(|it| format!("warning: the journal is damaged: {it}")).collect();
    let foreign = match arguments.known {
        true => Foreigners::default(),
        false => runtime.block_on(foreigners(&reading)).map_err(failed)?,
    };
    let unasked =
        |(name, why): &(String, String)| format!("warning: {name} was not asked what else is there: {why}");
    notes.extend(foreign.failed.iter().map(unasked));
    let own = reading.pools.into_iter().filter_map(|it| Some(line(journal.as_ref()?, it, arguments)));
    let foreign = foreign.pools.into_iter().map(|it| foreign_line(it, arguments));
    let mut lines: Vec<Line> = own.chain(foreign).collect();
    for named in arguments.pool.iter().filter(|_| first) {
        if !lines.iter().any(|it| it.pool.is_called(named)) {
            let allowed = "must be the name or the id of a pool that `sky reap` lists";
            return Err(InvalidRequest::new("pool", named, allowed).into());
        }
    }
    if journal.is_none() {
        notes.push(format!("there is no journal in {}: nothing was rented from here", folder.display()));
    }
    let mut is_left = false;
    if arguments.yes {
        journal.iter().for_each(Journal::sweep);
        for line in lines.iter_mut().filter(|it| it.reaped) {
            let ended = runtime.block_on(line.pool.end(journal.as_ref(), arguments.forget));
            line.told = match ended {
                Ok(left) if left.is_empty() && arguments.forget => {
                    format!("forgotten, and not given back: {}", line.pool.machines())
                }
                Ok(left) if left.is_empty() => "given back".to_owned(),
                Ok(left) => {
                    is_left = true;
                    format!("left: {}", joined(&left))
                }
                Err(error) => {
                    is_left = true;
                    error.to_string()
                }
            };
        }
    } else if lines.iter().any(|it| it.reaped) {
        let what = if arguments.forget { "forgotten" } else { "given back" };
        notes.push(format!("nothing was {what}: say --yes to do so"));
    }
    if arguments.forget && lines.iter().any(|it| it.reaped) {
        notes.push(FORGETTING.to_owned());
    }
    Ok(Answer { text: text(&lines, arguments), notes, found: !is_left })
}

impl Pool {
    fn id(&self) -> &str {
        match self {
            Self::Own(pool) => pool.id.as_str(),
            Self::Foreign(pool) => pool.id.as_str(),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Own(pool) => pool.name.as_deref(),
            Self::Foreign(_) => None,
        }
    }

    fn is_called(&self, named: &str) -> bool {
        self.id() == named || self.name() == Some(named)
    }

    /// Its machines, by their cloud and what that calls them.
    fn instances(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Own(pool) => {
                pool.machines.iter().map(|it| (it.provider.as_str(), it.instance.as_str())).collect()
            }
            Self::Foreign(pool) => {
                pool.machines.iter().map(|it| (pool.provider(), it.instance.as_str())).collect()
            }
        }
    }

    /// The same for people.
    fn machines(&self) -> String {
        let machines: Vec<_> = self.instances().iter().map(|(cloud, it)| format!("{cloud} {it}")).collect();
        if machines.is_empty() { "-".to_owned() } else { machines.join(", ") }
    }

    /// Gives it back, or forgets it; what is left.
    async fn end(
        &self,
        journal: Option<&Journal>,
        is_forgotten: bool,
    ) -> Result<Vec<Leftover>, skyward::Error> {
        match (self, journal) {
            (Self::Foreign(pool), _) => pool.give_back().await,
            (Self::Own(pool), Some(journal)) if is_forgotten => {
                forget(journal, pool).await.map(|()| Vec::new())
            }
            (Self::Own(pool), Some(journal)) => give_back(journal, pool).await,
            (Self::Own(_), None) => Ok(Vec::new()),
        }
    }
}

fn line(journal: &Journal, pool: KnownPool, arguments: &ReapArguments) -> Line {
    let standing = pool.standing(journal.holder(&pool), Journal::now());
    let obstacles = obstacles(&pool);
    let pool = Pool::Own(Box::new(pool));
    let named = arguments.pool.iter().any(|it| pool.is_called(it));
    let chosen = arguments.pool.is_empty() || named;
    let reaped = chosen
        && match standing {
            Standing::Owned(_) => false,
            Standing::Attachable(_) => named || arguments.all,
            Standing::Lapsed => true,
        };
    let told = match (reaped, arguments.forget) {
        (false, _) => "is left alone".to_owned(),
        (true, true) => format!("would be forgotten, and not given back: {}", pool.machines()),
        (true, false) if obstacles.is_empty() => "would be given back".to_owned(),
        (true, false) => format!("would not be given back: {}", joined(&obstacles)),
    };
    Line { pool, state: state(&standing), reaped, told }
}

/// Nothing foreign is given back that is not named, and meant.
fn foreign_line(pool: ForeignPool, arguments: &ReapArguments) -> Line {
    let now = Journal::now();
    let (age, starting) = (pool.age(now), pool.may_be_starting(now));
    let state = match age {
        Some(age) => format!("foreign, {} s old", age.as_secs()),
        None => "foreign, nobody knows how old".to_owned(),
    };
    let (settled, may_be_own) = (pool.settled().as_secs(), pool.may_be_own);
    let pool = Pool::Foreign(pool);
    let named = arguments.pool.iter().any(|it| pool.is_called(it));
    let (reaped, told) = match (named, starting, arguments.force) {
        (false, ..) => (false, "is left alone".to_owned()),
        (true, ..) if arguments.forget => (false, "is left alone: it is in no journal".to_owned()),
        (true, ..) if may_be_own => {
            (false, "is left alone: it may be one of the journal's, which cannot be read whole".to_owned())
        }
        (true, true, _) => (
            false,
            format!("is left alone: it is not known to be older than {settled} s, and may be starting"),
        ),
        (true, false, false) => {
            (false, "is left alone: somebody else may be using it; say --force to give it back".to_owned())
        }
        (true, false, true) => (true, "would be given back".to_owned()),
    };
    Line { pool, state, reaped, told }
}

fn joined(left: &[Leftover]) -> String {
    left.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What forgetting means.
const FORGETTING: &str = "what is forgotten may still be there and cost money: look at what its cloud lists";

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
                "pool": it.pool.id(),
                "name": it.pool.name(),
                "foreign": matches!(it.pool, Pool::Foreign(_)),
                "state": it.state,
                "machines": it.pool.instances().into_iter().map(|(_, it)| it).collect::<Vec<_>>(),
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
    for Line { pool, state, told, .. } in lines {
        let name = pool.name().unwrap_or("-").to_owned();
        table.line(vec![pool.id().to_owned(), name, pool.machines(), state.clone(), told.clone()]);
    }
    table.text(terminal())
}
