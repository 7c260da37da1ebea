//! The journal that a command is about: the user's own, or the one in the folder that `--state` names.

use std::path::{Path, PathBuf};

use skyward::InvalidRequest;
use skyward::journal::{Journal, JournalError, Reading};

use crate::Failed;

/// Where a journal is, or is to be.
pub(crate) struct State {
    folder: PathBuf,
    is_named: bool,
}

impl State {
    /// The one in this folder, or the user's own.
    pub(crate) fn of(named: Option<&Path>) -> Result<Self, Failed> {
        Ok(match named {
            Some(folder) => Self { folder: std::path::absolute(folder)?, is_named: true },
            None => Self { folder: Journal::folder_of_user()?, is_named: false },
        })
    }

    /// Opens it; nothing where nothing was rented from. A folder that was named and has none is misspelt.
    pub(crate) fn open(&self) -> Result<Option<Journal>, Failed> {
        if !Journal::exists(&self.folder) {
            return if self.is_named { Err(self.missing("--state", &self.shown()).into()) } else { Ok(None) };
        }
        Ok(Some(Journal::open(&self.folder).map_err(unusable)?))
    }

    /// What the user's own journal knows beside this one, so that nothing in it counts as foreign.
    pub(crate) fn others(&self) -> Reading {
        let own = Journal::folder_of_user().ok().filter(|it| *it != self.folder && Journal::exists(it));
        let Some(own) = own else { return Reading::default() };
        let read = Journal::open(&own).and_then(|it| it.read());
        read.unwrap_or_else(|error| Reading { damage: vec![error.to_string()], ..Reading::default() })
    }

    /// Why nothing is found where there is no journal.
    pub(crate) fn missing(&self, subject: &'static str, value: &str) -> InvalidRequest {
        InvalidRequest::new(subject, value, self.none())
    }

    /// That there is none.
    pub(crate) fn none(&self) -> String {
        format!("there is no journal in {}: nothing was rented from here", self.shown())
    }

    fn shown(&self) -> String {
        self.folder.display().to_string()
    }
}

/// Why a journal that is there cannot be used. What it knows would not be found in another folder, so none is advised.
pub(crate) fn unusable(error: JournalError) -> Failed {
    let still = "try again: what it knows is there still";
    match error {
        JournalError::Access { folder, reason } => {
            let folder = folder.display();
            format!(
                "failed to write the journal in {folder}: {reason}; make it writable for you, then {still}"
            )
        }
        JournalError::Full { folder } => {
            let folder = folder.display();
            format!(
                "failed to write the journal in {folder}: the disk is full; free some space, then {still}"
            )
        }
        JournalError::Held { pool, holder } => {
            format!("pool {pool} is in use by {holder}: wait for it, or end that program")
        }
        other => return other.into(),
    }
    .into()
}
