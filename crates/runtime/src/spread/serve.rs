//! A node gives on what it has, also while it is still getting it.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::held::Store;
use super::wire::read_asked;
use crate::link::{Stream, WireError};

/// Answers another node, on a stream whose kind was read: its question must come within `patience`, and then it has one
/// of `turns`. A stream that is given up says that it is not here, or does not come any more.
///
/// # Errors
/// When the stream fails, says something else, or says nothing.
pub async fn serve(
    store: &Store,
    stream: &mut Stream,
    turns: &Semaphore,
    patience: Duration,
) -> Result<(), WireError> {
    use tokio::io::AsyncWriteExt as _;
    let interrupted = |it: std::io::Error| WireError::Interrupted(it.to_string());
    let asked = timeout(patience, read_asked(&mut *stream.incoming)).await;
    let late = |_| WireError::Interrupted(format!("no question came within {patience:?}"));
    let (key, from) = asked.map_err(late)?.map_err(interrupted)?;
    let _turn = turns.acquire().await.map_err(|it| WireError::Interrupted(it.to_string()))?;
    let Some(held) = store.find(&key) else {
        stream.outgoing.reset();
        return Ok(());
    };
    let (mut progress, mut gone) = (held.follow(), stream.outgoing.unwanted());
    for number in from..held.manifest.chunks() {
        let is_here = tokio::select! {
            // The sender is in `held`.
            it = progress.wait_for(|it| it.chunks > number || it.stopped) => it.is_ok_and(|it| it.chunks > number),
            () = &mut gone => return Ok(()),
        };
        if !is_here {
            stream.outgoing.reset();
            return Ok(());
        }
        let here = std::sync::Arc::clone(&held);
        let chunk = tokio::task::spawn_blocking(move || here.chunk(number)).await;
        let chunk = chunk.map_err(std::io::Error::other).and_then(|it| it).map_err(interrupted)?;
        stream.outgoing.write_bytes(chunk).await.map_err(interrupted)?;
    }
    stream.outgoing.shutdown().await.map_err(interrupted)
}
