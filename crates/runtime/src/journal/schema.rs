//! The tables of the journal.

/// The version of the tables. A newer file is left alone: it may hold what this program cannot undo.
pub(super) const VERSION: i32 = 6;

/// The file's name.
pub(super) const FILE: &str = "journal.sqlite";

/// What makes each version of the one before it, from an empty file on.
pub(super) const STEPS: [&str; VERSION as usize] = [FIRST, ACCOUNTS, PAST, INPUTS, RECIPE, SIZE];

/// Whose key rented something is known.
const ACCOUNTS: &str = "ALTER TABLE deeds ADD COLUMN account TEXT;";

/// Machines that are gone stay known, for what they have cost.
const PAST: &str = "ALTER TABLE machines ADD COLUMN gone_ms INTEGER;";

/// What a pool was given: the hash of its files, and one of its secrets, which nobody can try without the salt
/// among its keys.
const INPUTS: &str = "
ALTER TABLE pools ADD COLUMN files TEXT NOT NULL DEFAULT '';
ALTER TABLE pools ADD COLUMN secrets TEXT NOT NULL DEFAULT '';
";

/// What a pool was asked to be, for who attaches to it by its name.
const RECIPE: &str = "ALTER TABLE pools ADD COLUMN recipe TEXT NOT NULL DEFAULT '';";

/// How many nodes a pool's owner asked for last; nothing as long as nobody has.
const SIZE: &str = "ALTER TABLE pools ADD COLUMN size INTEGER;";

/// A pool is there from before its first intent until everything is given back. `deeds` are what clouds were
/// asked for: without an end, nobody knows what came of it. `machines` are there until their cloud has
/// confirmed that they are not, and known until the end of their pool.
const FIRST: &str = "
CREATE TABLE pools (
    id TEXT PRIMARY KEY,
    name TEXT,
    program TEXT NOT NULL,
    specs TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    ttl_ms INTEGER NOT NULL,
    begun_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX by_name ON pools (name);

CREATE TABLE deeds (
    seq INTEGER PRIMARY KEY,
    pool TEXT NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    provider TEXT NOT NULL,
    settings TEXT NOT NULL,
    request TEXT NOT NULL,
    terms TEXT NOT NULL,
    begun_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    result TEXT
);

CREATE INDEX deeds_of ON deeds (pool);

CREATE TABLE machines (
    pool TEXT NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
    instance TEXT NOT NULL,
    provider TEXT NOT NULL,
    deed INTEGER NOT NULL,
    node TEXT,
    PRIMARY KEY (pool, instance)
) WITHOUT ROWID;
";
