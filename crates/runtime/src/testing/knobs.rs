//! How a simulated life is drawn: its sizes, its weather, and a fault that is put into it by hand.

use super::dice::Dice;

/// The bounds of what a seed may draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// The most nodes of a pool. Default 4.
    pub nodes: u32,
    /// The most slots of a node. Default 3.
    pub slots: u32,
    /// The most callers. Default 24.
    pub callers: u32,
    /// How many of a thousand lives have each kind of trouble. Default 250; 0 is a world without
    /// trouble, and 1000 one in which hardly a pool starts.
    pub trouble: u32,
    /// A fault put back by hand, to see whether the laws find it.
    pub mutation: Option<Mutation>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self { nodes: 4, slots: 3, callers: 24, trouble: 250, mutation: None }
    }
}

/// A fault between a machine and its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutation {
    /// The report of a node's end never reaches the pool.
    DropNodeGone,
    /// An answer of an old attempt is passed on as one of the present attempt.
    AcceptStale,
    /// One machine is overlooked whenever machines are given back.
    ForgetMachine,
    /// The grant of a second try never reaches its caller.
    LoseRetry,
    /// A refusal never reaches its caller.
    LoseRefusal,
    /// An outcome is delivered twice.
    AnswerTwice,
    /// The queue is told of one slot more than a node has.
    ExtraSlot,
    /// The queue is told of one retry more than is allowed.
    ExtraTry,
    /// A machine takes a renewal of a lease that has lapsed.
    RenewLapsed,
    /// Nodes forget to renew.
    ForgetRenew,
    /// The queue is not told that the pool ends.
    ForgetQueueStop,
    /// What was prepared is not undone when the start has failed.
    ForgetTeardown,
    /// The queue is not told that a link is being dialled again.
    ForgetPause,
    /// The queue is not told that a node takes tasks.
    ForgetReady,
    /// A node is begun twice.
    SpawnTwice,
    /// The pool takes every cloud for one that counts seconds.
    IgnoreUnits,
    /// The pool counts a machine only from when it has had time to boot.
    FreeBoots,
    /// The pool is not woken to look at what is spent.
    ForgetBudget,
    /// What fell back is not undone at the cloud that it was set up at first.
    ForgetFirstCloud,
    /// The shares of a broadcast whose caller went away are not cancelled.
    LeakShares,
    /// A call's time counts from when a node has it.
    ForgetQueueTime,
    /// The queue is not told of a call whose time is over.
    LeakTimedOut,
    /// The rest of a group goes on when one of its calls has failed.
    ForgetGroup,
    /// A teardown takes the machines of other pools for its own.
    TakeOthers,
    /// Nobody wakes the pool when a kept machine's time is over.
    ForgetKept,
    /// A machine that is kept never ends by itself.
    KeepForEver,
    /// Machines that are kept are given back with the others.
    ReleaseKept,
    /// A worker gives a call back that it has begun.
    GiveBackBegun,
    /// A call of a function that nobody knows is sent ahead.
    AheadUnknown,
    /// Acknowledgements never reach a worker.
    ForgetAck,
    /// A worker forgets an outcome when it sends it.
    ForgetBeforeTaken,
    /// A worker that keeps much drops what comes then.
    EvictWhenFull,
    /// A worker takes new work although it keeps as much as it may.
    TakeWhenFull,
    /// A call whose link breaks is tried again instead of asked for.
    RerunOnLoss,
    /// A worker does not heed what is waited for after a link broke.
    ForgetReplay,
    /// A worker heeds what it still reads of a link before the present one.
    ForgetFence,
    /// A pool never hears that calls wait.
    ForgetDemand,
    /// A pool takes its least number of nodes for none.
    IgnoreLeast,
    /// A pool takes its most for two more.
    IgnoreMost,
    /// A node is given up as idle, whatever it has.
    CloseBusy,
    /// A client that has slept does not say what it lost.
    LoseSilently,
    /// What a cloud is asked for is written down after it was asked.
    IntentAfter,
    /// What cannot be written down is rented all the same.
    RentUnwritten,
    /// Who attaches to a pool, or gives it back, does not raise its epoch.
    KeepEpoch,
    /// A worker takes orders of an older owner than it has heard of.
    TakeOldOrders,
    /// An older owner may write into the journal.
    WriteAsOld,
    /// A worker takes the tasks of every owner for those of one.
    MixOwners,
    /// A worker releases the outcome of a call with a key when it sends it.
    ReleaseUntaken,
    /// The outcome of a call with a key does not stay at its worker, though another program may ask for it.
    ForgetStays,
    /// Who attaches does not heed what workers say that they have.
    IgnoreKeys,
    /// Who attaches takes what another owner left, and nobody has asked for, for nothing.
    IgnoreLeft,
    /// A pool's lock keeps nobody out.
    ShareLock,
    /// What a living program owns is given back.
    ReapLiving,
    /// The lease of a client that was killed is renewed.
    RenewByDead,
    /// The clock of a lease stands still while its machine sleeps.
    SleepUncounted,
    /// A pool's entry is forgotten while something is left.
    ForgetEntry,
    /// How a worker is found again is not written down.
    NodeUnwritten,
    /// A notice for one node detaches another of the same rank.
    NoticeTwice,
    /// A node that was noticed goes on with new tasks.
    NoticeUntold,
    /// Who has the key of another account believes what its cloud says of a pool.
    AskWithAnyKey,
    /// A request whose answer nobody heard is taken for one that brings nothing any more.
    ForgetUnheard,
    /// Nodes are not probed.
    ForgetProbe,
    /// A probe whose link broke counts as one that failed.
    CountLostProbes,
    /// A node that is not well is not told so.
    KeepUnwell,
    /// A pool is asked for any number of nodes.
    ResizeBeyond,
    /// Who attaches does not heed how many nodes were asked for last.
    ForgetSize,
    /// A pool does not know what its nodes may cost an hour.
    IgnoreHourly,
    /// A machine that has ended itself is not given back.
    ForgetBilled,
    /// What a pool spends is counted on a clock that stands still while its computer sleeps.
    SpendAsleep,
    /// That a pool is being given back is not written down.
    ForgetClose,
    /// That a node is told to finish is not written down.
    ForgetLeaves,
    /// A pool takes its machines for ones that end themselves.
    LeaveUnattended,
    /// A program that has lost its pool to another one goes on with it.
    GoOnSuperseded,
    /// Calls are not asked for back from a node that does not begin with them.
    ForgetRecall,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 74] = [
        Self::DropNodeGone,
        Self::AcceptStale,
        Self::ForgetMachine,
        Self::LoseRetry,
        Self::LoseRefusal,
        Self::AnswerTwice,
        Self::ExtraSlot,
        Self::ExtraTry,
        Self::RenewLapsed,
        Self::ForgetRenew,
        Self::ForgetQueueStop,
        Self::ForgetTeardown,
        Self::ForgetPause,
        Self::ForgetReady,
        Self::SpawnTwice,
        Self::LeakShares,
        Self::ForgetQueueTime,
        Self::LeakTimedOut,
        Self::ForgetGroup,
        Self::TakeOthers,
        Self::IgnoreUnits,
        Self::FreeBoots,
        Self::ForgetBudget,
        Self::ForgetFirstCloud,
        Self::ForgetKept,
        Self::KeepForEver,
        Self::ReleaseKept,
        Self::GiveBackBegun,
        Self::AheadUnknown,
        Self::ForgetAck,
        Self::ForgetBeforeTaken,
        Self::EvictWhenFull,
        Self::TakeWhenFull,
        Self::RerunOnLoss,
        Self::ForgetReplay,
        Self::ForgetFence,
        Self::ForgetDemand,
        Self::IgnoreLeast,
        Self::IgnoreMost,
        Self::CloseBusy,
        Self::LoseSilently,
        Self::IntentAfter,
        Self::RentUnwritten,
        Self::KeepEpoch,
        Self::TakeOldOrders,
        Self::WriteAsOld,
        Self::MixOwners,
        Self::ReleaseUntaken,
        Self::ForgetStays,
        Self::IgnoreKeys,
        Self::IgnoreLeft,
        Self::ShareLock,
        Self::ReapLiving,
        Self::RenewByDead,
        Self::SleepUncounted,
        Self::ForgetEntry,
        Self::NodeUnwritten,
        Self::NoticeTwice,
        Self::NoticeUntold,
        Self::AskWithAnyKey,
        Self::ForgetUnheard,
        Self::ForgetProbe,
        Self::CountLostProbes,
        Self::KeepUnwell,
        Self::ResizeBeyond,
        Self::ForgetSize,
        Self::IgnoreHourly,
        Self::ForgetBilled,
        Self::SpendAsleep,
        Self::ForgetClose,
        Self::ForgetLeaves,
        Self::LeaveUnattended,
        Self::GoOnSuperseded,
        Self::ForgetRecall,
    ];
}

