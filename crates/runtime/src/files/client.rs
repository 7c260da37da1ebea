//! The client's half of a transfer: one stream of one link. Dropping a future gives the stream up.

use std::path::Path;

use tokio::io::AsyncWriteExt;

use super::artifact::Artifact;
use super::error::{Fault, FileError, FileTrouble, lost};
use super::parcel::{Answer, Item, Request, Transferred};
use super::place::Boundary;
use super::receive::Receiver;
use super::send::send;
use crate::link::{InUse, Kind, Link, LinkError, Stream, WireError, read_message, write_message};
use crate::model::Rank;

/// Files go after calls, and calls after control.
pub(super) const PRIORITY: i32 = -10;

/// Sends a file or folder of this computer to a node, to be there under this path below the worker's
/// directory.
///
/// # Errors
/// When it cannot be read here or written there, or the link breaks.
pub async fn upload(link: &Link, rank: Rank, local: &Path, remote: &Path) -> Result<Transferred, FileError> {
    let to = text(remote)?;
    let mut held = Held::open(link, rank, remote).await?;
    let Stream { outgoing, incoming } = &mut held.stream;
    let mut answer = std::pin::pin!(read_message::<Answer, _>(&mut **incoming, "an answer"));
    let sending = async {
        write_message(&mut **outgoing, &Request::Put { to }).await?;
        let sent = send(&mut **outgoing, local, local).await?;
        // It fails when the worker has answered and gone, which is read below.
        let _ = outgoing.shutdown().await;
        Ok::<_, Fault>(sent)
    };
    // The worker may answer before it has taken everything: when it cannot write, for one.
    let answered = tokio::select! {
        biased;
        answered = answer.as_mut() => answered,
        sent = sending => match sent {
            Err(Fault::Here(error) | Fault::There(error)) => return Err(error),
            Ok(_) | Err(Fault::Stream(_)) => answer.await,
        },
    };
    let answered = answered.map_err(|it| broken(link, rank, remote, &it))?;
    held.ended = true;
    answered.map_err(|it| it.on(rank))
}

/// Fetches a file or folder from below a worker's directory, to be here under this path.
///
/// # Errors
/// When it cannot be read there or written here, or the link breaks.
pub async fn download(
    link: &Link,
    rank: Rank,
    remote: &Path,
    local: &Path,
) -> Result<Transferred, FileError> {
    get(link, rank, remote, local, None).await
}

/// Fetches what an artifact stands for.
///
/// # Errors
/// As [`download`]; and when the file is another one by now.
pub async fn fetch(
    link: &Link,
    rank: Rank,
    artifact: &Artifact,
    local: &Path,
) -> Result<Transferred, FileError> {
    get(link, rank, artifact.path(), local, Some(artifact.hash())).await
}

async fn get(
    link: &Link,
    rank: Rank,
    remote: &Path,
    local: &Path,
    expected: Option<[u8; 32]>,
) -> Result<Transferred, FileError> {
    let from = text(remote)?;
    let mut held = Held::open(link, rank, remote).await?;
    let Stream { outgoing, incoming } = &mut held.stream;
    let taken = async {
        write_message(&mut **outgoing, &Request::Get { from }).await?;
        let _ = outgoing.shutdown().await;
        let first = read_message(&mut **incoming, "a parcel").await?;
        // A fault brings no file, and makes no folder for one.
        if let Item::Fault(error) = first {
            return Err(Fault::There(error));
        }
        let receiver = receiver(&first, local)?.told(local).expecting(expected);
        receiver.receive(first, &mut **incoming).await
    };
    match taken.await {
        Ok(received) => {
            held.ended = true;
            Ok(received)
        }
        Err(Fault::Here(error)) => Err(error),
        Err(Fault::There(error)) if error.trouble == FileTrouble::Changed => {
            Err(FileError::new(remote, FileTrouble::Changed).on(rank))
        }
        Err(Fault::There(error)) => Err(error.on(rank)),
        Err(Fault::Stream(error)) => Err(broken(link, rank, remote, &error)),
    }
}

/// What takes in a parcel that begins with this item. A file may be put anywhere that the user says; what
/// is in a folder must stay in it.
fn receiver(first: &Item, local: &Path) -> Result<Receiver, FileError> {
    let failed = |it: std::io::Error| FileError::of(local, &it);
    if matches!(first, Item::Folder { .. }) {
        if !local.is_dir() {
            std::fs::create_dir_all(local).map_err(|it| match it.kind() {
                std::io::ErrorKind::AlreadyExists => FileError::new(local, FileTrouble::NotAFolder),
                _ => failed(it),
            })?;
        }
        return Ok(Receiver::new(Boundary::new(local)?, Path::new("")));
    }
    let Some(name) = local.file_name() else {
        return Err(FileError::new(local, FileTrouble::IsFolder));
    };
    let parent = local.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(failed)?;
    Ok(Receiver::new(Boundary::new(parent)?, Path::new(name)))
}

fn text(remote: &Path) -> Result<String, FileError> {
    remote.to_str().map(str::to_owned).ok_or_else(|| FileError::new(remote, FileTrouble::Name))
}

/// A stream that failed, in the link's words where it is the link's end.
fn broken(link: &Link, rank: Rank, path: &Path, error: &WireError) -> FileError {
    let reason = || match error {
        WireError::Interrupted(reason) => LinkError::Broken { reason: reason.clone() },
        other => LinkError::Garbled(other.clone()),
    };
    FileError::new(path, lost(&link.over().unwrap_or_else(reason))).on(rank)
}

/// A stream that is given up unless the transfer has come to its end.
struct Held {
    stream: Stream,
    /// Until it is over its node is not given up as idle.
    _in_use: InUse,
    ended: bool,
}

impl Held {
    async fn open(link: &Link, rank: Rank, path: &Path) -> Result<Self, FileError> {
        let in_use = link.in_use();
        let opened = link.open(Kind::File, PRIORITY).await;
        let stream = opened.map_err(|it| FileError::new(path, lost(&it)).on(rank))?;
        Ok(Self { stream, _in_use: in_use, ended: false })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.ended {
            self.stream.outgoing.reset();
            self.stream.incoming.stop();
        }
    }
}
