//! SQL of the user's own, on a connection that can do nothing but read the catalog.

use std::time::Instant;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::Fault;
use super::schema::FILE;
use super::{CatalogError, Settings};

/// The answer to a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The lines, each with as many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
    /// Whether there were more lines than [`Table::MOST`], which are not here.
    pub cut: bool,
}

/// One cell of an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cell {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Real(f64),
    /// Text, and what else SQLite can hold, as text.
    Text(String),
}

impl Table {
    /// The most lines of one answer.
    pub const MOST: usize = 100_000;

    /// The most bytes of text that they have together, somewhat more with the last of them; the rest is cut.
    pub const MOST_BYTES: usize = 64 << 20;
}

pub(super) fn answer(settings: &Settings, query: &str) -> Result<Table, CatalogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let told = |error: rusqlite::Error| Fault::from(error).told(&settings.folder, "query");
    let mut connection = Connection::open_with_flags(settings.folder.join(FILE), flags).map_err(told)?;
    connection.busy_timeout(settings.busy).map_err(told)?;
    connection.pragma_update(None, "query_only", true).map_err(told)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST).map_err(told)?;
    connection.authorizer(Some(allow)).map_err(told)?;
    let end = Instant::now() + settings.busy;
    connection.progress_handler(STEPS, Some(move || Instant::now() >= end)).map_err(told)?;
    run(&connection, query).map_err(|error| said(error, settings))
}

fn run(connection: &Connection, query: &str) -> rusqlite::Result<Table> {
    let mut statement = connection.prepare(query)?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut table = Table { columns, ..Table::default() };
    let mut rows = statement.query([])?;
    let mut bytes = 0_usize;
    while let Some(row) = rows.next()? {
        if table.rows.len() == Table::MOST || bytes > Table::MOST_BYTES {
            table.cut = true;
            break;
        }
        let cells = (0..table.columns.len()).map(|at| Ok(cell(row.get_ref(at)?)));
        let cells: Vec<Cell> = cells.collect::<rusqlite::Result<_>>()?;
        bytes = bytes.saturating_add(cells.iter().map(Cell::size).sum());
        table.rows.push(cells);
    }
    Ok(table)
}

impl Cell {
    const fn size(&self) -> usize {
        match self {
            Self::Null | Self::Integer(_) | Self::Real(_) => size_of::<Self>(),
            Self::Text(text) => text.len().saturating_add(size_of::<Self>()),
        }
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Text(hex::encode(bytes)),
    }
}

/// Reading and computing, and nothing else: no write, no other file, no setting.
fn allow(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name } if function_name != "load_extension" => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

fn said(error: rusqlite::Error, settings: &Settings) -> CatalogError {
    let sql = |reason: String| CatalogError::Sql { reason };
    match error.sqlite_error_code() {
        Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly) => {
            sql("it may only read; write one SELECT on the view `catalog`".to_owned())
        }
        Some(ErrorCode::OperationInterrupted) => {
            sql(format!("it took longer than {:?}; ask for less", settings.busy))
        }
        Some(ErrorCode::TooBig) => sql(format!("a text in it is longer than {LONGEST} bytes; ask for less")),
        // SQLite calls a text without a statement a misuse.
        Some(ErrorCode::Unknown | ErrorCode::ApiMisuse) | None => sql(format!(
            "{error}; write one SELECT on the view `catalog`, whose columns `SELECT * FROM catalog LIMIT 1` shows"
        )),
        Some(_) => Fault::from(error).told(&settings.folder, "query"),
    }
}

/// The longest text, in bytes, that a query may make. Nothing in the catalog comes near; without it `printf` and
/// `zeroblob` make a thousand million bytes in one step, which no clock interrupts.
const LONGEST: i32 = 1 << 20;

/// After so many steps of SQLite's machine the time is looked at: some hundred times a second.
const STEPS: i32 = 10_000;
