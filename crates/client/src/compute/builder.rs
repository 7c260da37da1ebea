//! Describes a pool; `start.rs` starts it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use skyward_runtime::model::{Carrier, Health, Image, Nodes, Scaling, Secret, Selection, Usd};
use skyward_runtime::node::Probe;
use skyward_runtime::output::Show;
use skyward_runtime::pool::{Spec, Worker};
use skyward_runtime::timing::Timing;

use crate::Call;

/// A pool to start. Made by [`Compute::builder`](crate::Compute::builder); everything has a default.
///
/// ```no_run
/// # use skyward::prelude::*;
/// # async fn start() -> skyward::Result<()> {
/// let compute = Compute::builder()
///     .spec(Spec::on(Local::default()))
///     .nodes(4)
///     .image(Image::new().env("RUST_LOG", "info"))
///     .worker(Worker { concurrency: 2, ..Worker::default() })
///     .console()
///     .start()
///     .await?;
/// # compute.stop().await
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is rented until `.start().await`"]
pub struct Builder {
    pub(super) specs: Vec<Spec>,
    pub(super) nodes: Nodes,
    pub(super) selection: Selection,
    pub(super) max_hourly_cost: Option<Usd>,
    pub(super) max_total_cost: Option<Usd>,
    pub(super) image: Image,
    pub(super) worker: Worker,
    pub(super) carrier: Carrier,
    pub(super) scaling: Scaling,
    pub(super) cluster: Option<bool>,
    pub(super) probe: Option<Result<Probe, String>>,
    pub(super) timing: Timing,
    pub(super) queue: usize,
    pub(super) interruptions: u32,
    pub(super) keep: Option<Duration>,
    pub(super) crash_limit: u32,
    pub(super) show: Show,
    pub(super) secrets: BTreeMap<String, Secret<String>>,
    pub(super) console: bool,
    pub(super) signals: bool,
    pub(super) name: Option<String>,
    pub(super) state: Option<PathBuf>,
}

/// Default of how many calls wait in a pool's queue before more have to wait outside it. Enough that a
/// thousand nodes do not run dry while one caller wakes up.
const QUEUE: usize = 4096;

/// Default of how often a call is tried again when its node or the link to it is lost.
const INTERRUPTIONS: u32 = 3;

/// Default of how often a call is tried again whose worker ended while it ran. One less than a machine's
/// worker is restarted, so that a call that ends its worker costs no machine.
const CRASH_LIMIT: u32 = 2;

impl Default for Builder {
    fn default() -> Self {
        Self {
            specs: Vec::new(),
            nodes: Nodes::default(),
            selection: Selection::default(),
            max_hourly_cost: None,
            max_total_cost: None,
            image: Image::default(),
            worker: Worker::default(),
            carrier: Carrier::default(),
            scaling: Scaling::default(),
            cluster: None,
            probe: None,
            timing: Timing::default(),
            queue: QUEUE,
            interruptions: INTERRUPTIONS,
            keep: None,
            crash_limit: CRASH_LIMIT,
            show: Show::All,
            secrets: BTreeMap::new(),
            console: false,
            signals: true,
            name: None,
            state: None,
        }
    }
}

impl Builder {
    /// Adds a place where machines may be rented. Which of them is used, [`selection`](Self::selection)
    /// says. Without any, it is this computer: `Spec::on(Local::default())`.
    pub fn spec(mut self, spec: Spec) -> Self {
        self.specs.push(spec);
        self
    }

    /// How many nodes. Default 1, at most [`Nodes::MOST`]. A spec's own number wins.
    ///
    /// `(2, 8)` is two at first and eight at most: such a pool grows when calls wait that another node could run, and
    /// gives back what it does not use, as [`scaling`](Self::scaling) says. With a `min` of 0 it gives back the last
    /// one too, and with `desired` 0 it begins with none: calls wait for the first.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # async fn start() -> skyward::Result<()> {
    /// let nodes = Nodes { desired: 0, max: Some(8), ..Nodes::default() };
    /// let compute = Compute::builder().nodes(nodes).start().await?;
    /// # compute.stop().await
    /// # }
    /// ```
    pub fn nodes(mut self, nodes: impl Into<Nodes>) -> Self {
        self.nodes = nodes.into();
        self
    }

