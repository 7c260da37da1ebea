//! A line of `sky reap`: a pool, whose it is, what may be done with it, and what came of that; for people and as data.

use std::time::Duration;

use serde_json::{Value, json};
use skyward::Leftover;
use skyward::journal::{ForeignPool, Holder, Journal, KnownPool, Standing, forget, give_back, obstacles};

use crate::arguments::ReapArguments;
use crate::{Failed, chain, failed};

/// A pool, and what may be done with it.
pub(crate) struct Rented {
    pool: Pool,
    standing: Stands,
    /// Whether it would be given back; once that was tried, whether it was, all of it.
    pub(crate) is_reaped: bool,
    /// Whether it was asked for by name, and is left alone.
    pub(crate) is_refused: bool,
    /// What came of that.
    pub(crate) told: String,
    /// What is left of it, once that is known.
    left: Vec<Leftover>,
}

/// Whose it is.
enum Pool {
    /// A program of this user began it here.
    Own(Box<KnownPool>),
    /// A cloud has it, and nobody knows of it here.
    Foreign(ForeignPool),
}

/// What may be done with a pool, of whomever.
enum Stands {
    /// Nothing: a living program has it.
    Owned(Holder),
    /// A program can attach to it for so long yet.
    Attachable(Duration),
    /// It is nobody's.
    Lapsed,
    /// Somebody else may be using it. So old it is, where that is known.
    Foreign(Option<Duration>),
    /// Somebody else may just be starting it, for so long yet where that is known.
    Starting { age: Option<Duration>, left: Option<Duration> },
    /// It may be one of those that cannot be read.
    Unreadable(Option<Duration>),
}

impl Rented {
    /// One that is in the journal.
    pub(crate) fn own(journal: &Journal, pool: KnownPool, arguments: &ReapArguments) -> Self {
        let standing = match pool.standing(journal.holder(&pool), Journal::now()) {
            Standing::Owned(holder) => Stands::Owned(holder),
            Standing::Attachable(left) => Stands::Attachable(left),
            Standing::Lapsed => Stands::Lapsed,
        };
        let obstacles = obstacles(&pool);
        let pool = Pool::Own(Box::new(pool));
        let named = pool.is_named_in(arguments);
        let is_reaped = (arguments.pool.is_empty() || named)
            && match standing {
                Stands::Attachable(_) => named || arguments.all,
                Stands::Lapsed => true,
                Stands::Owned(_) | Stands::Foreign(_) | Stands::Starting { .. } | Stands::Unreadable(_) => {
                    false
                }
            };
        let told = match (is_reaped, arguments.forget) {
            (false, _) => "is left alone".to_owned(),
            (true, true) => format!("would be forgotten, and not given back: {}", pool.machines()),
            (true, false) if obstacles.is_empty() => "would be given back".to_owned(),
            (true, false) => format!("would not be given back: {}", joined(&obstacles)),
        };
        let left = if is_reaped { obstacles } else { Vec::new() };
        Self { pool, standing, is_reaped, is_refused: named && !is_reaped, told, left }
    }

    /// One that only its cloud knows of. Nothing foreign is given back that is not named, and meant.
    pub(crate) fn foreign(pool: ForeignPool, arguments: &ReapArguments) -> Self {
        let now = Journal::now();
        let (age, settled) = (pool.age(now), pool.settled());
        let standing = if pool.may_be_own {
            Stands::Unreadable(age)
        } else if pool.may_be_starting(now) {
            Stands::Starting { age, left: age.map(|it| settled.saturating_sub(it)) }
        } else {
            Stands::Foreign(age)
        };
        let pool = Pool::Foreign(pool);
        let named = pool.is_named_in(arguments);
        let (is_reaped, told) = match &standing {
            _ if !named => (false, "is left alone".to_owned()),
            _ if arguments.forget => (false, "is left alone: it is in no journal".to_owned()),
            Stands::Foreign(_) if arguments.force => (true, "would be given back".to_owned()),
            Stands::Starting { .. } => {
                let settled = settled.as_secs();
                let why = format!("it is not known to be older than {settled} s, and may be starting");
                (false, format!("is left alone: {why}"))
            }
            Stands::Unreadable(_) => (
                false,
                "is left alone: it may be one of the journal's, which cannot be read whole".to_owned(),
            ),
            Stands::Foreign(_) | Stands::Owned(_) | Stands::Attachable(_) | Stands::Lapsed => (
                false,
                "is left alone: somebody else may be using it; say --force to give it back".to_owned(),
            ),
        };
        Self { pool, standing, is_reaped, is_refused: named && !is_reaped, told, left: Vec::new() }
    }

    /// Whether a person calls it so.
    pub(crate) fn is_called(&self, named: &str) -> bool {
        self.pool.is_called(named)
    }

    /// Gives it back, or forgets it. Whether nothing is left.
    pub(crate) async fn end(&mut self, journal: Option<&Journal>, is_forgotten: bool) -> bool {
        (self.told, self.left) = match self.pool.end(journal, is_forgotten).await {
            Ok(left) => {
                let told = match left.is_empty() {
                    true if is_forgotten => {
                        format!("forgotten, and not given back: {}", self.pool.machines())
                    }
                    true => "given back".to_owned(),
                    false => format!("left: {}", joined(&left)),
                };
                (told, left)
            }
            Err(error) => {
                let what = format!("pool {}", self.pool.name().unwrap_or(self.pool.id()));
                (error.to_string(), vec![Leftover { what, reason: chain(error.as_ref()) }])
            }
        };
        self.is_reaped = self.left.is_empty();
        self.is_reaped
    }

