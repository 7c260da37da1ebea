//! How a simulated life ends: a summary, or the law that it broke with all that led there.

use std::fmt;
use std::time::Duration;

/// What every life must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Law {
    /// Every submitted task is answered, refused or cancelled: none is lost.
    NoneLost,
    /// No task is reported twice.
    NoneTwice,
    /// No task is tried more often than its retries plus one.
    Tries,
    /// A rank never runs more tasks than it has slots.
    Slots,
    /// A rank that is paused, lost or not the task's target is given nothing.
    Closed,
    /// No slot stays free while a task that may use it waits.
    NoneIdle,
    /// An answer of an old attempt changes nothing.
    Stale,
    /// The queue knows exactly the tasks that are not over.
    Known,
    /// A queue whose pool is being given back hands out nothing.
    Stopped,
    /// No task is run twice by workers that live because a link was lost.
    RunOnce,
    /// Nothing is kept that was acknowledged, cancelled or is over.
    Released,
    /// What a worker keeps stays within its bounds.
    Bounded,
    /// No two living nodes have one rank or one machine.
    Ranks,
    /// When a pool has ended, every machine and everything set up is gone or named.
    NothingLeft,
    /// A machine whose lease was not renewed ends itself.
    LeaseEnds,
    /// A machine whose owner can renew its lease keeps it.
    LeaseHolds,
    /// A call that was given a time ends within it, wherever it was meanwhile.
    InTime,
    /// When a call of a group fails, the others end with it.
    Together,
    /// A pool touches no machine but its own.
    Own,
    /// A machine that is kept for a person lives as long as it was promised.
    Kept,
    /// No pool costs more than it may, but for one unit of its clouds' bill for each node, and what a cloud bills for
    /// machines that have ended themselves; and none rents more once it has cost that.
    Budget,
    /// All nodes together never cost more an hour than they may.
    Hourly,
    /// A pool that scales wants no fewer nodes than its least, and no more than its most; one that is asked for a number
    /// comes nearer to it, and whoever takes it over goes on with that, where it keeps its number.
    Size,
    /// Who takes a pool over takes no node that was let go.
    LetGo,
    /// A node that is given up because it is idle has no task, and runs nothing that another owner left.
    Drained,
    /// A client that finds its machines gone when it wakes says so.
    Told,
    /// Nothing is asked of a cloud that is not in the journal.
    Written,
    /// An older owner of a pool changes nothing once there is a newer one.
    Older,
    /// What a node does not begin finishes elsewhere, while others could begin with it.
    Stuck,
    /// A program that has lost its pool to another one ends it at once, and touches nothing of it.
    LetsGo,
    /// A pool has one owner at a time, and nobody gives back what is owned.
    Alone,
    /// What was asked for under a key comes as it was asked for, and is not computed again while the node lives that
    /// has it.
    Once,
    /// A node drains for its machine's sake only when that is to be taken.
    Noticed,
    /// A node takes calls when its probe has passed, until it has failed too often in a row, and no node counts as bad
    /// before that.
    Well,
    /// Machines that nothing ends but their cloud are not left before they were asked for again and again.
    Insists,
    /// Every life is over after a bounded time.
    Ends,
}

/// A life that broke a law.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which life.
    pub seed: u64,
    /// Which law.
    pub law: Law,
    /// What broke it.
    pub what: String,
    /// When, on the simulated clock.
    pub at: Duration,
    /// The last that happened, oldest first.
    pub transcript: Vec<String>,
}