    /// In which order the offers that fit are tried. Default [`Selection::Cheapest`]: the lowest price of
    /// all specs. An offer that cannot give its machines is left for the next one, at the provider that
    /// made that.
    pub fn selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// The most that all nodes together may cost an hour; a spec has
    /// [`its own`](Spec::max_hourly_cost) for one node. Default no limit. Offers that would cost more are
    /// not taken.
    pub fn max_hourly_cost(mut self, most: Usd) -> Self {
        self.max_hourly_cost = Some(most);
        self
    }

    /// The most that the pool may cost from its first machine to its last. Default no limit.
    ///
    /// Machines are rented only if they can be paid until they have booted and are given back again; at
    /// four fifths there is an event; and the pool ends, as if it was stopped, when giving its machines
    /// back costs the rest. Leases are at most a twentieth of the time for which the rest lasts (but a minute, if
    /// that is at most a quarter), so that a program that is killed does not overspend, as far as a lease of 3 s
    /// allows. What is counted is the cloud's price with its begun minutes or hours, and the disks and addresses
    /// that a provider puts into it (AWS, RunPod, Vast.ai and Verda do); traffic is not.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # async fn start() -> skyward::Result<()> {
    /// let compute = Compute::builder().nodes(4).max_total_cost(usd!(20)).start().await?;
    /// # compute.stop().await
    /// # }
    /// ```
    pub fn max_total_cost(mut self, most: Usd) -> Self {
        self.max_total_cost = Some(most);
        self
    }

    /// What every machine needs. Default nothing. A spec's own image wins.
    pub fn image(mut self, image: Image) -> Self {
        self.image = image;
        self
    }

    /// How each node runs tasks: how many at once, and in what. Default one at a time, in the worker's own
    /// process.
    pub fn worker(mut self, worker: Worker) -> Self {
        self.worker = worker;
        self
    }

    /// What the links to the nodes run over. Default [`Carrier::Auto`]: QUIC where it gets through within
    /// [`Timing::quic`], else SSH. Calls, files and streams are the same over each; SSH is slower, and
    /// gets through wherever machines can be reached at all.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # async fn start() -> skyward::Result<()> {
    /// let compute = Compute::builder().carrier(Carrier::Ssh).start().await?;
    /// # compute.stop().await
    /// # }
    /// ```
    pub fn carrier(mut self, carrier: Carrier) -> Self {
        self.carrier = carrier;
        self
    }

    /// When a pool that scales gives nodes back. Default [`Scaling::default`]: after a minute without a call, or when
    /// less than three tenths of its slots have been in use for half a minute.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # use skyward::Scaling;
    /// # use std::time::Duration;
    /// # async fn start() -> skyward::Result<()> {
    /// let scaling = Scaling { idle: Duration::from_secs(600), ..Scaling::default() };
    /// let compute = Compute::builder().nodes((1, 8)).scaling(scaling).start().await?;
    /// # compute.stop().await
    /// # }
    /// ```
    pub fn scaling(mut self, scaling: Scaling) -> Self {
        self.scaling = scaling;
        self
    }

    /// Whether the nodes are linked to each other. Default: where their machines can reach each other
    /// ([`Capabilities::peers`](crate::provider::Capabilities)), wherever they may be rented.
    ///
    /// Calls, groups, gathers and broadcasts are the same either way. In a cluster functions know ways to the other
    /// nodes ([`peers`](crate::peers), [`InstanceInfo::head`](crate::InstanceInfo)); where each node stands alone they
    /// are refused those, with what to do. Asking for a cluster where machines cannot reach each other fails the
    /// start.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # async fn start() -> skyward::Result<()> {
    /// let compute = Compute::builder().nodes(4).cluster(false).start().await?;
    /// # compute.stop().await
    /// # }
    /// ```
    pub fn cluster(mut self, linked: bool) -> Self {
        self.cluster = Some(linked);
        self
    }

