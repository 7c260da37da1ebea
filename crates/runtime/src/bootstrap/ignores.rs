//! What is left out of an included folder: by the image's excludes, by the ignore files that lie in it,
//! and Git's own folder always. Called by the walk, which enters and leaves folders.

use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::walk::IncludeError;

/// The ignore files that are honoured, in the order in which the later one wins.
const FILES: [&str; 2] = [".gitignore", ".skywardignore"];

/// What Git keeps beside the files: large, and of no use without the rest of it.
const GIT: &str = ".git";

/// What is left out, seen from the folder that is walked now.
#[derive(Debug)]
pub(crate) struct Ignores {
    /// The image's excludes, read as a `.gitignore` file in the worker's directory.
    image: Gitignore,
    /// The ignore files on the way down; the later one wins.
    files: Vec<Gitignore>,
    /// What ignore files had left out, as it would be named on the machine: the first few.
    left_out: Vec<String>,
    /// How much that was.
    count: u64,
    /// What is wrong with ignore files.
    troubles: Vec<String>,
}

/// How many ignore files counted before a folder was entered.
#[derive(Debug)]
#[must_use = "the folder is left with it"]
pub(crate) struct Outside(usize);

impl Ignores {
    pub(crate) fn new(patterns: &[String]) -> Result<Self, IncludeError> {
        let mut builder = GitignoreBuilder::new("");
        let refused = |pattern: &str, error: ignore::Error| IncludeError::Pattern {
            pattern: pattern.to_owned(),
            reason: error.to_string(),
        };
        for pattern in patterns {
            builder.add_line(None, pattern).map_err(|error| refused(pattern, error))?;
        }
        let image = builder.build().map_err(|error| refused(&patterns.join(" "), error))?;
        Ok(Self { image, files: Vec::new(), left_out: Vec::new(), count: 0, troubles: Vec::new() })
    }

    /// Reads the ignore files of a folder. They hold until it is left.
    pub(crate) fn enter(&mut self, folder: &Path) -> Outside {
        let outside = Outside(self.files.len());
        for file in FILES.map(|it| folder.join(it)).into_iter().filter(|it| it.is_file()) {
            let (ignore, error) = Gitignore::new(&file);
            if let Some(error) = error {
                // As Git does: a line that is no pattern leaves nothing out.
                self.troubles.push(format!("{} is not understood in part: {error}", file.display()));
            }
            self.files.push(ignore);
        }
        outside
    }

    pub(crate) fn leave(&mut self, Outside(files): Outside) {
        self.files.truncate(files);
    }

    /// Whether something in the folder is left out: `from` is where it is, `to` where it would go. The
    /// image has the last word, then the ignore file that is nearest.
    pub(crate) fn leave_out(&mut self, from: &Path, to: &Path, is_folder: bool) -> bool {
        if from.file_name().is_some_and(|it| it == GIT) {
            return true;
        }
        // What the image leaves out was meant to be.
        match self.image.matched(to, is_folder) {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => {}
        }
        let mut files = self.files.iter().rev().map(|it| it.matched(from, is_folder));
        let ignored = matches!(files.find(|it| !it.is_none()), Some(Match::Ignore(_)));
        if ignored {
            self.count = self.count.saturating_add(1);
            if self.left_out.len() < SHOWN {
                self.left_out.push(to.display().to_string());
            }
        }
        ignored
    }

    /// What a person should know of what was left out.
    pub(crate) fn notes(self) -> Vec<String> {
        let mut notes = self.troubles;
        if let Some(first) = self.left_out.first() {
            let more = self.count.saturating_sub(self.left_out.len() as u64);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            notes.push(format!(
                "ignore files leave out {}{more}; take something in again with `.exclude(\"!{first}\")`",
                self.left_out.join(", ")
            ));
        }
        notes
    }
}

/// How many of the files and folders that are left out are named. More would hide the other events.
const SHOWN: usize = 5;