/// What happened in a life that kept every law.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many events.
    pub events: u64,
    /// How long it took on the simulated clock.
    pub took: Duration,
    /// Pools that became ready.
    pub started: u64,
    /// Machines that existed.
    pub machines: u64,
    /// Machines that their lease ended.
    pub lapsed: u64,
    /// Links that broke.
    pub broken: u64,
    /// Tasks that brought a value.
    pub answered: u64,
    /// Tasks that were refused.
    pub refused: u64,
    /// Tasks whose caller lost interest.
    pub cancelled: u64,
    /// Tries after the first.
    pub retried: u64,
    /// Tasks whose time was over.
    pub timed_out: u64,
    /// Lives that had a second pool beside them.
    pub pairs: u64,
    /// 1 when there was a limit to what the pool may cost.
    pub capped: u64,
    /// 1 when at least half of that was spent.
    pub spent: u64,
    /// Candidates that were set up.
    pub candidates: u64,
    /// Starts that failed and left machines for a person to look at.
    pub kept: u64,
    /// Tasks that a node gave back before it had begun them.
    pub given_back: u64,
    /// Tasks whose link broke and that were asked for over another.
    pub resumed: u64,
    /// Outcomes that were kept while there was no link.
    pub redelivered: u64,
    /// Outcomes that went to a disk.
    pub spilled: u64,
    /// Tasks that a worker did not take because it kept as much as it may.
    pub full: u64,
    /// Tries that a worker sent back, because it had no room or was told to end.
    pub turned_away: u64,
    /// Nodes whose cloud gave notice that it takes their machine.
    pub noticed: u64,
    /// Nodes that failed their probe too often.
    pub unwell: u64,
    /// Times that an owner wanted another number of nodes.
    pub resized: u64,
    /// Machines that ended themselves and were billed on.
    pub billed: u64,
    /// Times that a pool wanted more nodes because of its load.
    pub grown: u64,
    /// Times that it wanted fewer.
    pub shrunk: u64,
    /// Clients that slept until their machines had ended.
    pub overslept: u64,
    /// Programs that were refused because another had the pool.
    pub held: u64,
    /// Programs that could not begin their pool's entry.
    pub unbegun: u64,
    /// Programs that attached to what another had left.
    pub attached: u64,
    /// Pools that were left for another program.
    pub left: u64,
    /// Pools that were given back, or begun to be, by who did not own them.
    pub reaped: u64,
    /// Programs that lost their pool to another one.
    pub superseded: u64,
    /// Times that a program slept.
    pub slept: u64,
    /// Orders of older owners that workers refused.
    pub outdated: u64,
    /// Machines of which a cloud said that they are gone, while they were not.
    pub lies: u64,
    /// Machines of which nobody had heard, and that were found by who attached.
    pub strays: u64,
    /// Programs that had the key of another account.
    pub strangers: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.took = self.took.saturating_add(other.took);
        self.started += other.started;
        self.machines += other.machines;
        self.lapsed += other.lapsed;
        self.broken += other.broken;
        self.answered += other.answered;
        self.refused += other.refused;
        self.cancelled += other.cancelled;
        self.retried += other.retried;
        self.capped += other.capped;
        self.spent += other.spent;
        self.candidates += other.candidates;
        self.kept += other.kept;
        self.timed_out += other.timed_out;
        self.pairs += other.pairs;
        self.given_back += other.given_back;
        self.resumed += other.resumed;
        self.redelivered += other.redelivered;
        self.spilled += other.spilled;
        self.full += other.full;
        self.turned_away += other.turned_away;
        self.noticed += other.noticed;
        self.unwell += other.unwell;
        self.resized += other.resized;
        self.billed += other.billed;
        self.grown += other.grown;
        self.shrunk += other.shrunk;
        self.overslept += other.overslept;
        self.held += other.held;
        self.unbegun += other.unbegun;
        self.attached += other.attached;
        self.left += other.left;
        self.reaped += other.reaped;
        self.superseded += other.superseded;
        self.slept += other.slept;
        self.outdated += other.outdated;
        self.lies += other.lies;
        self.strays += other.strays;
        self.strangers += other.strangers;
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the last of seed {}:", self.seed)?;
        self.transcript.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "law {:?} broken after {:?}: {}", self.law, self.at, self.what)?;
        write!(
            f,
            "rerun: SKYWARD_SEED={} cargo test -p skyward-runtime --features testing two_thousand_seeds",
            self.seed
        )
    }
}

impl std::error::Error for Failure {}
