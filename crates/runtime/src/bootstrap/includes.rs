//! The files that an image brings from this computer, packed once for all machines of a pool. Called
//! before renting, because a missing file should cost nothing.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::walk::{Entry, IncludeError, Kind, walk};
use crate::model::Image;
use crate::ssh::Blob;

/// The included files as one archive. The same files give the same archive and the same hash,
/// whoever packs them and whenever: names are sorted, and times and owners are left out. Of the
/// permissions the executable bit is kept.
#[derive(Clone, Debug, Default)]
pub struct Includes {
    archive: Option<Blob>,
    names: Vec<String>,
    files: u64,
    bytes: u64,
    notes: Vec<String>,
}

impl Includes {
    /// Reads and packs what the image includes. Blocks; the compressed archive is held in memory.
    ///
    /// Excludes are gitignore patterns, seen from the worker's directory: `*.log`, `data/tmp/`. The files
    /// `.gitignore` and `.skywardignore` in the included folders are honoured, and `.git` is left out.
    /// What the image includes by name is never left out. Very much is packed as well, but warned of.
    ///
    /// # Errors
    /// When something is missing, unreadable, leaves its folder by a symbolic link, is neither file nor
    /// folder, or changes while it is read; or a pattern is none.
    pub fn pack(image: &Image) -> Result<Self, IncludeError> {
        if image.include.is_empty() {
            return Ok(Self::default());
        }
        let (entries, mut notes) = walk(image)?;
        notes.extend(very_much(&entries));
        let mut archive = tar::Builder::new(Hashing::new(GzEncoder::new(Vec::new(), Compression::fast())));
        let (mut files, mut bytes) = (0_u64, 0_u64);
        for entry in &entries {
            if let Some(size) = append(&mut archive, entry)? {
                files = files.saturating_add(1);
                bytes = bytes.saturating_add(size);
            }
        }
        let memory = |source| IncludeError::Unreadable { path: "the archive in memory".into(), source };
        let (hash, gzip) = archive.into_inner().map_err(memory)?.finish();
        let packed = Bytes::from(gzip.finish().map_err(memory)?);
        let tops = entries.iter().filter(|it| it.to.components().count() == 1);
        Ok(Self {
            archive: Some(Blob { hash, bytes: packed, gzip: true, size: None, executable: false }),
            names: tops.map(|it| it.to.to_string_lossy().into_owned()).collect(),
            files,
            bytes,
            notes,
        })
    }

    /// What a person should know of it: what ignore files left out, and whether it is very much.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many files.
    pub const fn files(&self) -> u64 {
        self.files
    }

    /// How many bytes they have together, before packing.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The archive to upload; `None` when the image includes nothing.
    pub const fn archive(&self) -> Option<&Blob> {
        self.archive.as_ref()
    }

    /// Where the archive goes, below the machine's `$HOME`.
    pub fn path(&self) -> Option<String> {
        self.archive.as_ref().map(|it| format!(".skyward/includes/{}.tar", it.hash))
    }

    /// What is included, as it is named on the machine, separated by commas.
    pub(super) fn names(&self) -> String {
        self.names.join(", ")
    }

    /// For people: `include: data (12 files, 3.4 MB)`.
    pub fn summary(&self) -> String {
        let plural = if self.files == 1 { "" } else { "s" };
        format!("include: {} ({} file{plural}, {})", self.names(), self.files, size(self.bytes))
    }
}

/// A word before a transfer that takes long: whoever includes so much often did not mean to.
fn very_much(entries: &[Entry]) -> Option<String> {
    let sizes = entries.iter().filter(|it| it.kind == Kind::File).map(|it| fs::metadata(&it.from));
    let (files, bytes) = sizes.fold((0_u64, 0_u64), |(files, bytes), it| {
        (files.saturating_add(1), bytes.saturating_add(it.map_or(0, |it| it.len())))
    });
    is_much(files, bytes).then(|| {
        format!(
            "the image includes very much, {files} files of {}, which are sent to every machine: leave out \
             what is not needed with `.exclude` or a `.skywardignore` file",
            size(bytes)
        )
    })
}

const fn is_much(files: u64, bytes: u64) -> bool {
    files > MANY_FILES || bytes > MANY_BYTES
}

/// Above these an include is warned of: packing takes tens of seconds then, and sending minutes.
const MANY_FILES: u64 = 10_000;
const MANY_BYTES: u64 = 1_000_000_000;

