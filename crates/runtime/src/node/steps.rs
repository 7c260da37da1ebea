//! The steps of a node's life, each a future that ends in a message to its actor.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;

use super::kit::NodeKit;
use super::messages::Trouble;
use crate::bootstrap::{self, Listening, Progress};
use crate::control::{ControlError, Member};
use crate::journal::{JournalError, KnownNode};
use crate::lease;
use crate::link::{Hello, Link, PROTOCOL};
use crate::model::{Attempt, End, EventKind, Incarnation, InstanceId, Mode, Notice, Rank};
use crate::program::WorkerStart;
use crate::random;
use crate::registry::Registry;
use crate::ssh::Session;

/// One node's view of what it needs.
#[derive(Clone)]
pub(super) struct Steps {
    pub(super) kit: Arc<NodeKit>,
    pub(super) rank: Rank,
    pub(super) incarnation: Incarnation,
}

impl Steps {
    /// Makes the machine what the image asks for. `address`: where its ports are reached, from outside and by other
    /// machines.
    pub(super) async fn bootstrap(
        &self,
        session: &Session,
        address: Option<(IpAddr, IpAddr)>,
    ) -> Result<(), Trouble> {
        let tell = |progress: Progress| self.kit.events.emit(told(self.rank, progress));
        let kit = &self.kit;
        if let Some(address) = address
            && let Err(reason) = self.fetch_files(session, address).await
        {
            tracing::info!(pool = %kit.request.pool, rank = %self.rank, reason, "the client uploads the files itself");
        }
        bootstrap::run(session, &kit.plan, &kit.includes, kit.timing.upload + kit.timing.bootstrap, &tell)
            .await
            .map_err(|error| Trouble {
                retry: error.retry(),
                reason: format!("failed to bootstrap: {error}"),
            })
    }

    /// Where the other nodes reach a machine that is reached there, and from inside its cloud perhaps elsewhere.
    pub(super) fn met_at(&self, address: IpAddr, private: Option<IpAddr>) -> IpAddr {
        private.filter(|_| self.kit.mode == Mode::Cluster).unwrap_or(address)
    }

    /// Uploads the program and starts it as a worker. Returns the port on which it listens. `address` is
    /// where its port is reached from outside.
    pub(super) async fn start_worker(
        &self,
        session: &Session,
        address: IpAddr,
        end: End,
        notice: Notice,
    ) -> Result<Listening, Trouble> {
        let kit = &self.kit;
        // What seems to have ended may be another program's by now, which has started a worker of its own.
        if let Some(record) = &kit.record
            && let Err(error @ JournalError::Superseded { .. }) = record.is_own().await
        {
            return Err(Trouble { reason: error.to_string(), retry: false });
        }
        let program = kit.program.get().await.map_err(|reason| Trouble { reason, retry: false })?;
        let deployed = bootstrap::deploy(session, &program, kit.timing.upload).await.map_err(|error| {
            Trouble { retry: error.retry(), reason: format!("failed to upload the program: {error}") }
        })?;
        let (bytes, sent) = (deployed.bytes, deployed.sent);
        kit.events.emit(EventKind::Deployed { rank: self.rank, bytes, sent });
        let identity = kit
            .authority
            .issue(self.incarnation.as_str())
            .map_err(|error| Trouble { retry: false, reason: error.to_string() })?;
        let start = WorkerStart {
            pool: kit.request.pool.clone(),
            rank: self.rank,
            incarnation: self.incarnation.clone(),
            epoch: kit.epoch,
            listen: listen_at(address),
            identity,
            cookie: kit.cookie.clone(),
            lease: kit.timing.lease,
            end,
            notice,
            slots: kit.worker.concurrency,
            executor: kit.worker.executor,
            reuse: kit.worker.reuse,
            retention: kit.worker.retention,
            kill: kit.timing.kill,
            detect: kit.timing.detect,
            drain: kit.timing.drain,
            inputs: kit.timing.inputs,
            accelerators: kit.request.offer.instance_type.accelerator.iter().cloned().collect(),
            secrets: kit.secrets.clone(),
        };
        bootstrap::start_worker(session, &deployed.path, &start, kit.timing.join).await.map_err(|error| {
            Trouble { retry: error.retry(), reason: format!("failed to start the worker: {error}") }
        })
    }

