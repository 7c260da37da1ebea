//! The process that is a local machine, or the first one of a container: a fresh host key, an SSH server for one
//! client, a guard of the lease, and an end that leaves nothing.
//!
//! ```text
//! started --directions on stdin--> booting --listens, answers on stdout--> up
//! up --SIGUSR1--> up, every SSH connection cut
//! any --SIGTERM | lease lapsed | die_after--> everything below killed, directory removed, exit
//! ```

mod brake;
mod exec;
mod forward;
mod guard;
mod pump;
mod reaper;
mod server;

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use rustix::process::{Signal, setsid};
use skyward_runtime::program::{read_order, write_answer};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::config::{CONTAINER_KEY, Door, MachineStart, MachineUp, Record};
use super::place::{advice, clear, remove_empty};
use super::process::Process;
use reaper::Reaper;

/// Is a machine until it ends. The program calls it when `Role::current()` is `Role::Machine`.
pub fn main() -> ! {
    // A session of its own keeps the terminal's signals away, and the terminal from what runs here.
    // It fails only for the leader of a process group, which has most of this already.
    let _ = setsid();
    let code = match live() {
        Ok(()) => 0,
        Err(error) => {
            log(format_args!("{error}"));
            let reason = format!("the machine could not start: {error}");
            // Nobody may be listening any more; the log has it.
            let _ = write_answer(&MachineUp::Failed(reason), io::stdout());
            1
        }
    };
    std::process::exit(code)
}

fn live() -> io::Result<()> {
    let mut start: MachineStart = read_order(io::stdin()).map_err(io::Error::other)?;
    if start.is_container {
        let home = std::env::var_os("HOME").filter(|it| !it.is_empty());
        start.directory = home.ok_or_else(|| io::Error::other("its user has no home"))?.into();
    }
    adopt()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let reaper = Reaper::new();
    let why = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        // Registered and never looked at: these do not end a machine.
        let _ignored = (signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
        let guard = guard::Lease::granted(&start);
        tokio::select! {
            never = up(&start, &reaper) => never.map(|()| "its server ended"),
            _ = terminated.recv() => Ok("asked to"),
            () = guard.lapse() => Ok("its lease lapsed"),
            () = power_cut(&start) => Ok("its power was cut"),
        }
    });
    if let Ok(why) = &why {
        log(format_args!("the machine ends: {why}"));
    }
    // The runtime's tasks hold streams of the processes that are killed now.
    runtime.shutdown_background();
    kill_everything();
    if !start.is_container {
        clear(&start.directory);
        remove_empty(&start.above);
    }
    why.map(|_| ())
}

/// Boots, and serves for ever.
async fn up(start: &MachineStart, reaper: &Reaper) -> io::Result<()> {
    let process = Process::of(std::process::id()).ok_or(io::ErrorKind::Unsupported)?;
    if !start.is_container {
        note(start, &Record { process, door: None })?;
    }
    sleep(start.boot_delay).await;
    let key = server::host_key()?;
    let host_key = key.public_key().to_openssh().map_err(io::Error::other)?;
    let listener = TcpListener::bind(start.listen).await?;
    let serve = server::Server::new(start, key, reaper.clone())?;
    if start.is_container {
        say_key(start, &host_key)?;
    } else {
        let door = Door { port: listener.local_addr()?.port(), host_key };
        note(start, &Record { process, door: Some(door.clone()) })?;
        // A provider that is gone does not read the answer; the lease ends the machine then.
        let _ = write_answer(&MachineUp::Listening(door), io::stdout());
    }
    detach()?;
    tokio::try_join!(serve.run(listener), reaper.run(), cuts(&serve))?;
    Ok(())
}

/// SIGUSR1 cuts the machine's SSH connections: tests of what outlives them send it.
async fn cuts(server: &server::Server) -> io::Result<()> {
    let mut told = signal(SignalKind::user_defined1())?;
    while told.recv().await.is_some() {
        server.cut_all();
    }
    Ok(())
}

/// Writes down by which key a container's server is known, for the provider's shell that waits for it.
fn say_key(start: &MachineStart, host_key: &str) -> io::Result<()> {
    let file = start.directory.join(CONTAINER_KEY);
    let draft = file.with_extension("new");
    std::fs::write(&draft, format!("{host_key}\n")).and_then(|()| std::fs::rename(&draft, &file))
}

/// Writes the machine's record down.
fn note(start: &MachineStart, record: &Record) -> io::Result<()> {
    record.write(&start.directory).map_err(|error| {
        let (directory, advice) = (start.directory.display(), advice(&error));
        io::Error::other(format!("failed to write in {directory}: {error}{advice}"))
    })
}

async fn power_cut(start: &MachineStart) {
    match start.die_after {
        Some(after) => sleep(start.boot_delay + after).await,
        None => std::future::pending().await,
    }
}

/// Becomes the parent of every process on the machine that loses its own, so that none escapes.
fn adopt() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Leaves the pipes to the provider, so that neither holds the other.
fn detach() -> io::Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

/// Kills everything on the machine, again until nothing is left: what is being killed may just have
/// started something.
fn kill_everything() {
    let Some(own) = Process::of(std::process::id()) else { return };
    for _ in 0..KILLS {
        let descendants = own.descendants();
        for descendant in &descendants {
            descendant.signal(Signal::KILL);
        }
        Reaper::reap_all();
        if descendants.is_empty() {
            return;
        }
        std::thread::sleep(KILL_PAUSE);
    }
    log(format_args!("processes are left that cannot be killed"));
}

/// A line in the machine's log, which is its standard error.
fn log(line: fmt::Arguments<'_>) {
    // There is nowhere else to say that the log cannot be written.
    let _ = writeln!(io::stderr(), "{line}");
}

/// How often, and with what waits, what runs on a machine is killed: for 2 s, then a process is stuck
/// in the kernel and nothing helps.
const KILLS: u32 = 1000;
const KILL_PAUSE: Duration = Duration::from_millis(2);
