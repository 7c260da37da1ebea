//! How the NodeActor learns that its node will not do: it asks whether it is well, holds it back until it is, and listens
//! for the notice that its machine will be taken.

use std::sync::Arc;

use ractor::ActorRef;

use super::Doing;
use crate::control::{Member, Taken};
use crate::model::{Instance, InstanceState, NodePhase, Notice};
use crate::node::effect::Said;
use crate::node::health;
use crate::node::messages::{Heard, NodeMessage, Reported, Timer};
use crate::node::noticing::Next;

impl Doing {
    pub(super) fn announce(&self, said: Said) {
        self.steps.kit.events.emit(said.event(self.steps.rank, self.attempt));
    }

    pub(super) fn report_ready(&self) {
        if let (Some((link, member)), Some((address, _)), Some(port)) =
            (&self.link, &self.address, self.state.port())
        {
            let (link, member) = (link.clone(), member.clone());
            let address = self.steps.met_at(*address, self.private);
            self.report(Reported::Ready { link, member, address, port });
        }
    }

    /// Whether nobody knows yet how the present worker is.
    pub(super) fn is_to_be_probed(&self) -> bool {
        let same = self.asked.as_ref() == Some(&self.steps.incarnation);
        self.health.as_ref().is_some_and(|it| !(same && it.is_well()))
    }

    /// Does what its health wants. What is returned the node has to hear before anything else: its life and its health
    /// change together.
    pub(super) fn look_after(
        &mut self,
        heard: health::Heard,
        myself: &ActorRef<NodeMessage>,
    ) -> Option<Heard> {
        let effects = self.health.as_mut().map(|it| it.hear(heard)).unwrap_or_default();
        let mut bad = None;
        for effect in effects {
            match effect {
                health::Effect::Wait { number, after } => {
                    let due = move || NodeMessage::Health(health::Heard::Due { number });
                    let due = myself.send_after(after, due).abort_handle();
                    if let Some(before) = self.due.replace(due) {
                        before.abort();
                    }
                }
                health::Effect::Probe { number } => {
                    if let (Some(probe), Some((link, _))) = (self.steps.kit.probe.clone(), self.link.clone())
                    {
                        self.begin(myself, async move { NodeMessage::Health(probe.ask(link, number).await) });
                    }
                }
                health::Effect::Ready { first } => {
                    if first {
                        self.announce(Said::Entered(NodePhase::Ready));
                    }
                    self.report_ready();
                }
                health::Effect::Failed { failed, reason } => {
                    self.announce(Said::ProbeFailed(failed, reason));
                }
                health::Effect::Bad { was_ready, reason } => {
                    bad = Some(Heard::Unhealthy { was_ready, reason });
                }
            }
        }
        bad
    }

    /// Tells its health of the link, because of which nobody is bad.
    pub(super) fn look_after_link(&mut self, heard: health::Heard, myself: &ActorRef<NodeMessage>) {
        drop(self.look_after(heard, myself));
    }

    /// The provider has said something of the machine: perhaps how it is told that it will be taken.
    pub(super) fn hear_notice(
        &mut self,
        described: &Result<InstanceState, String>,
        myself: &ActorRef<NodeMessage>,
    ) {
        let member = self.link.as_ref().map(|(_, member)| member.clone());
        let again = self.steps.kit.timing.boot_poll;
        match (self.noticing.described(described, member.is_some(), &again), member) {
            (Some(Next::Follow), Some(member)) => self.follow_notice(member, myself),
            (Some(Next::Ask(after)), _) => self.wake(Timer::Look, after, myself),
            (Some(Next::Follow) | None, _) => {}
        }
    }

    /// Tells the actor once when it is heard that the machine will be taken, for as long as the link lasts.
    pub(super) fn follow_notice(&mut self, member: Member, myself: &ActorRef<NodeMessage>) {
        let (kit, id) = (Arc::clone(&self.steps.kit), self.instance.clone());
        let notice = self.noticing.notice();
        let follow = async move {
            match notice {
                Notice::None => std::future::pending().await,
                Notice::Command { .. } => {
                    let Taken { within, reason } = member.taken(kit.timing.control).await;
                    Heard::Noticed { within, reason }
                }
                Notice::Described { every } => loop {
                    tokio::time::sleep(every).await;
                    let asked =
                        kit.provider.describe(Arc::clone(&kit.request), id.clone(), kit.timing.provision);
                    if let Ok(Instance { state: state @ InstanceState::Leaving { .. }, .. }) = asked.await {
                        break Heard::Described(Ok(state));
                    }
                },
            }
        };
        if let Some(handle) = self.notices.take() {
            handle.abort();
        }
        let myself = myself.clone();
        let handle = tokio::spawn(async move {
            // Fails only when the node has ended meanwhile.
            let _ = myself.cast(NodeMessage::Heard(follow.await));
        });
        self.notices = Some(handle.abort_handle());
    }
}
