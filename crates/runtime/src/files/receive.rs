//! Unpacks a stream into a file or a folder. Every file is written beside its place and renamed to it
//! when it is whole, so that nobody ever sees half of one.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::error::{Fault, FileError, FileTrouble};
use super::parcel::{Item, Sum, Transferred, read_chunk};
use super::place::{self, Boundary};
use crate::link::{Incoming, WireError, read_message};
use crate::random;

/// Where a parcel goes.
pub(super) struct Receiver {
    /// What it must not leave.
    boundary: Boundary,
    /// The place of its first item, below that.
    base: PathBuf,
    /// What the place is called in errors.
    told: PathBuf,
    /// What the file must be, where that is known.
    expected: Option<[u8; 32]>,
    buffer: Vec<u8>,
    received: Transferred,
}

/// A file or link under a name that is not its own yet. Dropped, it is removed.
struct Draft {
    path: PathBuf,
    is_final: bool,
}

impl Receiver {
    /// A parcel for this path below a folder that it must not leave.
    pub(super) fn new(boundary: Boundary, base: &Path) -> Self {
        Self {
            boundary,
            base: base.to_owned(),
            told: base.to_owned(),
            expected: None,
            buffer: Vec::new(),
            received: Transferred::default(),
        }
    }

    /// What the place is called in errors, when not by its path below the boundary.
    pub(super) fn told(mut self, told: &Path) -> Self {
        told.clone_into(&mut self.told);
        self
    }

    /// The first item must be a file with this hash.
    pub(super) const fn expecting(mut self, hash: Option<[u8; 32]>) -> Self {
        self.expected = hash;
        self
    }

    /// Takes in the rest of a parcel, of which this is the first item.
    pub(super) async fn receive(
        mut self,
        first: Item,
        incoming: &mut dyn Incoming,
    ) -> Result<Transferred, Fault> {
        let only = match &first {
            Item::File { path, .. } if path.is_empty() => true,
            Item::Folder { path } if path.is_empty() => false,
            Item::Fault(error) => return Err(Fault::There(error.clone())),
            Item::File { .. } | Item::Folder { .. } | Item::Link { .. } | Item::End => return Err(odd()),
        };
        let mut item = first;
        loop {
            match item {
                Item::End => return Ok(self.received),
                Item::Fault(error) => return Err(Fault::There(error)),
                Item::Folder { path } => self.folder(Path::new(&path))?,
                Item::Link { path, target } => self.link(Path::new(&path), Path::new(&target))?,
                Item::File { path, executable } => self.file(Path::new(&path), executable, incoming).await?,
            }
            item = read_message(incoming, "a part of a parcel").await?;
            // Nothing takes the place of what came first, and nothing comes with a file: what is beside
            // the file was not asked for.
            match &item {
                Item::End | Item::Fault(_) => {}
                Item::File { path, .. } | Item::Folder { path } | Item::Link { path, .. } => {
                    if only || path.is_empty() {
                        return Err(odd());
                    }
                }
            }
        }
    }

    fn folder(&self, path: &Path) -> Result<(), FileError> {
        let (told, folder) = self.place(path)?;
        self.boundary.enter(folder, &told).map(|_| ())
    }

    fn link(&self, path: &Path, target: &Path) -> Result<(), FileError> {
        let (told, place) = self.place(path)?;
        if !place::stays(path, target) {
            return Err(FileError::new(told, FileTrouble::LeavesFolder { target: target.to_owned() }));
        }
        let draft = Draft::beside(&place, &told)?;
        symlink(target, &draft.path).map_err(|it| FileError::of(&told, &it))?;
        draft.finish(&place, &told)
    }

