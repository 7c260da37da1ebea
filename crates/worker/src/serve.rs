//! From told to gone: opens the port, lets the pool's client in, and ends when it must.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::exit;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skyward_runtime::inside::{self, InstanceInfo};
use skyward_runtime::link::{Arrival, Hello, LinkError, Listener, PROTOCOL, Refusal, Session, Who};
use skyward_runtime::model::{Incarnation, Peer};
use skyward_runtime::program::{WorkerStart, WorkerUp};
use skyward_runtime::registry::Registry;
use skyward_runtime::timing::Timing;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;

use crate::desk::Desk;
use crate::executor::Executor;
use crate::home::home;
use crate::keep::Keep;
use crate::lease::Lease;
use crate::mesh::{self, Mesh};
use crate::notice::Fate;
use crate::output::{self, Output};
use crate::paces::Paces;
use crate::seat::{Seat, Terms};
use crate::slots::Slots;
use crate::start::StartError;
use crate::worker::Worker;
use crate::{control, end, session};

/// How long an arrival may take to prove who it is and say hello.
const GREETING: Duration = Duration::from_secs(10);

/// How many arrivals are heard at once; more wait in the endpoint's own bounded queue. Many, so that
/// strangers who begin a handshake and fall silent do not keep the owner waiting.
const GREETINGS: usize = 1024;

/// Serves until the process ends. Returns only when it could not start.
pub(crate) async fn serve(start: WorkerStart, output: Arc<Output>) -> StartError {
    match begin(start, output).await {
        Ok((worker, listener, terminate)) => match live(worker, listener, terminate).await {},
        Err(error) => error,
    }
}

async fn begin(
    start: WorkerStart,
    output: Arc<Output>,
) -> Result<(Arc<Worker>, Arc<Listener>, Signal), StartError> {
    let registry = Registry::global()?;
    let home = home().ok_or(StartError::NoHome)?;
    let lease = Lease::open(&home, start.lease).ok_or(StartError::Lapsed)?;
    let runtime = |it: &dyn std::fmt::Display| StartError::Runtime(it.to_string());
    let terminate = signal(SignalKind::terminate()).map_err(|it| runtime(&it))?;
    let timing = Timing { detect: start.detect, ..Timing::default() };
    let listener = Listener::bind(&start.identity, SocketAddr::new(start.listen, 0), &timing).await?;
    let (slots, seat) = (Slots::new(start.slots), Seat::new(start.epoch));
    let paces = Paces::new(registry.len());
    let fate = Fate::new();
    let executor = Executor::new(&start, &output, fate.watch());
    let keep = Keep::new(start.retention, home);
    let hello = Hello {
        protocol: PROTOCOL,
        registry: registry.hash(),
        program: None,
        pool: start.pool.clone(),
        incarnation: start.incarnation.clone(),
        epoch: start.epoch,
    };
    let mesh = Arc::new(Mesh::new(&start.identity, hello, &timing)?);
    let (shares, probes) = (Mutex::default(), Arc::new(Semaphore::new(1)));
    let worker = Worker {
        start,
        registry,
        slots,
        paces,
        executor,
        output,
        lease,
        seat,
        keep,
        fate,
        mesh,
        shares,
        probes,
    };
    let worker = Arc::new(worker);
    control::start(Arc::clone(&worker)).await.map_err(|it| runtime(&it))?;
    declare(&worker.start)?;
    let up = WorkerUp::Listening { port: listener.port(), tcp: listener.tcp_port(), pid: std::process::id() };
    up.write(std::io::stdout().lock()).map_err(StartError::Output)?;
    if let Err(error) = output::take_over(&worker.output) {
        tracing::warn!(%error, "the worker cannot let go of its standard streams");
    }
    tracing::info!(
        pool = %worker.start.pool,
        incarnation = %worker.start.incarnation,
        port = listener.port(),
        tcp = listener.tcp_port(),
        slots = worker.start.slots,
        "listening"
    );
    Ok((worker, Arc::new(listener), terminate))
}

/// Declares what functions may know.
fn declare(start: &WorkerStart) -> Result<(), StartError> {
    inside::declare_directory(std::env::current_dir().map_err(StartError::Directory)?);
    inside::declare_secrets(start.secrets.clone());
    let own = Peer::new(start.rank, start.incarnation.clone(), start.listen);
    InstanceInfo::alone(start.pool.clone(), own, start.accelerators.clone(), start.slots).declare();
    Ok(())
}

