//! One link of the pool's client: every stream that it opens is a call or a transfer of its own, or a lane
//! of small calls.

use std::path::Path;
use std::sync::Arc;

use skyward_runtime::control::Attachment;
use skyward_runtime::link::{
    BODY_LIMIT, Cause, Kind, Outcome, RequestHeader, Session, Stream, WireError, confirm_common,
    read_arguments, read_common, read_header, write_outcome,
};
use skyward_runtime::{files, inside};

use crate::desk::Desk;
use crate::execute::{Deadline, Place, execute};
use crate::executor::Job;
use crate::streams::{self, Arrivals};
use crate::worker::Worker;

/// Serves a link until it is over. Its async tasks end with it: their streams are unwanted then.
pub(crate) async fn serve(worker: Arc<Worker>, session: Arc<Session>) {
    let (desk, arrivals) = (Desk::new(Arc::clone(&worker)), Arc::new(Arrivals::default()));
    let over = loop {
        match session.accept().await {
            Ok(stream) => {
                let (desk, arrivals) = (desk.clone(), Arc::clone(&arrivals));
                tokio::spawn(converse(Arc::clone(&worker), Arc::clone(&session), desk, arrivals, stream));
            }
            Err(over) => break over,
        }
    };
    desk.clear();
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
        Ok(Kind::Call) => worker.slots.track(call(&worker, &mut stream)).await,
        Ok(Kind::Control) => {
            control(&worker, &session, stream).await;
            Ok(())
        }
        Ok(Kind::Lane) => desk.serve(stream).await,
        Ok(Kind::Outcome) => desk.hand_over(&mut stream).await,
        Ok(Kind::Shared) => share(&worker, &mut stream).await,
        Ok(Kind::File) => files(&mut stream).await,
        Ok(Kind::Stream) => worker.slots.track(streams::call(&worker, &session, &arrivals, stream)).await,
        Ok(Kind::Input) => arrivals.take_in(stream, worker.start.inputs).await,
        Ok(Kind::Output) => worker.output.serve(&mut stream).await,
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

async fn call(worker: &Worker, stream: &mut Stream) -> Result<(), WireError> {
    let Stream { outgoing, incoming } = stream;
    let header = read_header(&mut **incoming).await?;
    let deadline = Deadline::after(header.remaining);
    let outcome = match worker.registry.get(header.function) {
        Some(function) => {
            let arguments = read_arguments(&mut **incoming, &header, BODY_LIMIT).await?;
            let RequestHeader { task, attempt, function: id, turn, .. } = header;
            let job = Job { task, attempt, id, function, arguments };
            execute(worker, job, deadline, Place::Turn(turn), outgoing.unwanted()).await
        }
        None => {
            incoming.stop();
            Some(Outcome::UnknownFunction)
        }
    };
    match outcome {
        Some(outcome) => write_outcome(&mut **outgoing, outcome, BODY_LIMIT).await,
        None => {
            outgoing.reset();
            Ok(())
        }
    }
}

/// Takes in a value that calls to come share.
async fn share(worker: &Worker, stream: &mut Stream) -> Result<(), WireError> {
    let (key, bytes) = read_common(&mut *stream.incoming, BODY_LIMIT).await?;
    if let Err(error) = worker.executor.keep_common(key, bytes).await {
        tracing::error!(%error, "a shared value cannot be kept: is there room on the disk?");
        return Err(WireError::Interrupted(error.to_string()));
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