    /// The cells of its line: id, name, machines, state, and what came of it.
    pub(crate) fn cells(&self) -> Vec<String> {
        let name = self.pool.name().unwrap_or("-").to_owned();
        let state = self.standing.to_string();
        vec![self.pool.id().to_owned(), name, self.pool.machines(), state, self.told.clone()]
    }

    /// The same as data. What a flag is needed for says which one; nothing where none helps.
    pub(crate) fn json(&self) -> Value {
        let (pool, name) = (self.pool.id(), self.pool.name());
        let (standing, left) = (self.standing.word(), self.standing.left().map(|it| it.as_secs()));
        let needs = self.needs();
        let machine = |(provider, id): (&str, &str)| {
            json!({
                "provider": provider, "id": id, "pool": pool,
                "standing": standing, "seconds_left": left, "needs": needs,
            })
        };
        let holder = match &self.standing {
            Stands::Owned(it) => json!({ "pid": it.pid, "host": it.host, "program": it.program }),
            _ => Value::Null,
        };
        json!({
            "pool": pool,
            "name": name,
            "standing": standing,
            "seconds_left": left,
            "needs": needs,
            "holder": holder,
            "machines": self.pool.instances().into_iter().map(machine).collect::<Value>(),
            "reaped": self.is_reaped,
            "left": self.left.iter().map(|it| json!({ "what": it.what, "reason": it.reason })).collect::<Value>(),
            "told": self.told,
        })
    }

    /// The arguments with which `sky reap` would give it back.
    fn needs(&self) -> Option<Vec<String>> {
        let pool = format!("--pool={}", self.pool.id());
        let flags: &[&str] = match self.standing {
            Stands::Owned(_) | Stands::Starting { .. } | Stands::Unreadable(_) => return None,
            Stands::Lapsed => &["--yes"],
            Stands::Attachable(_) => &["--yes", &pool],
            Stands::Foreign(_) => &["--yes", &pool, "--force"],
        };
        Some(flags.iter().map(|it| (*it).to_owned()).collect())
    }
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

    fn is_named_in(&self, arguments: &ReapArguments) -> bool {
        arguments.pool.iter().any(|it| self.is_called(it))
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
    async fn end(&self, journal: Option<&Journal>, is_forgotten: bool) -> Result<Vec<Leftover>, Failed> {
        let ended = match (self, journal) {
            (Self::Foreign(pool), _) => pool.give_back().await,
            (Self::Own(pool), Some(journal)) if is_forgotten => {
                forget(journal, pool).await.map(|()| Vec::new())
            }
            (Self::Own(pool), Some(journal)) => give_back(journal, pool).await,
            (Self::Own(_), None) => Ok(Vec::new()),
        };
        ended.map_err(failed)
    }
}

impl Stands {
    /// In one word, for programs.
    const fn word(&self) -> &'static str {
        match self {
            Self::Owned(_) => "owned",
            Self::Attachable(_) => "attachable",
            Self::Lapsed => "lapsed",
            Self::Foreign(_) => "foreign",
            Self::Starting { .. } => "foreign_starting",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// For how long it stands so, where that is known.
    const fn left(&self) -> Option<Duration> {
        match self {
            Self::Attachable(left) => Some(*left),
            Self::Starting { left, .. } => *left,
            Self::Owned(_) | Self::Lapsed | Self::Foreign(_) | Self::Unreadable(_) => None,
        }
    }
}

impl std::fmt::Display for Stands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Owned(holder) => write!(f, "in use by {holder}"),
            Self::Attachable(left) => write!(f, "can still be attached to, for {} s", left.as_secs()),
            Self::Lapsed => f.write_str("nobody's"),
            Self::Foreign(age) | Self::Starting { age, .. } | Self::Unreadable(age) => match age {
                Some(age) => write!(f, "foreign, {} s old", age.as_secs()),
                None => f.write_str("foreign, nobody knows how old"),
            },
        }
    }
}

fn joined(left: &[Leftover]) -> String {
    left.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn what_could_not_be_given_back_is_not_told_as_reaped() {
    use clap::Parser;

    use crate::arguments::{Command, Sky};

    let home = tempfile::tempdir().expect("made");
    let journal = Journal::open(home.path()).expect("opened");
    let row = "INSERT INTO pools (id, name, program, specs, epoch, ttl_ms, begun_ms, seen_ms) \
               VALUES ('p', 'train', '', '', 1, 0, 0, 0)";
    let file = rusqlite::Connection::open(home.path().join("journal.sqlite")).expect("opened");
    file.execute(row, []).expect("written");
    let Command::Reap(arguments) = Sky::parse_from(["sky", "reap", "--yes"]).command else {
        panic!("another command")
    };
    let pool = || journal.read().expect("read").pools.pop().expect("one");
    let mut listed = Rented::own(&journal, pool(), &arguments);
    assert_eq!((&listed.json()["reaped"], &listed.json()["left"]), (&json!(true), &json!([])), "it would be");
    // Somebody takes it between the list and its end.
    let lock = journal.lock(&pool().id, Some("train")).expect("free");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("made");
    assert!(!runtime.block_on(listed.end(Some(&journal), false)));
    let told = listed.json();
    assert_eq!((&told["reaped"], &told["left"][0]["what"]), (&json!(false), &json!("pool train")));
    let reason = told["left"][0]["reason"].as_str().expect("text");
    assert!(reason.contains("pool train is in use by process"), "{reason}");

    drop(lock);
    assert!(runtime.block_on(listed.end(Some(&journal), false)));
    assert_eq!((&listed.json()["reaped"], &listed.json()["left"]), (&json!(true), &json!([])));
    assert!(journal.read().expect("read").pools.is_empty());
}