async fn live(worker: Arc<Worker>, listener: Arc<Listener>, mut terminate: Signal) -> Infallible {
    let machine = &worker.start.end;
    tokio::spawn(welcome_all(Arc::clone(&worker), Arc::clone(&listener)));
    tokio::select! {
        () = lapse(&worker, &listener) => {}
        never = follow(&worker) => match never {},
        () = end::vanished(machine) => tracing::warn!("the machine has ended"),
        _ = terminate.recv() => {
            tracing::info!("told to end");
            listener.stop("the worker was told to end").await;
            crate::processes::kill_session();
            exit(0)
        }
    }
    end::clear(machine);
    exit(0)
}

/// Follows the notice of the machine's end. What comes of it, the client decides.
async fn follow(worker: &Worker) -> Infallible {
    worker.fate.follow(&worker.start.notice).await;
    std::future::pending().await
}

/// The lease is watched; when it has lapsed the worker drains, takes leave and ends the machine.
async fn lapse(worker: &Worker, listener: &Listener) {
    worker.lease.lapsed().await;
    tracing::warn!(length = ?worker.start.lease, "the lease has lapsed; draining");
    let unfinished = worker.slots.drain(worker.start.drain).await;
    tracing::warn!(unfinished, "drained; the machine is ended");
    listener.stop("the lease of this machine has lapsed").await;
    end::end(&worker.start.end).await;
}

async fn welcome_all(worker: Arc<Worker>, listener: Arc<Listener>) {
    let greetings = Arc::new(Semaphore::new(GREETINGS));
    while let Some(arrival) = listener.accept().await {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&greetings).acquire_owned().await else { return };
        let worker = Arc::clone(&worker);
        tokio::spawn(async move {
            let session = welcome(&worker, arrival).await;
            drop(permit);
            match session {
                Ok(Some(Welcomed::Client(session, desk))) => session::serve(worker, session, desk).await,
                Ok(Some(Welcomed::Peer(name, session))) => {
                    let is_there = move || mesh::peers().contains(&name);
                    mesh::serve(Arc::clone(&worker.mesh), session, is_there).await;
                }
                // It belongs to a link that is served already.
                Ok(None) => {}
                Err(error) => tracing::info!(%error, "somebody was not let in"),
            }
        });
    }
}

/// Who was let in.
enum Welcomed {
    Client(Arc<Session>, Desk),
    Peer(Incarnation, Session),
}

async fn welcome(worker: &Arc<Worker>, arrival: Arrival) -> Result<Option<Welcomed>, LinkError> {
    let Some(guest) = arrival.greet(GREETING, &mesh::peers()).await? else { return Ok(None) };
    let terms = Terms {
        registry: worker.registry.hash(),
        pool: worker.start.pool.clone(),
        incarnation: worker.start.incarnation.clone(),
    };
    let hello = guest.hello();
    let admitted = terms
        .check(hello)
        .and_then(|()| if worker.lease.has_lapsed() { Err(Refusal::Lapsed) } else { Ok(()) })
        // The seat is the client's.
        .and_then(|()| match guest.who() {
            Who::Client => worker.seat.claim(hello.epoch).map_err(|owner| Refusal::Epoch { owner }),
            Who::Peer(_) => Ok(()),
        });
    if let Err(refusal) = admitted {
        guest.refuse(refusal.clone()).await;
        return Err(LinkError::Refused(refusal));
    }
    if let Who::Peer(name) = guest.who().clone() {
        tracing::info!(%name, "another node has linked");
        return Ok(Some(Welcomed::Peer(name, guest.welcome().await?)));
    }
    let session = Arc::new(guest.welcome().await?);
    let desk = Desk::new(Arc::clone(worker), session.hello().epoch);
    if !worker.seat.take(&session, &desk, |epoch| worker.keep.link(epoch)) {
        return Ok(None);
    }
    tracing::info!(epoch = %session.hello().epoch, program = ?session.hello().program, "the client has linked");
    Ok(Some(Welcomed::Client(session, desk)))
}
