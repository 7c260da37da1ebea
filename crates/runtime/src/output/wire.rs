//! Lines over one stream of a link: batches from the worker, and a byte back for each that has arrived.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::queue::Queue;
use super::{Hub, queue::Batch};
use crate::link::{Kind, Link, LinkError, Stream, WireError, read_message, write_message};
use crate::model::{Line, Rank};

/// Output is sent after calls (0) and before files.
const PRIORITY: i32 = -1;

/// What is said of a batch that has arrived.
const ARRIVED: u8 = 1;

/// How far a worker's lines have come to the client.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Where the batches that are on their way end.
    under_way: Mutex<VecDeque<u64>>,
    /// How many lines have arrived, and whether anybody reads.
    reached: watch::Sender<(u64, bool)>,
}

impl Delivered {
    /// Waits until the client has every line that the queue was ever given, for as long as it reads and
    /// not longer than this.
    pub async fn everything(&self, queue: &Queue, within: Duration) {
        let came = queue.came();
        let mut reached = self.reached.subscribe();
        let all = reached.wait_for(|(lines, reads)| !reads || *lines >= came);
        let _ = tokio::time::timeout(within, all).await;
    }

    fn under_way(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker's half: sends what comes until the stream is over.
///
/// # Errors
/// When the stream fails, which is how it ends.
pub async fn deliver(queue: &Queue, delivered: &Delivered, stream: &mut Stream) -> Result<(), WireError> {
    struct Reading<'a>(&'a Delivered);
    impl Drop for Reading<'_> {
        fn drop(&mut self) {
            self.0.reached.send_modify(|it| it.1 = false);
        }
    }
    let Stream { outgoing, incoming } = stream;
    outgoing.prioritise(PRIORITY);
    // What was on its way when the last stream broke may have arrived, or not.
    let (until, reached) = (delivered.under_way().drain(..).next_back(), delivered.reached.borrow().0);
    if let Some(lines @ 1..) = until.map(|it| it.saturating_sub(reached)) {
        queue.lost(lines);
    }
    delivered.reached.send_modify(|it| *it = (until.unwrap_or(reached), true));
    let _reading = Reading(delivered);
    let send = async {
        while let Some(Batch { lines, until }) = queue.batch().await {
            delivered.under_way().push_back(until);
            write_message(&mut **outgoing, &lines).await?;
        }
        outgoing.shutdown().await.map_err(|it| WireError::Interrupted(it.to_string()))
    };
    let hear = async {
        loop {
            let heard = incoming.read_u8().await.map_err(|it| WireError::Interrupted(it.to_string()))?;
            if heard != ARRIVED {
                return Err(WireError::Kind(heard));
            }
            let Some(until) = delivered.under_way().pop_front() else { return Err(WireError::Overlong) };
            delivered.reached.send_modify(|it| it.0 = until);
        }
    };
    tokio::select! {
        sent = send => sent,
        heard = hear => heard,
    }
}

/// The client's half: takes in the lines of one node until its link is over. Nothing is asked for before
/// somebody wants to read.
///
/// # Errors
/// When the link is over or says nonsense, which is how it ends.
pub async fn collect(hub: &Hub, node: Rank, link: &Link) -> Result<(), LinkError> {
    tokio::select! {
        () = hub.wanted() => {}
        over = link.closed() => return Err(over),
    }
    let mut stream = link.open(Kind::Output, PRIORITY).await?;
    loop {
        let lines: Vec<Line> =
            read_message(&mut *stream.incoming, "lines").await.map_err(LinkError::Garbled)?;
        for line in lines {
            hub.push(&Line { node, ..line });
        }
        let told = stream.outgoing.write_all(&[ARRIVED]).await;
        told.map_err(|it| LinkError::Broken { reason: it.to_string() })?;
    }
}
