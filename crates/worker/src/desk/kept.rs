//! What a client asks for, or says, of what the worker kept over its links: calls of links that broke, large outcomes,
//! and shared values.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skyward_runtime::link::{BODY_LIMIT, LANE_LIMIT, Outcome, Stream, WireError, read_number, write_outcome};
use skyward_runtime::model::FunctionId;
use skyward_runtime::payload::CommonKey;
use skyward_runtime::retention::{Run, Try};
use tokio::sync::oneshot;

use super::{Desk, Lane};
use crate::calls::{Open, Wanted};
use crate::execute::Deadline;
use crate::keep::Known;

/// The most calls of which a client may say that it waits for them, and the most shared values that it needs.
const MOST: usize = 1 << 20;

impl Desk {
    /// Says what became of a call of a link that broke, now or when it has ended.
    pub(super) fn resume(&self, number: u64, it: Try, lane: &Arc<Lane>) -> Result<(), WireError> {
        let run = self.run_of(it);
        let open = Open {
            lane: lane.index,
            begun: false,
            // It runs already, or has run.
            function: FunctionId(0),
            deadline: Deadline::after(None),
            arguments: Bytes::new(),
            bytes: 0,
            run,
            wanted: Wanted::Kept(None),
        };
        {
            let mut calls = self.calls();
            calls.enter(number, open)?;
            calls.begin(number);
        }
        if let Some(told) = self.follow(number, run, lane) {
            let (desk, lane) = (self.clone(), Arc::clone(lane));
            tokio::spawn(async move {
                let mut told = told;
                loop {
                    let _ = told.await;
                    match desk.follow(number, run, &lane) {
                        Some(more) => told = more,
                        None => return,
                    }
                }
            });
        }
        Ok(())
    }

    /// Answers a call that is kept; what there is to wait for when it still runs.
    pub(super) fn follow(&self, number: u64, run: Run, lane: &Lane) -> Option<oneshot::Receiver<()>> {
        // Asking takes it over from whoever asked before, which only the link that counts may do.
        let mut calls = self.calls();
        if calls.over {
            calls.leave(number);
            return None;
        }
        calls.open.get(number)?;
        match self.worker.keep.ask(run.it) {
            Known::Running(told) => return Some(told),
            Known::Nothing => {
                calls.leave(number);
                let _ = calls.word(lane, number, run, Outcome::Unknown);
            }
            Known::Ended(done) if done.outcome.length() <= LANE_LIMIT as u64 => {
                calls.leave(number);
                let _ = calls.repeat(lane, number, run, &done);
            }
            Known::Ended(done) => {
                calls.point(lane, (number, run.it), done.took, done.outcome.length());
            }
            Known::InFile(length) => calls.point(lane, (number, run.it), Duration::ZERO, length),
        }
        None
    }

    /// The client says what it waits for of the links before. It hears which keys there are.
    pub(super) fn reconcile(&self, tries: Vec<Try>, more: bool, lane: &Arc<Lane>) -> Result<(), WireError> {
        let mut calls = self.calls();
        if calls.over {
            return Ok(());
        }
        calls.waits.extend(tries);
        if calls.waits.len() > MOST {
            return Err(WireError::Content { length: calls.waits.len() as u64, limit: MOST });
        }
        if more {
            return Ok(());
        }
        let waits = std::mem::take(&mut calls.waits);
        self.worker.keep.reconcile(&waits);
        drop(calls);
        self.tell_keys(lane);
        Ok(())
    }

    /// The client says which shared values it needs of those that came over other links.
    pub(super) fn need(&self, keys: Vec<CommonKey>, more: bool) -> Result<(), WireError> {
        let mut calls = self.calls();
        if calls.over {
            return Ok(());
        }
        calls.needs.extend(keys);
        if calls.needs.len() > MOST {
            return Err(WireError::Content { length: calls.needs.len() as u64, limit: MOST });
        }
        if !more {
            let needs = std::mem::take(&mut calls.needs);
            self.worker.need_shares(self.source, &needs);
        }
        Ok(())
    }

    /// Gives the client a large outcome that it was told of. It is kept until the client says that it has it.
    ///
    /// # Errors
    /// When the stream fails.
    pub(crate) async fn hand_over(&self, stream: &mut Stream) -> Result<(), WireError> {
        let number = read_number(&mut *stream.incoming).await?;
        let kept = self.calls().kept.get(&number).copied();
        let outcome = match kept {
            Some(it) => self.worker.keep.load(it).await,
            None => None,
        };
        let Some(outcome) = outcome else {
            // It was cancelled while it was asked for.
            stream.outgoing.reset();
            return Ok(());
        };
        write_outcome(&mut *stream.outgoing, outcome, BODY_LIMIT).await
    }

    /// What is known of a call, for who asks by a stream of its own.
    pub(crate) fn known(&self, it: Try) -> Known {
        let calls = self.calls();
        if calls.over { Known::Nothing } else { self.worker.keep.ask(it) }
    }
}
