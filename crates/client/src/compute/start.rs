//! Starts the pool that a builder describes, and prints what it says where the program asked for that.

use std::io::Write;

use skyward_runtime::events::Events as Facts;
use skyward_runtime::journal::Journal;
use skyward_runtime::model::{EventKind, OutputStream, PoolId};
use skyward_runtime::output::Hub;
use skyward_runtime::pool::{PoolRequest, StartError};
use skyward_runtime::timing::Timing;
use skyward_runtime::{program, random};

use super::owning::{Asked, Entry, or_local};
use super::recipe::Recipe;
use super::{Builder, Compute, Events, Output};
use crate::engine::Engine;
use crate::error::Error;

/// Bytes of all secrets of a pool. They are part of a worker's order, which has at most a mebibyte.
const MOST_SECRETS: usize = 256 << 10;

/// How long a pool's id is, at five bits a letter: short enough to be read, and one in a million
/// million pools has another's.
const ID_LETTERS: usize = 8;

impl Builder {
    /// Rents the machines, makes them ready, and returns when enough of them take calls: `Nodes::min`, which is all
    /// where it is not said. The others join as they come. A pool that begins with no nodes is there at once.
    ///
    /// Dropping the future gives back what it had rented, in the background.
    ///
    /// # Errors
    /// When the program has not called `skyward::init()` (or has no `#[skyward::main]`), when it is
    /// being ended by a signal, or when the machines cannot be had or made ready; then they are given
    /// back first, apart from what [`keep_on_failure`](Self::keep_on_failure) keeps. When the journal
    /// cannot be written and machines are wanted that are not on this computer, when another program has the pool of
    /// this name, or when that lives and was begun by another build of the program or with other specs. The cause is found by
    /// `error.downcast_ref::<`[`StartError`](crate::StartError)`>()`.
    pub async fn start(self) -> Result<Compute, Error> {
        self.open(Entry::Start).await
    }

    /// Goes on with the pool of this [name](Self::name) that another program has left, as its owner: links its nodes
    /// again, and heals and scales it as it was asked to. Specs, nodes, what it may cost, image, worker, carrier and
    /// scaling are what the journal says, whatever is said here. What it does not have is given again: secrets, a
    /// [health](Self::health) probe, a selection of the program's own, and a [`spec`](Self::spec) on each provider that
    /// only this program knows, or that has settings which are not written down, such as a key.
    ///
    /// The program has to be the same build: its nodes run the one that began the pool.
    ///
    /// # Errors
    /// [`StartError::NotThere`](crate::StartError) when there is no such pool, when its machines have ended, or when
    /// something is to be given again; [`JournalError::Held`](crate::journal::JournalError), with who it is, while
    /// another program has it; `StartError::Differs` when it was begun by another build, with other secrets or included
    /// files, or with the key of another account; and as [`start`](Self::start). The pool is left as it is then.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # async fn run() -> skyward::Result<()> {
    /// let compute = Compute::builder().name("sweep").secret("TOKEN", "hunter2").attach().await?;
    /// # compute.stop().await
    /// # }
    /// ```
    pub async fn attach(self) -> Result<Compute, Error> {
        let none = |pool: &str, reason| Error::from(StartError::NotThere { pool: pool.to_owned(), reason });
        let Some(name) = self.name.clone() else {
            return Err(none("", "say which with `.name(..)`"));
        };
        let (state, named) = (self.state.clone(), name.clone());
        let read = Engine::get()?.handle().spawn_blocking(move || {
            let folder = state.map_or_else(Journal::folder_of_user, Ok)?;
            if Journal::exists(&folder) { Journal::open(&folder)?.named(&named) } else { Ok(None) }
        });
        let known = read.await.map_err(Error::from)?.map_err(StartError::Journal)?;
        let known =
            known.ok_or_else(|| none(&name, "there is none; `sky reap` lists those that there are"))?;
        let recipe: Recipe = serde_json::from_str(&known.recipe).map_err(|_| {
            none(&name, "what it was asked to be is not in the journal: run the program that began it")
        })?;
        recipe.fill(self, &name)?.open(Entry::Attach).await
    }

