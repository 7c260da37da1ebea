//! One link of the pool's client: every stream that it opens is a call or a transfer of its own, or a lane
//! of small calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use skyward_runtime::control::Attachment;
use skyward_runtime::inside::TaskContext;
use skyward_runtime::link::{
    BODY_LIMIT, Cause, Kind, Outcome, RequestHeader, Session, Stream, WireError, confirm_common,
    read_arguments, read_common, read_header, refuse_common, write_outcome,
};
use skyward_runtime::model::{Attempt, TaskId};
use skyward_runtime::retention::Arrived;
use skyward_runtime::{files, inside};
use tokio::sync::oneshot;

use crate::desk::Desk;
use crate::execute::{self, Deadline, Place, execute};
use crate::executor::Job;
use crate::keep::{Done, Known};
use crate::mesh;
use crate::streams::{self, Arrivals};
use crate::worker::Worker;

/// Serves a link until it is over. Its calls run on then: their outcomes are kept for the next one. What is a
/// stream ends with it.
pub(crate) async fn serve(worker: Arc<Worker>, session: Arc<Session>, desk: Desk) {
    let arrivals = Arc::new(Arrivals::default());
    let over = loop {
        match session.accept().await {
            Ok(stream) => {
                let (desk, arrivals) = (desk.clone(), Arc::clone(&arrivals));
                tokio::spawn(converse(Arc::clone(&worker), Arc::clone(&session), desk, arrivals, stream));
            }
            Err(over) => break over,
        }
    };
    desk.close();
    worker.seat.leave(&session);
    tracing::info!(reason = %over, "the client's link is over");
}

async fn converse(
    worker: Arc<Worker>,
    session: Arc<Session>,
    desk: Desk,
    arrivals: Arc<Arrivals>,
    mut stream: Stream,
) {
    let ended = match Session::kind(&mut stream).await {
        Ok(Kind::Call) => worker.slots.track(call(&worker, &desk, &mut stream)).await,
        Ok(Kind::Control) => {
            control(&worker, &session, stream).await;
            Ok(())
        }
        Ok(Kind::Probe) => probe(&worker, &mut stream).await,
        Ok(Kind::Lane) => desk.serve(stream).await,
        Ok(Kind::Outcome) => desk.hand_over(&mut stream).await,
        Ok(Kind::Shared) => share(&worker, &desk, &mut stream).await,
        Ok(Kind::File) => files(&mut stream).await,
        Ok(Kind::Stream) => {
            worker.slots.track(streams::call(&worker, &session, &desk, &arrivals, stream)).await
        }
        Ok(Kind::Input) => arrivals.take_in(&session, stream, worker.start.inputs).await,
        Ok(Kind::Output) => worker.output.serve(&mut stream).await,
        Ok(Kind::Spread) => mesh::take(&worker, &desk, &mut stream).await,
        Ok(Kind::Chunks) => Err(WireError::Kind(Kind::Chunks as u8)),
        Ok(Kind::Hello) => Err(WireError::Kind(Kind::Hello as u8)),
        Err(error) => Err(error),
    };
    match ended {
        Err(error) if error.is_violation() => {
            tracing::warn!(%error, "the client broke the protocol; its link is closed");
            session.close(Cause::Protocol, &error.to_string());
        }
        // A stream that was given up is a cancelled call.
        Ok(()) | Err(_) => {}
    }
}

/// A call on a stream of its own. Its outcome is kept until the client says that it has it, or wants none; that the
/// stream is over says neither.
async fn call(worker: &Worker, desk: &Desk, stream: &mut Stream) -> Result<(), WireError> {
    let Stream { outgoing, incoming } = stream;
    let header = read_header(&mut **incoming).await?;
    let (deadline, it) = (Deadline::after(header.remaining), (header.task, header.attempt));
    let Some(function) = worker.registry.get(header.function) else {
        incoming.stop();
        return write_outcome(&mut **outgoing, Outcome::UnknownFunction, BODY_LIMIT).await;
    };
    let arguments = read_arguments(&mut **incoming, &header, BODY_LIMIT).await?;
    if header.resumes {
        return follow(worker, desk, it, stream).await;
    }
    let (cancel, unwanted) = oneshot::channel();
    let RequestHeader { task, attempt, function: id, turn, key, .. } = header;
    let Some((run, arrived)) = desk.admit(it, key, id, &arguments, cancel) else { return Ok(()) };
    let word = match arrived {
        Arrived::New => {
            let unwanted = async {
                let _ = unwanted.await;
            };
            let job = Job { task, attempt, id, function, arguments };
            let began = Instant::now();
            let place = Place::Turn(turn, desk.recalled(it));
            match execute(worker, job, deadline, place, unwanted).await {
                Some(Outcome::Recalled) => {
                    worker.keep.give_back(run);
                    Outcome::Recalled
                }
                Some(outcome) => {
                    worker.keep.finish(run, Done { took: began.elapsed(), outcome });
                    return follow(worker, desk, it, stream).await;
                }
                None => {
                    outgoing.reset();
                    return Ok(());
                }
            }
        }
        Arrived::Known(_) => return follow(worker, desk, it, stream).await,
        Arrived::Unwanted(_) => {
            outgoing.reset();
            return Ok(());
        }
        Arrived::Differs(_) => Outcome::Differs,
        Arrived::Full(_) => Outcome::Full,
    };
    write_outcome(&mut **outgoing, word, BODY_LIMIT).await
}

