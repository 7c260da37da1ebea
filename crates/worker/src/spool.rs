//! The file for outcomes that do not fit into memory. It has no name: it is unlinked as soon as it is made, so
//! nothing is left of it however the worker ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use skyward_runtime::link::Outcome;
use skyward_runtime::retention::Extent;

/// The file; made when it is first needed.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    file: OnceLock<File>,
}

/// Kind of the outcome (1), length of its body (8).
const HEAD: usize = 9;

impl Spool {
    /// A file in this directory.
    pub(crate) const fn new(directory: PathBuf) -> Self {
        Self { directory, file: OnceLock::new() }
    }

    /// Writes an outcome. Blocks.
    pub(crate) fn write(&self, outcome: &Outcome, to: Extent) -> io::Result<()> {
        let (kind, body) = outcome.to_parts().map_err(io::Error::other)?;
        let length = body.len() as u64;
        if length + HEAD as u64 > to.length {
            return Err(io::Error::other("an outcome is larger than was said"));
        }
        let file = self.file()?;
        let mut head = vec![kind];
        head.extend_from_slice(&length.to_be_bytes());
        let mut at = to.offset;
        for part in std::iter::once(&Bytes::from(head)).chain(body.parts()) {
            file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Reads an outcome. Blocks.
    pub(crate) fn read(&self, from: Extent) -> io::Result<Outcome> {
        let file = self.file()?;
        let mut kind = [0];
        file.read_exact_at(&mut kind, from.offset)?;
        let mut length = [0; 8];
        file.read_exact_at(&mut length, from.offset + 1)?;
        let length = u64::from_be_bytes(length);
        if length > from.length {
            return Err(io::Error::other("what is there is no outcome"));
        }
        let mut body = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut body, from.offset + HEAD as u64)?;
        let [kind] = kind;
        Outcome::of_parts(kind, body.into()).map_err(io::Error::other)
    }

    fn file(&self) -> io::Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let path = self.directory.join(format!(".skyward-outcomes-{}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(self.file.get_or_init(|| file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_read_as_it_was_written_from_a_file_that_nobody_sees() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().to_owned());
        let outcomes = [
            Outcome::Returned(vec![7; 100_000].into()),
            Outcome::Failed(Bytes::from_static(b"own")),
            Outcome::TimedOut(vec!["last".to_owned()]),
        ];
        let extents = [0, 200_000, 200_300].map(|offset| Extent { offset, length: 100_300 });
        for (outcome, extent) in outcomes.iter().zip(extents) {
            let length = outcome.length() + 256;
            spool.write(outcome, Extent { length, ..extent }).expect("written");
            assert_eq!(spool.read(Extent { length, ..extent }).expect("read"), *outcome);
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 0);
        assert!(spool.write(&outcomes[0], Extent { offset: 0, length: 10 }).is_err());
    }
}