/// How likely each trouble is in one life, each time that it could happen, in thousandths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// A provider has no offers, or does not answer.
    pub(super) no_offers: u32,
    /// The preparation fails, and may leave something behind.
    pub(super) unprepared: u32,
    /// A request for machines brings none.
    pub(super) refused: u32,
    /// A request for machines brings fewer.
    pub(super) partial: u32,
    /// A request for machines brings some, and the answer is lost.
    pub(super) unreported: u32,
    /// A machine is unknown for a while after it was given.
    pub(super) late: u32,
    /// A machine never boots.
    pub(super) never: u32,
    /// A machine takes long to boot.
    pub(super) slow: u32,
    /// A machine dies on its own.
    pub(super) dies: u32,
    /// The provider does not tell.
    pub(super) untold: u32,
    /// SSH is refused for a while.
    pub(super) ssh: u32,
    /// A step on the machine fails.
    pub(super) step: u32,
    /// A machine is cut off the network for a while.
    pub(super) cut: u32,
    /// A link breaks and may be dialled at once.
    pub(super) reset: u32,
    /// A link breaks because the worker has ended.
    pub(super) worker: u32,
    /// A machine stands still for a while.
    pub(super) frozen: u32,
    /// Giving back fails.
    pub(super) kept: u32,
    /// An answer comes a second time.
    pub(super) twice: u32,
    /// A caller loses interest.
    pub(super) cancel: u32,
    /// A call, or a group of them, is given a time.
    pub(super) hasty: u32,
    /// There is a limit to what the pool may cost.
    pub(super) capped: u32,
    /// The journal cannot be written.
    pub(super) unwritten: u32,
    /// A machine is not on its cloud's list, or not yet.
    pub(super) untagged: u32,
    /// A cloud says that a machine is gone, which is not.
    pub(super) lies: u32,
    /// A program's computer sleeps.
    pub(super) asleep: u32,
    /// A lock is lost while its holder sleeps.
    pub(super) unlocked: u32,
    /// The program is run twice at once, or somebody reaps meanwhile.
    pub(super) second: u32,
    /// The clock on the wall is set.
    pub(super) set: u32,
    /// Who runs the program again, or reaps, has the key of another account.
    pub(super) strange: u32,
    /// A machine is of no use, from the beginning or after a while.
    pub(super) sick: u32,
    /// A probe hangs.
    pub(super) hangs: u32,
    /// A probe says the wrong thing.
    pub(super) wrong: u32,
    /// A cloud bills what has ended itself.
    pub(super) bills: u32,
    /// There is a limit to what all nodes may cost an hour.
    pub(super) hourly: u32,
}

