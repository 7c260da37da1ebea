//! The worker's one remotable actor: leases, draining, and who is in the pool.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use skyward_runtime::control::{ControlMessage, DrainOrder, Drained, Packed};
use skyward_runtime::inside::InstanceInfo;

use crate::worker::Worker;

/// Answers the owner's commands. Nothing in it waits for tasks: a drain is awaited beside the mailbox,
/// so that renewals go on meanwhile.
pub(crate) struct ControlActor;

/// Starts the actor, before any client can join and any function can run: clients know it as the first.
pub(crate) async fn start(worker: Arc<Worker>) -> Result<(), SpawnErr> {
    // Nameless: when a remote actor with a name dies, ractor forgets the local one of that name.
    Actor::spawn(None, ControlActor, worker).await?;
    Ok(())
}

impl Actor for ControlActor {
    type Msg = ControlMessage;
    type State = Arc<Worker>;
    type Arguments = Arc<Worker>;

    async fn pre_start(
        &self,
        _myself: ActorRef<ControlMessage>,
        worker: Arc<Worker>,
    ) -> Result<Arc<Worker>, ActorProcessingErr> {
        Ok(worker)
    }

    async fn handle(
        &self,
        _myself: ActorRef<ControlMessage>,
        message: ControlMessage,
        worker: &mut Arc<Worker>,
    ) -> Result<(), ActorProcessingErr> {
        // Who sent garbage gets no answer and runs into its deadline. Nor is it an error when nobody
        // waits for an answer any more.
        match message {
            ControlMessage::Renew(renewal, port) => {
                if let Ok(renewal) = renewal.open() {
                    let state = worker.lease.renew(renewal, &worker.seat).await;
                    let _ = port.send(Packed::new(state));
                }
            }
            ControlMessage::Drain(order, port) => {
                if let Ok(DrainOrder { epoch, within, taken }) = order.open()
                    && worker.seat.claim(epoch).is_ok()
                {
                    if let Some(taken) = taken {
                        worker.fate.learn(taken);
                    }
                    let worker = Arc::clone(worker);
                    tokio::spawn(async move {
                        let unfinished = worker.slots.drain(within).await;
                        let unfinished = u32::try_from(unfinished).unwrap_or(u32::MAX);
                        worker.output.settle().await;
                        let _ = port.send(Packed::new(Drained { unfinished }));
                        worker.executor.end().await;
                    });
                }
            }
            ControlMessage::Watch(within, port) => {
                if let Ok(within) = within.open() {
                    let worker = Arc::clone(worker);
                    tokio::spawn(async move {
                        let _ = port.send(Packed::new(worker.fate.known(within).await));
                    });
                }
            }
            ControlMessage::Ping(number, port) => {
                let _ = port.send(number);
            }
            ControlMessage::Peers(roster, port) => {
                if let Ok(roster) = roster.open()
                    && worker.seat.claim(roster.epoch).is_ok()
                {
                    let number = roster.number;
                    worker.executor.introduce(&roster);
                    if !InstanceInfo::introduce(roster) {
                        tracing::debug!(number, "an old roster, or one without this node");
                    }
                    let _ = port.send(Packed::new(number));
                }
            }
        }
        Ok(())
    }
}
