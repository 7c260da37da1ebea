//! The client's side of one pool's control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{ActorCell, ActorRef};
use tokio::sync::watch;

use super::error::ControlError;
use super::member::Member;
use super::messages::ControlMessage;
use super::node::Node;
use super::presence::Presence;
use crate::link::{Identity, Kind, Link};
use crate::model::{Incarnation, PoolId, Secret};

/// Control goes ahead of calls.
const PRIORITY: i32 = 10;

/// The client's side of one pool's control plane. Clones share it; the last one stops it. A process may
/// have many.
#[derive(Clone, Debug)]
pub struct Cluster {
    node: Arc<Node>,
    joins: Arc<AtomicU64>,
}

impl Cluster {
    /// Starts it. Nothing is connected yet.
    ///
    /// # Errors
    /// When the identity cannot be used or no loopback port is free.
    pub async fn start(
        pool: &PoolId,
        cookie: &Secret<String>,
        identity: &Identity,
    ) -> Result<Self, ControlError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|it| ControlError::Start { reason: it.to_string() })?;
        let name = format!("client-{pool}-{}", hex::encode(random));
        let node = Arc::new(Node::start(&name, cookie, identity).await?);
        Ok(Self { node, joins: Arc::default() })
    }

    /// Makes the worker behind a link a member.
    ///
    /// # Errors
    /// When the link is over or the worker does not come up within `deadline`.
    pub async fn join(
        &self,
        link: &Link,
        incarnation: &Incarnation,
        deadline: Duration,
    ) -> Result<Member, ControlError> {
        let late = || ControlError::Late { incarnation: incarnation.clone(), after: deadline };
        let joined = tokio::time::timeout(deadline, async {
            tokio::select! {
                joined = self.enter(link, incarnation) => joined,
                over = link.closed() => Err(ControlError::Link(over)),
            }
        });
        joined.await.unwrap_or_else(|_| Err(late()))
    }

    /// Stops it: every member is down.
    pub async fn stop(&self) {
        self.node.stop().await;
    }

    async fn enter(&self, link: &Link, incarnation: &Incarnation) -> Result<Member, ControlError> {
        let left = || ControlError::Left { incarnation: incarnation.clone() };
        let stream = link.open(Kind::Control, PRIORITY).await?;
        let label = format!("{incarnation}#{}", self.joins.fetch_add(1, Ordering::Relaxed));
        let mut presence = self.node.attach(stream, &label, false)?;
        let actors = up(&mut presence).await.ok_or_else(left)?;
        // The control actor is the worker's first, and its only one unless a function starts others.
        let actor = actors
            .into_iter()
            .next()
            .map(ActorRef::<ControlMessage>::from)
            .ok_or_else(|| ControlError::NotAMember { incarnation: incarnation.clone() })?;
        Ok(Member::new(incarnation.clone(), link.hello().epoch, actor, presence))
    }
}

async fn up(presence: &mut watch::Receiver<Presence>) -> Option<Vec<ActorCell>> {
    let settled = presence.wait_for(|it| !matches!(it, Presence::Connecting)).await.ok()?;
    match &*settled {
        Presence::Ready(actors) => Some(actors.clone()),
        Presence::Connecting | Presence::Gone => None,
    }
}