    /// Asks every node again and again whether it is well, by calling this function there: it returns when the node is,
    /// and fails when it is not. Default: a node that is linked is well.
    ///
    /// A node takes calls when it has passed. One that fails [`failures`](Health::failures) times in a row is replaced;
    /// `docs/health.md` has the rest. [`start`](Self::start) says when the call cannot be sent, or when `health` has a
    /// number that cannot be kept.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # use skyward::Health;
    /// #[skyward::function]
    /// fn is_there() -> Result<(), Failure> {
    ///     Ok(std::fs::metadata("/dev/nvidia0").map(drop)?)
    /// }
    /// # async fn start() -> skyward::Result<()> {
    /// let compute = Compute::builder().nodes(4).health(is_there(), Health::default()).start().await?;
    /// # compute.stop().await
    /// # }
    /// ```
    pub fn health<E: Send + Sync + 'static>(mut self, probe: Call<(), E>, health: Health) -> Self {
        self.probe = Some(probe.into_probe(health));
        self
    }

    /// How long things may take; see [`Timing`] for the defaults.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// How many calls wait in the pool's queue; more wait in their futures. Default 4096, at least 1.
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls.max(1);
        self
    }

    /// How often a call is tried again when the node that it runs on, or the link to it, is lost.
    /// Default 3; each is counted, and when there are no more the call ends with
    /// [`CallError::Lost`](crate::CallError::Lost). A call can say [`once`](crate::Call::once).
    pub fn interruptions(mut self, tries: u32) -> Self {
        self.interruptions = tries;
        self
    }

    /// Keeps the machine of a node that does not become ready (its image cannot be made, its worker does
    /// not start or join) for so long, so that you can see why. Default: [`Timing::keep`], which is not at
    /// all. At most one machine for each rank is kept; it costs what it costs until then.
    ///
    /// An event of the pool, and [`StartError::Kept`](crate::StartError::Kept) when the start fails, say
    /// until when it lives and hold an `ssh` command to be pasted. The key that it names is written for
    /// that to `~/.skyward/kept`, readable by you alone, and removed with the machine.
    ///
    /// When `start` has failed, everything else is given back. The kept machines end at the end of their
    /// time, at once on Ctrl-C while the program runs, and by their leases when the program has ended
    /// before that; then the key stays until a later program keeps a machine, and no machine takes it.
    /// A pool that did start gives kept machines back when it is stopped. Where only its cloud can end a
    /// machine, no lease ends what is kept: there a program that returns from `main` stays until the time
    /// is over, says so, and gives the machines back.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # use std::time::Duration;
    /// # async fn start() -> skyward::Result<()> {
    /// let image = Image::new().shell("make -C /does/not/exist");
    /// let half_an_hour = Duration::from_secs(1800);
    /// let compute = Compute::builder().image(image).keep_on_failure(half_an_hour).start().await?;
    /// # compute.stop().await
    /// # }
    /// ```
    pub fn keep_on_failure(mut self, length: Duration) -> Self {
        self.keep = Some(length);
        self
    }

    /// How often a call is tried again whose worker ended while it ran: it may be the call that ends
    /// workers, by aborting or by using up the memory. Default 2, at least 1; each counts as one of the
    /// [`interruptions`](Self::interruptions) too. A call that is lost once more ends with
    /// [`CallError::Lost`](crate::CallError::Lost), which says so. What else ran on those workers is
    /// counted alike. With [`Executor::Process`](crate::Executor) a call ends its own process and no
    /// worker, and is not tried again unless it says [`retries`](crate::Call::retries).
    pub fn crash_limit(mut self, tries: u32) -> Self {
        self.crash_limit = tries.max(1);
        self
    }

    /// Gives the pool's functions a secret, which they ask for by [`secret`](crate::secret). Default
    /// none; a second of the same name replaces the first.
    ///
    /// It travels inside the SSH session that starts each worker, to the worker's standard input, and is
    /// kept in the worker's memory. It never is in an argument, an environment variable, a file, a log
    /// or an image. All of a pool's secrets together, names included, may have 256 KiB.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// #[skyward::function]
    /// async fn fetch(model: String) -> Result<(), Failure> {
    ///     let token = skyward::secret("HF_TOKEN").ok_or("the pool has no HF_TOKEN")?;
    ///     let header = format!("Bearer {}", token.reveal());
    ///     # drop((model, header));
    ///     Ok(())
    /// }
    ///
    /// # async fn start() -> skyward::Result<()> {
    /// let compute = Compute::builder().secret("HF_TOKEN", std::env::var("HF_TOKEN")?).start().await?;
    /// # compute.stop().await
    /// # }
    /// ```
    pub fn secret(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.secrets.insert(name.into(), Secret::new(value.into()));
        self
    }

    /// Which lines of what runs on the nodes are shown, by [`console`](Self::console) and to those who read
    /// [`Compute::output`](crate::Compute::output). Default all. A call can show less, by
    /// [`Call::show`](crate::Call::show).
    ///
    /// ```no_run
    /// # use skyward::{Compute, Show};
    /// let builder = Compute::builder().console().show(Show::Head);
    /// # drop(builder);
    /// ```
    pub fn show(mut self, show: Show) -> Self {
        self.show = show;
        self
    }

    /// Prints one line on stderr for each event, and each line that functions write, behind the rank of
    /// its node: what they write to standard output on stdout, the rest on stderr. Default off: then
    /// stderr only has the signals that end a pool, at the end of the program every half minute what is still given
    /// back, that kept machines hold the program, and what could not be given back.
    pub fn console(mut self) -> Self {
        self.console = true;
        self
    }

    /// Whether SIGINT and SIGTERM give every machine back before they end the program (a second one
    /// ends it at once). Default yes. It is decided for the whole program by the first pool that says
    /// yes.
    pub fn signals(mut self, heed: bool) -> Self {
        self.signals = heed;
        self
    }

    /// Gives the pool a name: 1 to 64 letters, digits, `-`, `_` and `.`. Default none.
    ///
    /// A pool with a name outlives a program that is killed, for as long as its machines live without it
    /// ([`Spec::ttl`]). The same program, run again, finds it in the [journal](crate::journal) by its name, links its
    /// nodes again instead of renting others, and replaces those that do not answer. What runs under a
    /// [key](crate::Call::key) runs on meanwhile, and calls with the same keys find it, or what came of it: an outcome
    /// stays at its node even when it was taken, until the pool ends or the node has no more room
    /// ([`Retention`](crate::Retention)).
    ///
    /// A program that ends in any other way, or is told to by a signal, gives everything back as always; one that
    /// means to leave its pool says [`Compute::detach`](crate::Compute::detach). One program has a pool at a time.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # #[skyward::function]
    /// # async fn train(epochs: u32) -> f64 { f64::from(epochs) }
    /// # async fn run() -> skyward::Result<()> {
    /// let compute = Compute::builder().name("sweep").nodes(4).start().await?;
    /// // Killed here and run again, it goes on where it was.
    /// let losses = (gather((1..=100).map(train)).key("losses") >> &compute).await?;
    /// # drop(losses);
    /// # compute.stop().await
    /// # }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The folder of the [journal](crate::journal). Default: `$XDG_STATE_HOME/skyward`, else
    /// `~/.local/state/skyward`. A pool on this computer without a name is in no journal.
    pub fn state(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state = Some(folder.into());
        self
    }
}