    async fn file(
        &mut self,
        path: &Path,
        executable: bool,
        incoming: &mut dyn Incoming,
    ) -> Result<(), Fault> {
        let (told, place) = self.place(path)?;
        let failed = |it: std::io::Error| FileError::of(&told, &it);
        let draft = Draft::beside(&place, &told)?;
        // The system takes away what its mask says. Made here and not on another thread, so that nothing
        // can be made after the draft has been removed.
        let mode = if executable { 0o777 } else { 0o666 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft.path);
        let mut file = tokio::fs::File::from_std(file.map_err(failed)?);
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        loop {
            read_chunk(incoming, &mut self.buffer).await?;
            if self.buffer.is_empty() {
                break;
            }
            hash.update(&self.buffer);
            bytes = bytes.saturating_add(self.buffer.len() as u64);
            file.write_all(&self.buffer).await.map_err(failed)?;
        }
        // Without this a write that fails would not be heard of.
        file.flush().await.map_err(failed)?;
        let hash: [u8; 32] = hash.finalize().into();
        match read_message(incoming, "a file's hash").await? {
            Sum::Sha256(sent) if sent != hash => {
                return Err(FileError::new(told, FileTrouble::Corrupt).into());
            }
            Sum::Sha256(_) => {}
            Sum::Fault(error) => return Err(Fault::There(error)),
        }
        if self.expected.is_some_and(|it| it != hash) {
            return Err(Fault::There(FileError::new(told, FileTrouble::Changed)));
        }
        draft.finish(&place, &told)?;
        self.received.count(bytes);
        Ok(())
    }

    /// What an item is called in errors, and where it goes.
    fn place(&self, path: &Path) -> Result<(PathBuf, PathBuf), FileError> {
        let below = |folder: &Path| {
            if path.as_os_str().is_empty() { folder.to_owned() } else { folder.join(path) }
        };
        let told = below(&self.told);
        match self.boundary.writable(&below(&self.base)) {
            Ok(place) => Ok((told, place)),
            Err(FileError { trouble, .. }) => Err(FileError::new(told, trouble)),
        }
    }
}

/// A parcel that no sender of ours makes.
fn odd() -> Fault {
    let reason = "its parts do not belong together".to_owned();
    Fault::Stream(WireError::Undecodable { what: "a parcel", reason })
}

impl Draft {
    /// Beside this place, where there must be nothing but a file or a link.
    fn beside(place: &Path, told: &Path) -> Result<Self, FileError> {
        match fs::symlink_metadata(place) {
            Ok(there) if there.is_dir() => return Err(FileError::new(told, FileTrouble::IsFolder)),
            Ok(there) if !there.is_file() && !there.is_symlink() => {
                return Err(FileError::new(told, FileTrouble::Special));
            }
            Ok(_) | Err(_) => {}
        }
        let name = random::text(NAME_LETTERS).map_err(|it| FileError::of(told, &it.into()))?;
        Ok(Self { path: place.with_file_name(format!(".skyward-{name}.part")), is_final: false })
    }

    /// Gives it its own name. What had that name is gone.
    fn finish(mut self, place: &Path, told: &Path) -> Result<(), FileError> {
        fs::rename(&self.path, place).map_err(|it| FileError::of(told, &it))?;
        self.is_final = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_final {
            // It may not have been made yet.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How long a draft's name is, at five bits a letter, so that no two ever meet.
const NAME_LETTERS: usize = 16;

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::prelude::*;
    use tokio::io::{AsyncRead, ReadBuf};

    use super::*;

    /// What a sender sent.
    struct Sent(std::io::Cursor<Vec<u8>>);

    impl AsyncRead for Sent {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, into)
        }
    }

    impl Incoming for Sent {
        fn stop(&mut self) {}
    }

    fn frame(bytes: &mut Vec<u8>, value: &impl serde::Serialize) {
        let encoded = rmp_serde::to_vec_named(value).unwrap();
        bytes.extend(u32::try_from(encoded.len()).unwrap().to_be_bytes());
        bytes.extend(encoded);
    }

    fn file(bytes: &mut Vec<u8>, path: &str, content: &[u8], hash: Option<[u8; 32]>) {
        frame(bytes, &Item::File { path: path.to_owned(), executable: false });
        for chunk in [content, &[]] {
            bytes.extend(u32::try_from(chunk.len()).unwrap().to_be_bytes());
            bytes.extend(chunk);
        }
        frame(bytes, &Sum::Sha256(hash.unwrap_or_else(|| Sha256::digest(content).into())));
    }

    fn root(path: &str) -> Item {
        Item::Folder { path: path.to_owned() }
    }

