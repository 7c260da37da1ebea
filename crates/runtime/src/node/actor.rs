//! The NodeActor does what its state decides. It waits for nothing in its mailbox: every step runs
//! beside it and ends in a message.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr};
use tokio::task::AbortHandle;

use super::effect::{Effect, Said};
use super::health::{self, Health};
use super::kit::NodeKit;
use super::messages::{Heard, Leave, NodeMessage, NodeReport, Recipient, Reported, Timer, Trouble};
use super::noticing::Noticing;
use super::reach::Reach;
use super::state::State;
use super::steps::{Steps, incarnation};
use crate::bootstrap::Listening;
use crate::control::Member;
use crate::journal::{JournalError, KnownNode};
use crate::link::{Link, LinkError};
use crate::model::{
    Attempt, Carrier, End, EventKind, HostKey, Incarnation, InstanceId, InstanceState, NodePhase, Rank,
    SshEndpoint,
};
use crate::ssh::{Session, SshError};

#[path = "probing.rs"]
mod probing;

/// A node behind its actor.
#[derive(Clone, Debug)]
pub struct NodeRef {
    actor: ActorRef<NodeMessage>,
}

impl NodeRef {
    /// Begins a node's life on a rented machine, or goes on with one whose worker is known. Its supervisor hears when the actor itself fails.
    ///
    /// # Errors
    /// When the actor cannot be started.
    pub async fn start(
        kit: Arc<NodeKit>,
        (rank, attempt, instance): (Rank, Attempt, InstanceId),
        known: Option<KnownNode>,
        reports: Recipient<NodeReport>,
        supervisor: ActorCell,
    ) -> Result<Self, SpawnErr> {
        let incarnation = match &known {
            Some(known) => known.incarnation.clone(),
            None => {
                incarnation(&kit, rank, attempt).map_err(|error| SpawnErr::StartupFailed(error.into()))?
            }
        };
        let steps = Steps { kit, rank, incarnation };
        let birth = Birth { steps, attempt, instance, known, reports };
        let (actor, _) = Actor::spawn_linked(None, NodeActor, birth, supervisor).await?;
        Ok(Self { actor })
    }

    /// Whether this is the node behind that actor.
    pub(crate) fn is(&self, actor: ActorId) -> bool {
        self.actor.get_id() == actor
    }

    /// Finish what runs, then end. The report follows.
    pub fn drain(&self, leave: Leave) {
        let _ = self.actor.cast(NodeMessage::Drain(leave));
    }

    /// End now. The report follows.
    pub fn stop(&self) {
        let _ = self.actor.cast(NodeMessage::Stop);
    }

    /// Ends now, and waits until it has, for so long at most.
    pub(crate) async fn end(self, within: Duration) {
        self.stop();
        if self.actor.wait(Some(within)).await.is_err() {
            tracing::warn!("a node does not end; please report this");
        }
    }
}

struct NodeActor;

struct Birth {
    steps: Steps,
    attempt: Attempt,
    instance: InstanceId,
    known: Option<KnownNode>,
    reports: Recipient<NodeReport>,
}

struct Doing {
    steps: Steps,
    attempt: Attempt,
    instance: InstanceId,
    reports: Recipient<NodeReport>,
    state: State,
    timers: BTreeMap<Timer, AbortHandle>,
    running: Vec<AbortHandle>,
    /// Who waits for a notice.
    notices: Option<AbortHandle>,
    renewals: u64,
    session: Option<Session>,
    ssh: Option<SshEndpoint>,
    address: Option<(IpAddr, End)>,
    /// Where other machines of the pool reach it, if that is elsewhere.
    private: Option<IpAddr>,
    noticing: Noticing,
    /// What the first link ran over, which says whether UDP gets through at all.
    carrier: Option<Carrier>,
    link: Option<(Link, Member)>,
    /// Whether it is well, where that is asked; which worker was asked last, and what waits to ask again.
    health: Option<Health>,
    asked: Option<Incarnation>,
    due: Option<AbortHandle>,
}