    /// Writes down how the worker is found again, before it is given anything to do.
    pub(super) async fn write_down(
        &self,
        (attempt, instance): (Attempt, InstanceId),
        session: &Session,
        (address, private, end): (IpAddr, Option<IpAddr>, End),
        Listening { port, tcp, pid }: Listening,
    ) {
        let Some(record) = &self.kit.record else { return };
        let (rank, incarnation, ssh) = (self.rank, self.incarnation.clone(), session.verified());
        let node = KnownNode { rank, attempt, incarnation, ssh, address, private, end, port, tcp, pid };
        if let Err(error) = record.node(&instance, &node).await {
            tracing::warn!(%rank, %error, "a node is not in the journal: nobody could attach to it");
        }
    }

    /// A worker obeys another owner of the pool.
    pub(super) fn superseded(&self) {
        if let Some(record) = &self.kit.record {
            record.is_refused_by_a_worker();
        }
    }

    /// Whether the worker's process has ended. When that cannot be told it counts as running.
    pub(super) async fn has_worker_ended(&self, session: &Session, pid: u32) -> bool {
        let asked = format!("kill -0 {pid} 2>/dev/null && echo running || echo ended");
        let answer = session.run(&asked, Bytes::new(), self.kit.timing.control).await;
        answer.is_ok_and(|it| it.stdout.trim_ascii() == b"ended")
    }

    /// What this client says to the worker first.
    pub(super) async fn hello(&self) -> Result<Hello, Trouble> {
        let kit = &self.kit;
        let program = kit.program.get().await.map_err(|reason| Trouble { reason, retry: false })?;
        let registry =
            Registry::global().map_err(|error| Trouble { reason: error.to_string(), retry: false })?.hash();
        Ok(Hello {
            protocol: PROTOCOL,
            registry,
            program: Some(program.hash().to_owned()),
            pool: kit.request.pool.clone(),
            incarnation: self.incarnation.clone(),
            epoch: kit.epoch,
        })
    }

    /// Joins a linked worker to the cluster.
    pub(super) async fn join(&self, link: &Link) -> Result<Member, Trouble> {
        let joined = self.kit.cluster.join(link, &self.incarnation, self.kit.timing.join).await;
        joined.map_err(|error| Trouble { reason: error.to_string(), retry: true })
    }

    /// Renews the lease the best way there is. `number` grows with each renewal.
    pub(super) async fn renew(&self, member: Option<Member>, session: Option<Session>, number: u64) {
        let timing = &self.kit.timing;
        let mut result = Err("there is no connection to the node".to_owned());
        if let Some(member) = member {
            result = match member.renew(timing.control).await {
                // The lease is another program's to renew.
                Err(ControlError::NotOwner { .. }) => return self.superseded(),
                renewed => renewed.map_err(|error| error.to_string()),
            };
        }
        // The link may be broken without having been noticed yet.
        if let (Err(_), Some(session)) = (&result, session) {
            let command = lease::write_command(&format!("ssh {number}"));
            result = match session.run(&command, Bytes::new(), timing.control).await {
                Ok(output) if output.code == Some(0) => Ok(()),
                Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
                Err(error) => Err(error.to_string()),
            };
        }
        if let Err(reason) = result {
            // Two renewals of three may be lost; a link that is broken is noticed by itself.
            tracing::warn!(pool = %self.kit.request.pool, rank = %self.rank, reason, "lease not renewed");
        }
    }
}

/// Where a worker listens that is reached at this address. Clouds put public addresses before machines
/// that do not have them, so there it listens at all that the machine has; who comes must show the pool's
/// certificate.
pub(super) const fn listen_at(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(it) if !it.is_loopback() => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(it) if !it.is_loopback() => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// A fresh name for a life of a worker.
pub(super) fn incarnation(
    kit: &NodeKit,
    rank: Rank,
    attempt: Attempt,
) -> Result<Incarnation, getrandom::Error> {
    let life = random::text(8)?;
    Ok(Incarnation::new(format!("{}-{rank}-{attempt}-{life}", kit.request.pool)))
}

/// A bootstrap's progress as an event of its node.
fn told(rank: Rank, progress: Progress) -> EventKind {
    match progress {
        Progress::Waiting => EventKind::BootstrapWaiting { rank },
        Progress::Started { step } => EventKind::StepStarted { rank, step },
        Progress::Skipped { step } => EventKind::StepSkipped { rank, step },
        Progress::Output { step, line } => EventKind::StepOutput { rank, step, line },
        Progress::Finished { step, took } => EventKind::StepFinished { rank, step, took },
    }
}