impl Weather {
    pub(super) fn draw(dice: &mut Dice, trouble: u32) -> Self {
        // Troubles seldom come alone.
        let trouble = if dice.chance(150) { trouble.saturating_mul(3) } else { trouble };
        let mut some = |most: u32| if dice.chance(trouble) { dice.count(1, most) } else { 0 };
        Self {
            no_offers: some(500),
            unprepared: some(200),
            refused: some(500),
            partial: some(500),
            unreported: some(500),
            late: some(500),
            never: some(150),
            slow: some(400),
            dies: some(600),
            untold: some(400),
            ssh: some(500),
            step: some(100),
            cut: some(700),
            reset: some(800),
            worker: some(500),
            frozen: some(600),
            kept: some(700),
            twice: some(800),
            cancel: some(800),
            hasty: some(800),
            capped: if trouble > 0 { 500 } else { 0 },
            unwritten: some(100),
            untagged: some(500),
            lies: some(500),
            asleep: some(800),
            unlocked: some(900),
            second: some(900),
            set: some(500),
            strange: some(500),
            sick: some(300),
            hangs: some(300),
            wrong: some(300),
            bills: if trouble > 0 { 300 } else { 0 },
            hourly: if trouble > 0 { 200 } else { 0 },
        }
    }

    /// From now on clouds do what they are asked for.
    pub(super) const fn calm(&mut self) {
        (self.kept, self.lies, self.unwritten, self.strange) = (0, 0, 0, 0);
    }
}
