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
pub(super) struct Ignores {
    /// The image's excludes, read as a `.gitignore` file in the worker's directory.
    image: Gitignore,
    /// The ignore files on the way down; the later one wins.
    files: Vec<Gitignore>,
}

/// How many ignore files counted before a folder was entered.
#[derive(Debug)]
#[must_use = "the folder is left with it"]
pub(super) struct Outside(usize);

impl Ignores {
    pub(super) fn new(patterns: &[String]) -> Result<Self, IncludeError> {
        let mut builder = GitignoreBuilder::new("");
        let refused = |pattern: &str, error: ignore::Error| IncludeError::Pattern {
            pattern: pattern.to_owned(),
            reason: error.to_string(),
        };
        for pattern in patterns {
            builder.add_line(None, pattern).map_err(|error| refused(pattern, error))?;
        }
        let image = builder.build().map_err(|error| refused(&patterns.join(" "), error))?;
        Ok(Self { image, files: Vec::new() })
    }

    /// Reads the ignore files of a folder. They hold until it is left.
    pub(super) fn enter(&mut self, folder: &Path) -> Outside {
        let outside = Outside(self.files.len());
        for file in FILES.map(|it| folder.join(it)).into_iter().filter(|it| it.is_file()) {
            let (ignore, error) = Gitignore::new(&file);
            if let Some(error) = error {
                // As Git does: a line that is no pattern leaves nothing out.
                tracing::warn!(?file, %error, "an ignore file is not understood in part");
            }
            self.files.push(ignore);
        }
        outside
    }

    pub(super) fn leave(&mut self, Outside(files): Outside) {
        self.files.truncate(files);
    }

    /// Whether something in the folder is left out: `from` is where it is, `to` where it would go. The
    /// image has the last word, then the ignore file that is nearest.
    pub(super) fn leave_out(&self, from: &Path, to: &Path, is_folder: bool) -> bool {
        if from.file_name().is_some_and(|it| it == GIT) {
            return true;
        }
        let image = self.image.matched(to, is_folder);
        let files = self.files.iter().rev().map(|it| it.matched(from, is_folder));
        match std::iter::once(image).chain(files).find(|it| !it.is_none()) {
            Some(Match::Ignore(_)) => true,
            Some(Match::Whitelist(_) | Match::None) | None => false,
        }
    }
}