/// Adds one entry and tells the size of a file.
fn append<W: Write>(archive: &mut tar::Builder<W>, entry: &Entry) -> Result<Option<u64>, IncludeError> {
    let unreadable = |source| IncludeError::Unreadable { path: entry.from.clone(), source };
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    match &entry.kind {
        Kind::Folder => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            archive.append_data(&mut header, &entry.to, io::empty()).map_err(unreadable)?;
            Ok(None)
        }
        Kind::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            archive.append_link(&mut header, &entry.to, target).map_err(unreadable)?;
            Ok(None)
        }
        Kind::File => {
            let file = File::open(&entry.from).map_err(unreadable)?;
            let data = file.metadata().map_err(unreadable)?;
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(if is_executable(&data) { 0o755 } else { 0o644 });
            header.set_size(data.len());
            let mut exactly = Exactly { from: file.take(data.len()), left: data.len() };
            let appended = archive.append_data(&mut header, &entry.to, &mut exactly);
            if exactly.left > 0 && appended.is_ok() {
                return Err(IncludeError::Changed { path: entry.from.clone() });
            }
            appended.map_err(unreadable)?;
            Ok(Some(data.len()))
        }
    }
}

fn is_executable(data: &fs::Metadata) -> bool {
    data.permissions().mode() & 0o111 != 0
}

/// A reader that knows how much of the announced size is still to come.
struct Exactly<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

/// Hashes what passes through it.
struct Hashing<W> {
    to: W,
    hash: Sha256,
}

impl<W> Hashing<W> {
    fn new(to: W) -> Self {
        Self { to, hash: Sha256::new() }
    }

    fn finish(self) -> (String, W) {
        (hex::encode(self.hash.finalize()), self.to)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A size in the unit that a person would choose.
pub(super) fn size(bytes: u64) -> String {
    let exact = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", exact / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", exact / 1e6),
        _ => format!("{:.1} GB", exact / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(in_order: [&str; 2]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        fs::create_dir(&root).unwrap();
        for name in in_order {
            fs::write(root.join(name), name).unwrap();
        }
        folder
    }

    fn packed(folder: &tempfile::TempDir) -> Includes {
        Includes::pack(&Image::new().include(folder.path().join("data"))).unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_archive() {
        let (one, two) = (sample(["a", "b"]), sample(["b", "a"]));
        let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        File::open(two.path().join("data/a")).unwrap().set_modified(past).unwrap();
        let (first, second) = (packed(&one), packed(&two));
        assert_eq!(first.archive(), second.archive());
        fs::write(two.path().join("data/a"), "other").unwrap();
        assert_ne!(first.path(), packed(&two).path());
        fs::write(two.path().join("data/a"), "a").unwrap();
        fs::set_permissions(two.path().join("data/a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(first.path(), packed(&two).path(), "the executable bit is content");
    }

    #[test]
    fn the_archive_holds_the_files_without_times_and_owners() {
        let includes = packed(&sample(["a", "b"]));
        let packed = includes.archive().unwrap();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&packed.bytes[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(packed.hash, hex::encode(Sha256::digest(&plain)));
        let mut archive = tar::Archive::new(&plain[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (0, 0));
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            seen.push((entry.path().unwrap().to_str().unwrap().trim_end_matches('/').to_owned(), text));
        }
        let expected = [("data", ""), ("data/a", "a"), ("data/b", "b")];
        assert_eq!(seen, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
        assert_eq!(includes.summary(), "include: data (2 files, 2 B)");
    }

    #[test]
    fn names_longer_than_an_old_archive_allows_are_kept() {
        let folder = sample(["a", "b"]);
        let deep = folder.path().join("data").join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("x"), "x").unwrap();
        assert_eq!(packed(&folder).files(), 3);
    }

    #[test]
    fn an_image_without_includes_has_no_archive() {
        let none = Includes::pack(&Image::new()).unwrap();
        assert!(none.archive().is_none() && none.path().is_none());
    }

    #[test]
    fn much_is_ten_thousand_files_or_a_gigabyte() {
        for (files, bytes, expected) in
            [(10_000, 1_000_000_000, false), (10_001, 0, true), (1, 1_000_000_001, true)]
        {
            assert_eq!(is_much(files, bytes), expected, "{files} files, {bytes} bytes");
        }
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, shown) in [(0, "0 B"), (999, "999 B"), (3_400_000, "3.4 MB"), (5_000_000_000, "5.0 GB")] {
            assert_eq!(size(bytes), shown);
        }
    }
}
