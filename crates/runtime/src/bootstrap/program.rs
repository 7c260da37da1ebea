//! The program packed for upload: a machine runs exactly what the client runs, or another build of it. Called once
//! per pool.

use std::io;
use std::path::Path;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::slim::without_debug_sections;
use crate::program::executable;
use crate::ssh::Blob;

/// A program ready to be uploaded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Program {
    blob: Blob,
    size: u64,
}

impl Program {
    /// Packs the running program: debug sections dropped, hashed, and compressed when asked, which is
    /// worth it unless the machines are on this computer. Blocks for a few tenths of a second on
    /// a large debug build, and holds the result in memory.
    ///
    /// Programs that are not 64-bit ELF, and those without debug sections, are taken as they are.
    ///
    /// # Errors
    /// When the program's file cannot be read.
    pub fn of_running(compress: bool) -> io::Result<Self> {
        Self::of_file(&executable()?, compress)
    }

    /// Packs the program in a file, as [`of_running`](Self::of_running) packs the one that runs.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(file: &Path, compress: bool) -> io::Result<Self> {
        Self::of(std::fs::read(file)?, compress)
    }

    fn of(program: Vec<u8>, compress: bool) -> io::Result<Self> {
        let content = without_debug_sections(&program).unwrap_or(program);
        let hash = hex::encode(Sha256::digest(&content));
        let size = content.len() as u64;
        let bytes = if compress {
            let mut gzip = GzEncoder::new(Vec::with_capacity(content.len() / 3), Compression::fast());
            io::Write::write_all(&mut gzip, &content)?;
            gzip.finish()?
        } else {
            content
        };
        let bytes = bytes.into();
        Ok(Self { blob: Blob { hash, bytes, gzip: compress, size: Some(size), executable: true }, size })
    }

    /// SHA-256 of the program as it is on the machine, in hex: the program hash of a link's hello.
    pub fn hash(&self) -> &str {
        &self.blob.hash
    }

    /// Bytes that the program takes on the machine.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that travel.
    pub const fn travels(&self) -> &Bytes {
        &self.blob.bytes
    }

    /// Where the program goes, below the machine's `$HOME`.
    pub fn path(&self) -> String {
        format!(".skyward/programs/{}", self.blob.hash)
    }

    pub(super) const fn blob(&self) -> &Blob {
        &self.blob
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Command;

    use super::*;
    use crate::bootstrap::shell_tests::write_program;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_running_test_program_without_debug_sections_still_runs_and_is_smaller() {
        let began = std::time::Instant::now();
        let program = Program::of_running(false).unwrap();
        let took = began.elapsed();
        let original = std::fs::metadata(executable().unwrap()).unwrap().len();
        println!("{original} B became {} B in {took:?}", program.size());
        assert!(program.size() < original, "{} of {original}", program.size());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        write_program(&path, program.travels());
        let listed = Command::new(&path).arg("--list").output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.contains("still_runs_and_is_smaller"), "{listed}");
    }

    #[test]
    fn what_travels_unpacks_to_what_was_hashed() {
        let program = Program::of(b"#!/bin/sh\necho hello\n".repeat(100), true).unwrap();
        assert!((program.travels().len() as u64) < program.size());
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&program.travels()[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(program.hash(), hex::encode(Sha256::digest(&plain)));
        assert_eq!(program.path(), format!(".skyward/programs/{}", program.hash()));
    }

    #[test]
    fn what_is_no_program_is_taken_as_it_is() {
        for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0x7f; 4096]] {
            let program = Program::of(bytes.to_vec(), false).unwrap();
            assert_eq!(program.travels(), bytes);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_damaged_program_is_never_made_worse() {
        let whole = std::fs::read(executable().unwrap()).unwrap();
        for at in (0..64).chain((64..4096).step_by(61)) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            without_debug_sections(&damaged);
        }
        for end in [10, 63, 64, 65, 1000, whole.len() / 2, whole.len() - 1] {
            without_debug_sections(&whole[..end]);
        }
    }
}