/// A probe runs beside the calls, in this process: it takes no slot, nothing of it is kept, and it ends with its stream.
/// One at a time: a plain function that hangs cannot be ended, and must not gather threads.
async fn probe(worker: &Worker, stream: &mut Stream) -> Result<(), WireError> {
    let Stream { outgoing, incoming } = stream;
    let header = read_header(&mut **incoming).await?;
    let deadline = Deadline::after(header.remaining);
    let Some(function) = worker.registry.get(header.function) else {
        incoming.stop();
        return write_outcome(&mut **outgoing, Outcome::UnknownFunction, BODY_LIMIT).await;
    };
    let arguments = read_arguments(&mut **incoming, &header, BODY_LIMIT).await?;
    let outcome = match Arc::clone(&worker.probes).try_acquire_owned() {
        Ok(alone) => {
            let context = TaskContext::of(header.task);
            tokio::select! {
                biased;
                outcome = execute::run(function, arguments, alone, &context) => outcome,
                () = deadline.over() => Outcome::TimedOut(Vec::new()),
                () = outgoing.unwanted() => return Ok(()),
            }
        }
        Err(_) => Outcome::NotStarted(
            "the one before it still runs, since a plain function cannot be ended".to_owned(),
        ),
    };
    write_outcome(&mut **outgoing, outcome, BODY_LIMIT).await
}

/// Answers with what becomes of a call, as soon as that is known.
async fn follow(
    worker: &Worker,
    desk: &Desk,
    it: (TaskId, Attempt),
    stream: &mut Stream,
) -> Result<(), WireError> {
    let outcome = loop {
        match desk.known(it) {
            Known::Nothing => break Outcome::Unknown,
            // Whoever is told asks again; one that was released is told too, and whoever asked before another.
            Known::Running(told) => tokio::select! {
                _ = told => {}
                () = stream.outgoing.unwanted() => return Ok(()),
            },
            Known::Ended(_) | Known::InFile(_) => match worker.keep.load(it).await {
                Some(outcome) => break outcome,
                None => {
                    stream.outgoing.reset();
                    return Ok(());
                }
            },
        }
    };
    write_outcome(&mut *stream.outgoing, outcome, BODY_LIMIT).await
}

/// Takes in a value that calls to come share.
async fn share(worker: &Worker, desk: &Desk, stream: &mut Stream) -> Result<(), WireError> {
    let (key, bytes) = read_common(&mut *stream.incoming, BODY_LIMIT).await?;
    if !desk.share_comes(key) {
        stream.outgoing.reset();
        return Ok(());
    }
    if let Err(error) = worker.executor.keep_common(key, bytes).await {
        tracing::error!(%error, "a shared value cannot be kept");
        return refuse_common(&mut *stream.outgoing, &error.to_string()).await;
    }
    if !worker.share_is_here(&key) {
        stream.outgoing.reset();
        return Ok(());
    }
    confirm_common(&mut *stream.outgoing).await
}

/// Files take no slot: they are the client's, and may go on while functions run and while they drain.
async fn files(stream: &mut Stream) -> Result<(), WireError> {
    let directory = inside::directory().unwrap_or(Path::new("."));
    let served = files::serve(stream, directory).await;
    if served.is_err() {
        stream.outgoing.reset();
    }
    served
}

async fn control(worker: &Worker, session: &Session, stream: Stream) {
    let start = &worker.start;
    let attached = Attachment::new(start.incarnation.as_str(), &start.cookie, &start.identity, stream).await;
    match attached {
        Ok(attachment) => {
            tokio::select! {
                () = attachment.over() => {}
                _ = session.closed() => {}
            }
            attachment.stop().await;
        }
        // Dropping the stream tells the client that it cannot join.
        Err(error) => tracing::error!(%error, "the control plane cannot be started"),
    }
}
