//! SIGINT and SIGTERM: the first gives everything back and then ends the process, the second ends it
//! at once.

use tokio::signal::unix::{self, SignalKind};

use super::{Engine, Kept, say};

/// What asked the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Interrupt,
    Terminate,
}

impl Signal {
    /// 128 and the signal's number, as shells have it.
    pub(super) const fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// Installs the handlers.
pub(super) fn heed(engine: &'static Engine) -> std::io::Result<()> {
    let _entered = engine.handle().enter();
    let mut interrupts = unix::signal(SignalKind::interrupt())?;
    let mut terminations = unix::signal(SignalKind::terminate())?;
    let mut next = async move || {
        tokio::select! {
            _ = interrupts.recv() => Signal::Interrupt,
            _ = terminations.recv() => Signal::Terminate,
        }
    };
    engine.handle().spawn(async move {
        let first = next().await;
        let _ = engine.signal.set(first);
        say(&format!("{}: giving every machine back; once more ends the program at once", first.name()));
        tokio::select! {
            () = engine.give_everything_back(Kept::GivenBack) => {
                say("done");
                std::process::exit(first.exit_code());
            }
            second = next() => {
                let left = if engine.is_unattended() { PAID } else { LAPSE };
                say(&format!("{}: ended at once; {left}", second.name()));
                std::process::exit(second.exit_code());
            }
        }
    });
    Ok(())
}

const LAPSE: &str = "machines that are left end when their leases lapse";

const PAID: &str = "some of the machines that are left cannot end their own bill: look at what your provider lists, and end them";