impl Actor for NodeActor {
    type Msg = NodeMessage;
    type State = Doing;
    type Arguments = Birth;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        birth: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let Birth { steps, attempt, instance, known, reports } = birth;
        let worker = known.as_ref().map(|it| Listening { port: it.port, tcp: it.tcp, pid: it.pid });
        myself.cast(NodeMessage::Heard(worker.map_or(Heard::Born, Heard::Adopted)))?;
        let noticing = Noticing::new(known.is_some());
        let health = steps.kit.probe.as_ref().map(|it| Health::new(it.terms));
        Ok(Doing {
            steps,
            attempt,
            instance,
            reports,
            state: State::Unborn,
            timers: BTreeMap::new(),
            running: Vec::new(),
            notices: None,
            renewals: 0,
            session: None,
            ssh: known.as_ref().map(|it| it.ssh.clone()),
            private: known.as_ref().and_then(|it| it.private),
            address: known.map(|it| (it.address, it.end)),
            noticing,
            carrier: None,
            link: None,
            health,
            asked: None,
            due: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        doing: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(heard) = doing.take_in(message, &myself) else { return Ok(()) };
        let timing = doing.steps.kit.timing.clone();
        for effect in doing.state.hear(heard, Instant::now(), &timing) {
            doing.act(effect, &myself);
        }
        Ok(())
    }
}

impl Doing {
    /// Keeps what only the shell may hold (session, link) and passes on the rest.
    fn take_in(&mut self, message: NodeMessage, myself: &ActorRef<NodeMessage>) -> Option<Heard> {
        Some(match message {
            NodeMessage::Heard(heard) => {
                if let Heard::Described(described) = &heard {
                    self.hear_notice(described, myself);
                }
                if let Heard::Described(Ok(InstanceState::Running { ssh, address, private, end, .. })) =
                    &heard
                {
                    // A key that was seen before is better than none.
                    let seen = self.ssh.take().filter(|it| {
                        ssh.host_key == HostKey::PinOnFirstUse
                            && (&it.host, it.port, &it.user) == (&ssh.host, ssh.port, &ssh.user)
                    });
                    self.ssh = Some(seen.unwrap_or_else(|| ssh.clone()));
                    self.address = Some((*address, end.clone()));
                    self.private = *private;
                }
                // Also one that came of a dial that nothing waits for any more: renewals must not go there.
                if matches!(heard, Heard::LinkClosed { .. }) {
                    let over = self.link.take_if(|(link, _)| link.over().is_some());
                    // Whoever fell silent took the session along that carried it.
                    if over.is_some_and(|(link, _)| {
                        link.carrier() == Carrier::Ssh && link.over() == Some(LinkError::Silent)
                    }) {
                        self.session = None;
                    }
                }
                heard
            }
            NodeMessage::Reached(session) => {
                if let Some(fingerprint) = session.pinned() {
                    let fingerprint = fingerprint.to_owned();
                    self.steps
                        .kit
                        .events
                        .emit(EventKind::HostKeyPinned { rank: self.steps.rank, fingerprint });
                }
                self.keep_session(session, myself);
                Heard::Reached(Ok(()))
            }
            NodeMessage::Linked(link, member) => {
                let (rank, carrier) = (self.steps.rank, link.carrier());
                self.steps.kit.events.emit(EventKind::Linked { rank, carrier });
                self.carrier.get_or_insert(carrier);
                self.watch(link.clone(), member.clone(), myself);
                self.follow_notice(member.clone(), myself);
                self.link = Some((link, member));
                Heard::Linked(Ok(()))
            }
            NodeMessage::Reconnected(session) => {
                self.keep_session(session, myself);
                return None;
            }
            NodeMessage::Health(heard) => return self.look_after(heard, myself),
            NodeMessage::Woke(Timer::Look) => {
                self.describe(myself);
                return None;
            }
            NodeMessage::Woke(timer) => Heard::Woke(timer),
            NodeMessage::Drain(leave) => Heard::Drain(leave),
            NodeMessage::Stop => Heard::Stop,
        })
    }