    /// What becomes of a parcel for `home/got`, and what is in `home` then.
    async fn unpack(first: Item, rest: Vec<u8>) -> (Result<Transferred, Fault>, Vec<PathBuf>) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        // As a client has it: what is in a folder stays in it.
        let (folder, base) = match first {
            Item::Folder { .. } => (home.path().join("got"), ""),
            Item::File { .. } | Item::Link { .. } | Item::End | Item::Fault(_) => (home.path().into(), "got"),
        };
        fs::create_dir_all(&folder).unwrap();
        let receiver = Receiver::new(Boundary::new(&folder).unwrap(), Path::new(base)).told(Path::new("got"));
        let done = receiver.receive(first, &mut Sent(std::io::Cursor::new(rest))).await;
        (done, below(home.path(), home.path()))
    }

    fn below(folder: &Path, home: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            found.push(entry.path().strip_prefix(home).unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                found.extend(below(&entry.path(), home));
            }
        }
        found.sort();
        found
    }

    #[tokio::test]
    async fn a_folder_arrives_with_what_is_in_it() {
        let mut rest = Vec::new();
        frame(&mut rest, &root("sub"));
        file(&mut rest, "sub/a", b"hello", None);
        frame(&mut rest, &Item::Link { path: "b".to_owned(), target: "sub/a".to_owned() });
        frame(&mut rest, &Item::End);
        let (done, there) = unpack(root(""), rest).await;
        assert_eq!(done.unwrap(), Transferred { files: 1, bytes: 5 });
        assert_eq!(there, [".ssh", "got", "got/b", "got/sub", "got/sub/a"].map(PathBuf::from));
    }

    #[tokio::test]
    async fn a_sender_cannot_write_where_it_was_not_asked_to() {
        let link = |path: &str, target: &str| {
            let mut bytes = Vec::new();
            frame(&mut bytes, &Item::Link { path: path.to_owned(), target: target.to_owned() });
            bytes
        };
        let written = |path: &str| {
            let mut bytes = Vec::new();
            file(&mut bytes, path, b"key", None);
            bytes
        };
        // In the order in which a parcel would have to bring them.
        let mut only = written("");
        only.drain(
            ..4 + rmp_serde::to_vec_named(&Item::File { path: String::new(), executable: false })
                .unwrap()
                .len(),
        );
        let alone = Item::File { path: String::new(), executable: false };
        for (first, rest) in [
            (root(""), written("../.ssh/key")),
            (root(""), written("/tmp/skyward-must-not-be-written")),
            (root(""), [link("l", "../.ssh"), written("l/key")].concat()),
            (root(""), [link("s", "."), link("l", "s/s/../.ssh"), written("l/key")].concat()),
            (root(""), [link("", ".ssh"), written("key")].concat()),
            (alone.clone(), [only.clone(), link("", ".ssh"), written("key")].concat()),
            (alone, [only, written("key")].concat()),
            (root("../.ssh"), written("key")),
            (Item::Link { path: String::new(), target: ".ssh".to_owned() }, written("key")),
        ] {
            let told = format!("{first:?}");
            let (done, there) = unpack(first, rest).await;
            assert!(done.is_err(), "{told}");
            assert!(!there.iter().any(|it| it.starts_with(".ssh/key")), "{told}: {there:?}");
        }
        assert!(!Path::new("/tmp/skyward-must-not-be-written").exists());
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_or_not_whole_leaves_nothing() {
        let (mut damaged, mut whole) = (Vec::new(), Vec::new());
        file(&mut damaged, "a", b"hello", Some([0; 32]));
        let (done, there) = unpack(root(""), damaged).await;
        let Err(Fault::Here(error)) = done else { panic!("{done:?}") };
        assert_eq!((error.path, error.trouble), ("got/a".into(), FileTrouble::Corrupt));
        assert_eq!(there, [".ssh", "got"].map(PathBuf::from));
        file(&mut whole, "a", b"hello", None);
        for end in 0..whole.len() {
            let (done, there) = unpack(root(""), whole[..end].to_vec()).await;
            assert!(matches!(done, Err(Fault::Stream(WireError::Truncated(_)))), "{end}: {done:?}");
            assert_eq!(there, [".ssh", "got"].map(PathBuf::from), "{end}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (done, _) = runtime.block_on(unpack(root(""), bytes));
            prop_assert!(done.is_err());
        }
    }
}
