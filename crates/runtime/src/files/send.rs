//! Packs a file or a folder into a stream.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::error::{Fault, FileError, FileTrouble};
use super::parcel::{CHUNK, Item, Sum, Transferred, write_chunk};
use super::place;
use crate::link::{Outgoing, write_message};

/// Something to send: where it is, and where that is below the place that the parcel is for.
struct Found {
    from: PathBuf,
    to: PathBuf,
}

/// Sends what is at `root`, which is followed when it is a link, and the parcel's end. `told` is what
/// the root is called in errors.
pub(super) async fn send(
    outgoing: &mut dyn Outgoing,
    root: &Path,
    told: &Path,
) -> Result<Transferred, Fault> {
    let mut sender = Sender { outgoing, told, buffer: vec![0; CHUNK], sent: Transferred::default() };
    let data = tokio::fs::metadata(root).await.map_err(|it| FileError::of(told, &it))?;
    let root = Found { from: root.to_owned(), to: PathBuf::new() };
    // What is still to be sent, the next one last: one folder's names at each depth.
    let mut waiting = sender.send(root, &data).await?;
    while let Some(found) = waiting.pop() {
        let data = tokio::fs::symlink_metadata(&found.from).await;
        let data = data.map_err(|it| FileError::of(&sender.told(&found.to), &it))?;
        waiting.extend(sender.send(found, &data).await?);
    }
    write_message(sender.outgoing, &Item::End).await?;
    Ok(sender.sent)
}

struct Sender<'a> {
    outgoing: &'a mut dyn Outgoing,
    told: &'a Path,
    buffer: Vec<u8>,
    sent: Transferred,
}

impl Sender<'_> {
    /// Sends one thing and tells what is in it, the first last.
    async fn send(&mut self, found: Found, data: &Metadata) -> Result<Vec<Found>, Fault> {
        let told = self.told(&found.to);
        let text = |it: &Path| {
            it.to_str().map(str::to_owned).ok_or_else(|| FileError::new(&told, FileTrouble::Name))
        };
        let path = text(&found.to)?;
        if data.is_dir() {
            write_message(self.outgoing, &Item::Folder { path }).await?;
            return Ok(listed(&found).await.map_err(|it| FileError::of(&told, &it))?);
        }
        if data.is_symlink() {
            let target = tokio::fs::read_link(&found.from).await.map_err(|it| FileError::of(&told, &it))?;
            if !place::stays(&found.to, &target) {
                return Err(FileError::new(told, FileTrouble::LeavesFolder { target }).into());
            }
            write_message(self.outgoing, &Item::Link { path, target: text(&target)? }).await?;
            return Ok(Vec::new());
        }
        if !data.is_file() {
            return Err(FileError::new(told, FileTrouble::Special).into());
        }
        let opened = tokio::fs::File::open(&found.from).await;
        let mut file = opened.map_err(|it| FileError::of(&told, &it))?;
        let executable = data.permissions().mode() & 0o111 != 0;
        write_message(self.outgoing, &Item::File { path, executable }).await?;
        self.content(&mut file, &told).await?;
        Ok(Vec::new())
    }

    async fn content(&mut self, file: &mut tokio::fs::File, told: &Path) -> Result<(), Fault> {
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        loop {
            let read = match file.read(&mut self.buffer).await {
                Ok(read) => read,
                Err(error) => {
                    let error = FileError::of(told, &error);
                    write_chunk(self.outgoing, &[]).await?;
                    write_message(self.outgoing, &Sum::Fault(error.clone())).await?;
                    return Err(error.into());
                }
            };
            let chunk = self.buffer.get(..read).unwrap_or_default();
            write_chunk(self.outgoing, chunk).await?;
            if chunk.is_empty() {
                break;
            }
            hash.update(chunk);
            bytes = bytes.saturating_add(read as u64);
        }
        write_message(self.outgoing, &Sum::Sha256(hash.finalize().into())).await?;
        self.sent.count(bytes);
        Ok(())
    }

    /// What something below the root is called in errors.
    fn told(&self, to: &Path) -> PathBuf {
        if to.as_os_str().is_empty() { self.told.to_owned() } else { self.told.join(to) }
    }
}

/// What is in a folder, by name, the first last.
async fn listed(folder: &Found) -> std::io::Result<Vec<Found>> {
    let mut entries = tokio::fs::read_dir(&folder.from).await?;
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        names.push(entry.file_name());
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names.into_iter().map(|it| Found { from: folder.from.join(&it), to: folder.to.join(it) }).collect())
}