    fn act(&mut self, effect: Effect, myself: &ActorRef<NodeMessage>) {
        match effect {
            Effect::Describe => self.describe(myself),
            Effect::Reach(endpoint) => {
                let steps = self.steps.clone();
                self.begin(myself, async move {
                    let kit = &steps.kit;
                    match Session::connect(&endpoint, &kit.ssh_key, &kit.timing).await {
                        Ok(session) => NodeMessage::Reached(session),
                        Err(error @ SshError::Rejected { .. }) => {
                            NodeMessage::Heard(Heard::KeyRefused { reason: error.to_string() })
                        }
                        Err(error) => NodeMessage::Heard(Heard::Reached(Err(Trouble::from(&error)))),
                    }
                });
            }
            Effect::Bootstrap => {
                let address = self.address.as_ref().map(|it| (it.0, self.steps.met_at(it.0, self.private)));
                self.with_session(myself, Heard::Bootstrapped, move |steps, session| async move {
                    steps.bootstrap(&session, address).await
                })
            }
            Effect::StartWorker => self.start_worker(myself),
            Effect::CheckWorker { pid } => {
                let reach = self.reach(myself);
                self.begin(myself, async move {
                    let ended = match reach.session().await {
                        Ok(session) => reach.steps.has_worker_ended(&session, pid).await,
                        // It cannot be told.
                        Err(_) => false,
                    };
                    NodeMessage::Heard(Heard::WorkerEnded(ended))
                });
            }
            Effect::Link(worker) => self.dial(worker, myself),
            Effect::Renew => {
                self.renewals += 1;
                let (steps, number) = (self.steps.clone(), self.renewals);
                let member = self.link.as_ref().map(|(_, member)| member.clone());
                let session = self.session.clone();
                self.keep(
                    tokio::spawn(async move { steps.renew(member, session, number).await }).abort_handle(),
                );
            }
            Effect::Drain(Leave { within, preempted }) => {
                // Its end is decided.
                self.health = None;
                let linked = self.link.clone();
                // Where the pool goes on. When it ends, nobody waits for what is on its way.
                let goes_on = preempted || within > self.steps.kit.timing.drain;
                let (record, instance) = (self.steps.kit.record.clone(), self.instance.clone());
                self.begin(myself, async move {
                    // Its worker takes nothing any more, from nobody.
                    if let Some(record) = record.filter(|_| goes_on)
                        && let Err(error) = record.leaves(&instance).await
                    {
                        tracing::warn!(%error, "a node that leaves passes for one that stays");
                        // Another program has it, and its worker works for that one.
                        if matches!(error, JournalError::Superseded { .. }) {
                            return NodeMessage::Heard(Heard::Drained);
                        }
                    }
                    if let Some((link, member)) = linked {
                        if let Err(error) = member.drain(within, preempted).await {
                            tracing::debug!(%error, "worker did not drain");
                        }
                        // The last outcomes and files may be on their way; how long that may take is the state's to
                        // say.
                        if goes_on {
                            link.settled().await;
                            link.unused().await;
                        }
                    }
                    NodeMessage::Heard(Heard::Drained)
                });
            }
            Effect::Wake(timer, after) => self.wake(timer, after, myself),
            Effect::Quiet(timer) => self.quiet(timer),
            // It is ready when it is known to be well.
            Effect::Announce(Said::Entered(NodePhase::Ready)) if self.is_to_be_probed() => {
                self.announce(Said::Entered(NodePhase::Probing));
            }
            Effect::Announce(said) => self.announce(said),
            Effect::ReportReady if self.health.is_some() => {
                let fresh = self.asked.as_ref() != Some(&self.steps.incarnation);
                self.asked = Some(self.steps.incarnation.clone());
                self.look_after_link(health::Heard::Linked { fresh }, myself);
            }
            Effect::ReportReady => self.report_ready(),
            Effect::ReportPaused => {
                self.link = None;
                self.look_after_link(health::Heard::Unlinked, myself);
                self.report(Reported::Paused);
            }
            Effect::ReportCrashed => self.report(Reported::Crashed),
            Effect::ReportNoticed { within, reason } => self.report(Reported::Noticed { within, reason }),
            Effect::End { reason, retry } => {
                self.let_go();
                self.report(Reported::Gone { reason, retry });
                myself.stop(None);
            }
        }
    }

    fn describe(&mut self, myself: &ActorRef<NodeMessage>) {
        let (kit, id) = (Arc::clone(&self.steps.kit), self.instance.clone());
        self.begin(myself, async move {
            let described = kit.provider.describe(Arc::clone(&kit.request), id, kit.timing.provision).await;
            let described = described.map(|it| it.state).map_err(|error| error.to_string());
            NodeMessage::Heard(Heard::Described(described))
        });
    }

    /// Each worker has an incarnation of its own, so that nothing meant for the last one reaches it.
    fn start_worker(&mut self, myself: &ActorRef<NodeMessage>) {
        let (address, private, notice) = (self.address.clone(), self.private, self.noticing.notice());
        let incarnation = incarnation(&self.steps.kit, self.steps.rank, self.attempt);
        if let Ok(incarnation) = &incarnation {
            self.steps.incarnation = incarnation.clone();
        }
        let place = (self.attempt, self.instance.clone());
        self.with_session(myself, Heard::Started, move |steps, session| async move {
            let never = |reason: String| Trouble { reason, retry: false };
            incarnation.map_err(|error| never(format!("the system has no random numbers: {error}")))?;
            let (listen, end) = address.ok_or_else(|| never("the machine has no address".to_owned()))?;
            let worker = steps.start_worker(&session, listen, end.clone(), notice).await?;
            steps.write_down(place, &session, (listen, private, end), worker).await;
            Ok(worker)
        });
    }

