//! What a machine needs before the program can run on it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to install and copy on every machine. Steps run in the order env, apt, python and pip,
/// includes, shell. A step that is already done on a machine is not done there again; a machine that is
/// rented anew, as local ones always are, begins with the first.
///
/// ```
/// use skyward_runtime::model::Image;
/// let image = Image::new().apt(["ffmpeg"]).pip(["torch"]).env("K", "V").include("./data");
/// assert_eq!(image.apt, ["ffmpeg"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Debian packages. Needs root on the machine.
    pub apt: Vec<String>,
    /// Python packages, installed by uv into an environment of the machine's own.
    pub pip: Vec<String>,
    /// Where else to look for Python packages.
    pub pip_indexes: Vec<PipIndex>,
    /// The Python version, such as `3.12`; `None` takes the newest that the machine has.
    pub python: Option<String>,
    /// Environment variables of the worker and its tasks. Not for secrets: they are written to a
    /// file on the machine.
    pub env: BTreeMap<String, String>,
    /// Files and folders of this computer, copied beside the worker under their last path component.
    /// Of a folder, `.git` and what its `.gitignore` and `.skywardignore` files name stay here.
    pub include: Vec<PathBuf>,
    /// What to leave out of the included folders, as gitignore patterns.
    pub exclude: Vec<String>,
    /// Shell commands, run last, one by one, with `sh -e` in the worker's directory.
    pub shell: Vec<String>,
}

/// An extra index of Python packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipIndex {
    /// The index, without credentials.
    pub url: String,
}

impl Image {
    /// An image that asks for nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds Debian packages.
    #[must_use]
    pub fn apt<S: Into<String>>(mut self, packages: impl IntoIterator<Item = S>) -> Self {
        self.apt.extend(packages.into_iter().map(Into::into));
        self
    }

    /// Adds Python packages, as pip spells them (`torch`, `numpy==2.1`).
    #[must_use]
    pub fn pip<S: Into<String>>(mut self, packages: impl IntoIterator<Item = S>) -> Self {
        self.pip.extend(packages.into_iter().map(Into::into));
        self
    }

    /// Adds an index of Python packages beside PyPI.
    #[must_use]
    pub fn pip_index(mut self, url: impl Into<String>) -> Self {
        self.pip_indexes.push(PipIndex { url: url.into() });
        self
    }

    /// Sets the Python version.
    #[must_use]
    pub fn python(mut self, version: impl Into<String>) -> Self {
        self.python = Some(version.into());
        self
    }

    /// Sets an environment variable of the worker and its tasks. A start refuses names that begin with `SKYWARD_`, and those
    /// that no shell takes.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Adds a file or folder of this computer. Of a folder, `.git` and what `.gitignore` and
    /// `.skywardignore` files in it name are left out; `.exclude("!data/")` takes something in again.
    /// An event of the pool says what was left out, and warns of more than 10,000 files or 1 GB. A start refuses two
    /// whose last components are the same, as both would be copied to that name.
    #[must_use]
    pub fn include(mut self, path: impl Into<PathBuf>) -> Self {
        self.include.push(path.into());
        self
    }

    /// Leaves out what matches this gitignore pattern.
    #[must_use]
    pub fn exclude(mut self, pattern: impl Into<String>) -> Self {
        self.exclude.push(pattern.into());
        self
    }

    /// Adds a shell command.
    #[must_use]
    pub fn shell(mut self, command: impl Into<String>) -> Self {
        self.shell.push(command.into());
        self
    }
}