    async fn open(self, entry: Entry) -> Result<Compute, Error> {
        if program::entry_arguments().is_none() {
            return Err(Error::from(
                "the program cannot become a worker; put #[skyward::main] on main, or call \
                 skyward::init() as its first line",
            ));
        }
        let secrets: usize = self.secrets.iter().map(|(name, it)| name.len() + it.reveal().len()).sum();
        if secrets > MOST_SECRETS {
            return Err(Error::from(format!(
                "the pool's secrets have {secrets} bytes, more than {MOST_SECRETS}: give the functions a \
                 secret with which they fetch the rest"
            )));
        }
        let probe = self.probe.clone().transpose();
        let probe =
            probe.map_err(|reason| Error::from(format!("the pool's probe cannot be sent: {reason}")))?;
        let engine = Engine::get()?;
        if self.signals {
            engine.heed_signals();
        }
        let id = random::text(ID_LETTERS).map_err(Error::from)?;
        let specs = or_local(self.specs.clone());
        let recipe = serde_json::to_string(&Recipe::of(&self, &specs)).map_err(Error::from)?;
        let terms = (self.nodes, &self.image, &self.worker, self.carrier, self.cluster);
        let terms = format!("{terms:?}");
        let (name, state) = (self.name.clone(), self.state.clone());
        let holds = name.is_some();
        let (image, secrets) = (self.image.clone(), self.secrets.clone());
        let (id, known) = (PoolId::new(id), specs.clone());
        let asked = Asked { entry, id, name, state, specs: known, terms, image, secrets, recipe };
        let owned = engine.handle().spawn(asked.own()).await.map_err(Error::from)??;
        let events = Facts::new(owned.id);
        let lines = Events::new(events.subscribe());
        let output = Hub::new(self.show);
        let read = output.clone();
        let printer = self.console.then(|| {
            let written = Output::new(read.read());
            engine.handle().spawn(async { tokio::join!(print(lines), print_output(written)).0 })
        });
        if let Some(reason) = owned.unrecorded {
            tracing::warn!(reason, "the pool is in no journal");
            events.emit(EventKind::Unrecorded { reason });
        }
        let request = PoolRequest {
            specs,
            nodes: self.nodes,
            selection: self.selection,
            max_hourly_cost: self.max_hourly_cost,
            max_total_cost: self.max_total_cost,
            image: self.image,
            worker: self.worker,
            carrier: self.carrier,
            probe,
            scaling: self.scaling,
            cluster: self.cluster,
            timing: Timing { keep: self.keep.unwrap_or(self.timing.keep), ..self.timing },
            queue: self.queue,
            interruptions: self.interruptions,
            crash_limit: self.crash_limit,
            output,
            secrets: self.secrets,
            events,
            holds: holds && owned.record.is_some(),
            record: owned.record,
            adopted: owned.adopted,
        };
        let record = request.record.clone();
        let kept = engine.keep(request, printer).await;
        if let (Err(_), Some(record)) = (&kept, record)
            && let Err(error) = record.withdraw().await
        {
            tracing::warn!(%error, "a pool that was never begun is in the journal");
        }
        let (pool, _, keeper) = kept?;
        Ok(Compute::new(engine, pool, keeper))
    }
}

/// Prints events, one line each, until the pool ends. A line is one write, so that what the program itself prints does
/// not come into its middle; who does not listen is not waited for.
async fn print(mut events: Events) {
    while let Some(event) = events.next().await {
        let _ = std::io::stderr().write_all(format!("{event}\n").as_bytes());
        let is_last = matches!(
            event.kind,
            EventKind::Stopped { .. } | EventKind::Detached | EventKind::Superseded { .. }
        );
        if is_last {
            break;
        }
    }
}

/// Prints what functions write, until the pool ends.
async fn print_output(mut output: Output) {
    while let Some(line) = output.next().await {
        let text = format!("{line}\n");
        let _ = match line.stream {
            OutputStream::Stdout => std::io::stdout().write_all(text.as_bytes()),
            OutputStream::Stderr | OutputStream::Log | OutputStream::Missed(_) => {
                std::io::stderr().write_all(text.as_bytes())
            }
        };
    }
}