    fn dial(&mut self, worker: Listening, myself: &ActorRef<NodeMessage>) {
        let (reach, first) = (self.reach(myself), self.carrier);
        let address = self.address.as_ref().map(|it| it.0);
        self.begin(myself, async move {
            let linked = match address {
                Some(address) => reach.link(address, worker, first).await,
                None => Err(Trouble { reason: "the machine has no address".to_owned(), retry: false }),
            };
            match linked {
                Ok((link, member)) => NodeMessage::Linked(link, member),
                Err(trouble) => NodeMessage::Heard(Heard::Linked(Err(trouble))),
            }
        });
    }

    /// Keeps a session and tells the actor when it is over.
    fn keep_session(&mut self, session: Session, myself: &ActorRef<NodeMessage>) {
        let closed = session.clone();
        self.begin(myself, async move {
            closed.closed().await;
            NodeMessage::Heard(Heard::SessionClosed)
        });
        self.session = Some(session);
    }

    /// Tells the actor once when the link or the membership ends.
    fn watch(&mut self, link: Link, member: Member, myself: &ActorRef<NodeMessage>) {
        self.begin(myself, async move {
            let reason = tokio::select! {
                // A link that is over ends the membership too: then its own reason is the one to tell.
                biased;
                error = link.closed() => error.to_string(),
                () = member.down() => {
                    link.close("the worker left the cluster");
                    "the worker left the cluster".to_owned()
                }
            };
            NodeMessage::Heard(Heard::LinkClosed { reason })
        });
    }

    /// What a step needs to reach the machine.
    fn reach(&self, myself: &ActorRef<NodeMessage>) -> Reach {
        let myself = myself.clone();
        Reach {
            steps: self.steps.clone(),
            ssh: self.ssh.clone(),
            session: self.session.clone(),
            // It fails only when the node has ended, and the session ends with the step then.
            keep: Box::new(move |session| drop(myself.cast(NodeMessage::Reconnected(session)))),
        }
    }

    /// Runs a step that needs an SSH session.
    fn with_session<T, F>(
        &mut self,
        myself: &ActorRef<NodeMessage>,
        heard: impl FnOnce(Result<T, Trouble>) -> Heard + Send + 'static,
        step: impl FnOnce(Steps, Session) -> F + Send + 'static,
    ) where
        T: Send,
        F: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        let reach = self.reach(myself);
        self.begin(myself, async move {
            let done = match reach.session().await {
                Ok(session) => step(reach.steps.clone(), session).await,
                Err(trouble) => Err(trouble),
            };
            NodeMessage::Heard(heard(done))
        });
    }

    fn begin(
        &mut self,
        myself: &ActorRef<NodeMessage>,
        step: impl Future<Output = NodeMessage> + Send + 'static,
    ) {
        let myself = myself.clone();
        let handle = tokio::spawn(async move {
            // Fails only when the node has ended meanwhile; what the step brought is dropped with it.
            let _ = myself.cast(step.await);
        });
        self.keep(handle.abort_handle());
    }

    fn keep(&mut self, handle: AbortHandle) {
        self.running.retain(|it| !it.is_finished());
        self.running.push(handle);
    }

    fn wake(&mut self, timer: Timer, after: Duration, myself: &ActorRef<NodeMessage>) {
        self.quiet(timer);
        let handle = myself.send_after(after, move || NodeMessage::Woke(timer));
        self.timers.insert(timer, handle.abort_handle());
    }

    fn quiet(&mut self, timer: Timer) {
        if let Some(handle) = self.timers.remove(&timer) {
            handle.abort();
        }
    }

    fn let_go(&mut self) {
        for handle in std::mem::take(&mut self.timers)
            .into_values()
            .chain(self.running.drain(..))
            .chain(self.notices.take())
            .chain(self.due.take())
        {
            handle.abort();
        }
        if let Some((link, _)) = self.link.take() {
            link.close("the node has ended");
        }
        self.session = None;
    }

    fn report(&self, what: Reported) {
        (self.reports)(NodeReport { rank: self.steps.rank, attempt: self.attempt, what });
    }
}
