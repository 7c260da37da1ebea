//! Which sessions are up: what ractor's node server tells about each, by the label of its stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ractor::ActorCell;
use ractor_cluster::NodeEventSubscription;
use ractor_cluster::node::NodeServerSessionInformation;
use tokio::sync::watch;

/// Where one session is in its life.
///
/// ```text
/// Connecting -> Ready -> Gone
///           `-----------^
/// ```
#[derive(Clone, Debug)]
pub(super) enum Presence {
    Connecting,
    /// Both sides have told each other their actors. With the other side's, oldest first.
    Ready(Vec<ActorCell>),
    Gone,
}

/// All sessions of one node server. Shared between it and those who wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Presences(Arc<Mutex<BTreeMap<String, watch::Sender<Presence>>>>);

impl Presences {
    /// Expects a session whose stream has this label.
    pub(super) fn expect(&self, label: &str) -> watch::Receiver<Presence> {
        let (sender, receiver) = watch::channel(Presence::Connecting);
        self.with(|it| it.insert(label.to_owned(), sender));
        receiver
    }

    /// The session ended, or was never started.
    pub(super) fn gone(&self, label: &str) {
        if let Some(sender) = self.with(|it| it.remove(label)) {
            sender.send_replace(Presence::Gone);
        }
    }

    /// Every session ended.
    pub(super) fn all_gone(&self) {
        for sender in self.with(std::mem::take).into_values() {
            sender.send_replace(Presence::Gone);
        }
    }

    fn ready(&self, label: &str, actors: Vec<ActorCell>) {
        self.with(|it| {
            if let Some(sender) = it.get(label) {
                sender.send_replace(Presence::Ready(actors));
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<String, watch::Sender<Presence>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The node server's side of [`Presences`]. It drops this when it ends, and its sessions end with it.
pub(super) struct Subscription(pub(super) Presences);

impl Presence {
    pub(super) const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
    }
}

impl NodeEventSubscription for Subscription {
    fn node_session_opened(&self, _session: NodeServerSessionInformation) {}

    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        // Asked of the session and not of a process group: ractor numbers the remote actors of every
        // node server of a process alike, so when one of another pool dies, its number leaves all
        // groups, ours too. A session's own children cannot be confused.
        let mut actors = session.actor.get_cell().get_children();
        actors.retain(|it| !it.get_id().is_local());
        actors.sort_by_key(|it| it.get_id().pid());
        self.0.ready(&session.peer_addr, actors);
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        self.0.gone(&session.peer_addr);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.0.all_gone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_told_by_its_label() {
        let presences = Presences::default();
        let (a, b) = (presences.expect("a"), presences.expect("b"));
        presences.ready("a", Vec::new());
        presences.ready("stranger", Vec::new());
        assert!(matches!(*a.borrow(), Presence::Ready(_)));
        assert!(matches!(*b.borrow(), Presence::Connecting));
        presences.gone("b");
        assert!(b.borrow().is_gone() && !a.borrow().is_gone());
        drop(Subscription(presences));
        assert!(a.borrow().is_gone());
    }
}
