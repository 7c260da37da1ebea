//! The program as what gets an image's files on a machine that has no worker yet, and gives them on to others.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use skyward_runtime::bootstrap;
use skyward_runtime::link::{Hello, Listener, PROTOCOL, Who};
use skyward_runtime::program::{FetchStart, FetchUp, read_order, write_answer};
use skyward_runtime::registry::Registry;
use skyward_runtime::spread::{self, Held, Offer, read_offer};
use skyward_runtime::timing::Timing;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use crate::mesh::{self, Mesh};
use crate::seat::Terms;

/// How long an arrival may take to prove who it is and say hello.
const GREETING: Duration = Duration::from_secs(10);

/// Gets a file as it is told on standard input, and ends when that does.
pub(crate) fn main() -> ! {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let failed = match run() {
        Ok(()) => exit(0),
        Err(failed) => failed,
    };
    // Whoever waits for the answer reads this, or that it ended.
    let _ = write_answer(&FetchUp::Failed(failed), io::stdout().lock());
    exit(1)
}

fn run() -> Result<(), String> {
    let words = |it: &dyn std::fmt::Display| it.to_string();
    // Not the standard library's handle, which would read ahead of the order.
    let mut input = io::stdin().as_fd().try_clone_to_owned().map(File::from).map_err(|it| words(&it))?;
    let start: FetchStart = read_order(&mut input).map_err(|it| words(&it))?;
    let home = std::env::var_os("HOME").ok_or("HOME is not set")?;
    let to = PathBuf::from(home).join(&start.path);
    if to.exists() {
        return write_answer(&FetchUp::Here, io::stdout().lock()).map_err(|it| words(&it));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|it| words(&it))?.block_on(fetch(start, input, to))
}

async fn fetch(start: FetchStart, input: File, to: PathBuf) -> Result<(), String> {
    let words = |it: &dyn std::fmt::Display| it.to_string();
    let timing = Timing { detect: start.detect, ..Timing::default() };
    let registry = Registry::global().map_err(|it| words(&it))?.hash();
    let listener = Listener::bind(&start.identity, SocketAddr::new(start.listen, 0), &timing).await;
    let listener = listener.map_err(|it| words(&it))?;
    let hello = Hello {
        protocol: PROTOCOL,
        registry,
        program: None,
        pool: start.pool.clone(),
        incarnation: start.name.clone(),
        epoch: start.epoch,
    };
    let mesh = Arc::new(Mesh::new(&start.identity, hello, &timing).map_err(|it| words(&it))?);
    write_answer(&FetchUp::Listening { port: listener.port() }, io::stdout().lock())
        .map_err(|it| words(&it))?;
    let terms = Terms { registry, pool: start.pool, incarnation: start.name };
    tokio::spawn(let_in(listener, terms, Arc::clone(&mesh)));
    // Nobody hears of what goes wrong from here on: that this ends is enough.
    let output = io::stdout().as_fd().try_clone_to_owned().map_err(|it| words(&it))?;
    let (mut input, mut output) =
        (tokio::fs::File::from_std(input), tokio::fs::File::from_std(output.into()));
    let Offer { key, manifest } = read_offer(&mut input).await.map_err(|it| words(&it))?;
    let held = mesh.store.offered(key, manifest);
    let fetched = spread::fetch(&held, (&mut input, &mut output), &*mesh, mesh.stall()).await;
    fetched.map_err(|it| words(&it))?;
    if let Err(reason) = place(&held, start.hash, to).await {
        // The client uploads it then, and knows why.
        held.cannot(&mut output, reason.clone()).await.map_err(|it| words(&it))?;
        output.flush().await.map_err(|it| words(&it))?;
        return Err(reason);
    }
    held.have(&mut output).await.map_err(|it| words(&it))?;
    output.flush().await.map_err(|it| words(&it))?;
    ended(&mut input).await;
    Ok(())
}

async fn place(held: &Held, hash: String, to: PathBuf) -> Result<(), String> {
    let bytes = held.whole().ok_or("it is not in memory")?;
    let unpacked = tokio::task::spawn_blocking(move || bootstrap::unpack(&bytes, &hash, &to)).await;
    unpacked.map_err(io::Error::other).and_then(|it| it).map_err(|it| it.to_string())
}

/// Waits until the client has closed the stream.
async fn ended(input: &mut (impl AsyncRead + Unpin)) {
    while input.read_u8().await.is_ok() {}
}

/// Lets in those that fetch for the same pool.
async fn let_in(listener: Listener, terms: Terms, mesh: Arc<Mesh>) {
    while let Some(arrival) = listener.accept().await {
        let (terms, mesh) = (terms.clone(), Arc::clone(&mesh));
        tokio::spawn(async move {
            let Ok(Some(guest)) = arrival.greet(GREETING, std::slice::from_ref(&terms.incarnation)).await
            else {
                return;
            };
            match (guest.who(), terms.check(guest.hello())) {
                (Who::Peer(_), Ok(())) => {
                    if let Ok(session) = guest.welcome().await {
                        mesh::serve(mesh, session, || true).await;
                    }
                }
                (Who::Peer(_), Err(refusal)) => guest.refuse(refusal).await,
                // The client speaks on the streams of its command, and has nothing to say here.
                (Who::Client, _) => {}
            }
        });
    }
}
