//! The steps of a pool's life, each a future that ends in a message to its actor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;

use super::adopting::{Inherited, inherited};
use super::asking::plan_by;
use super::error::StartError;
use super::key_file::KeyFile;
use super::keys::Keys;
use super::messages::{Heard, PoolMessage, Shortfall};
use super::offers::Terms;
use super::plan::Candidate;
use super::request::PoolRequest;
use crate::bootstrap::{self, Includes};
use crate::journal::{KnownPool, Recorded};
use crate::lease;
use crate::link::Link;
use crate::model::{
    Architecture, Attempt, Carrier, Epoch, EventKind, InstanceId, InstanceState, KeptMachine, Leftover, Mode,
    Rank,
};
use crate::node::{NodeKit, ProgramCell};
use crate::output::{self, Hub};
use crate::provider::{ProviderRef, Request};
use crate::spread::Spreads;
use crate::ssh::Session;
use crate::timing::Timing;

/// Asks every spec's provider at once, and ranks what they offer.
pub(super) async fn ask_offers(request: Arc<PoolRequest>, providers: Vec<ProviderRef>) -> PoolMessage {
    let terms = Terms {
        selection: request.selection.clone(),
        max_hourly_cost: request.max_hourly_cost,
        architecture: Architecture::here(),
    };
    let times = (request.timing.offers, request.timing.ttl);
    PoolMessage::heard(Heard::Offered(plan_by(&request.specs, &providers, request.nodes, terms, times).await))
}

/// Checks the image, packs its files, makes the keys and sets the provider up. Nothing is rented yet.
/// `before`: what an earlier candidate of this pool was set up with, whose keys serve this one too.
pub(super) async fn prepare(
    request: Arc<PoolRequest>,
    provider: ProviderRef,
    candidate: Candidate,
    lease: Duration,
    before: Option<Arc<NodeKit>>,
) -> PoolMessage {
    let kit = match make_kit(&request, provider, candidate, lease, before, None).await {
        Ok(kit) => Arc::new(kit),
        Err(error) => return PoolMessage::heard(Heard::Prepared(Err(error))),
    };
    match set_up(&kit).await {
        Ok(()) => PoolMessage::Prepared(kit),
        // A request that took too long was broken off, and its provider could not clean up.
        Err(error) => PoolMessage::Unprepared(kit, error),
    }
}

/// Goes on with what another program has set up: with its keys, and what it told each provider.
pub(super) async fn readopt(
    request: Arc<PoolRequest>,
    providers: Vec<ProviderRef>,
    pool: Arc<KnownPool>,
) -> PoolMessage {
    let mut kits: Vec<(Arc<NodeKit>, Vec<InstanceId>)> = Vec::new();
    let mut unheard: Vec<Arc<NodeKit>> = Vec::new();
    for Inherited { candidate, deed, machines, is_unheard } in inherited(&pool) {
        let Some(provider) = providers.get(candidate.spec).cloned() else { continue };
        let before = kits.first().map(|(kit, _)| Arc::clone(kit));
        let lease = deed.request.lease;
        match make_kit(&request, provider, candidate, lease, before, Some(deed.request.clone())).await {
            Ok(kit) => {
                let kit = Arc::new(kit);
                if is_unheard {
                    unheard.push(Arc::clone(&kit));
                }
                kits.push((kit, machines));
            }
            Err(error) => return PoolMessage::heard(Heard::Prepared(Err(error))),
        }
    }
    let Some((last, _)) = kits.last() else {
        let reason = "nothing of the pool can be read from the journal".to_owned();
        return PoolMessage::heard(Heard::Prepared(Err(StartError::Internal(reason))));
    };
    match set_up(last).await {
        Ok(()) => PoolMessage::Readopted { kits, unheard },
        Err(error) => PoolMessage::heard(Heard::Prepared(Err(error))),
    }
}

/// Sets up what the machines need, and says what they cannot do.
async fn set_up(kit: &NodeKit) -> Result<(), StartError> {
    if !kit.provider.provider().capabilities().ends_itself {
        let provider = kit.provider.provider().name().to_owned();
        tracing::warn!(%provider, "its machines cannot end their own bill if this program is killed");
        kit.events.emit(EventKind::Unattended { provider });
    }
    let prepared = kit.provider.prepare(Arc::clone(&kit.request), kit.timing.provision).await;
    prepared.map_err(|error| {
        let provider = kit.provider.provider().name().to_owned();
        StartError::Prepare { provider, reason: error.to_string() }
    })
}

async fn make_kit(
    request: &PoolRequest,
    provider: ProviderRef,
    candidate: Candidate,
    lease: Duration,
    before: Option<Arc<NodeKit>>,
    known: Option<Request>,
) -> Result<NodeKit, StartError> {
    let capabilities = provider.provider().capabilities();
    // Packing begins now, so that the program is ready when the first machine is.
    let program = ProgramCell::start(provider.provider().program(), !capabilities.same_computer);
    let spec = request.specs.get(candidate.spec);
    let image = spec.and_then(|it| it.image.clone()).unwrap_or_else(|| request.image.clone());
    let plan =
        bootstrap::plan(&image, &capabilities).map_err(|error| StartError::Image(error.to_string()))?;
    let includes = tokio::task::spawn_blocking(move || Includes::pack(&image))
        .await
        .map_err(|error| StartError::Internal(format!("failed to pack the included files: {error}")))?
        .map_err(|error| StartError::Image(error.to_string()))?;
    for note in includes.notes() {
        request.events.emit(EventKind::Included { note: note.clone() });
    }
    let boot = request.timing.boot_of(capabilities.boot);
    let timing = Timing { lease, boot, ..request.timing.clone() };
    let pool = request.events.pool();
    let record = request.record.clone();
    let keys = match (before, &record, &request.adopted) {
        (Some(kit), _, _) => Keys::of(&kit),
        (None, Some(record), Some(_)) => {
            Keys::restore(record, &timing).await.map_err(StartError::Internal)?
        }
        (None, record, _) => {
            Keys::make(pool, &timing, record.as_ref()).await.map_err(StartError::Internal)?
        }
    };
    let provider = match &record {
        Some(record) => {
            let terms = serde_json::to_string(&candidate).unwrap_or_default();
            let record = Arc::clone(record);
            provider.by_way_of(|it| Arc::new(Recorded::new(it, record, terms)))
        }
        None => provider,
    };
    let wanted = spec.map(|it| it.requirements.clone()).unwrap_or_default();
    let asked = known.unwrap_or_else(|| Request {
        pool: pool.clone(),
        offer: candidate.offer,
        market: candidate.tariff.market,
        disk_gb: wanted.disk_gb.filter(|_| capabilities.sized_disk),
        volumes: wanted.volumes,
        ssh_key: keys.ssh.public().to_owned(),
        lease,
    });
    let nodes = spec.and_then(|it| it.nodes).unwrap_or(request.nodes);
    let passes_on = request.mode() == Mode::Cluster && nodes.desired > 1 && !capabilities.same_computer;
    Ok(NodeKit {
        provider,
        request: Arc::new(asked),
        plan,
        includes,
        files: passes_on.then(|| Spreads::new(request.events.clone())),
        program,
        ssh_key: keys.ssh,
        authority: keys.authority,
        dialer: keys.dialer,
        cluster: keys.cluster,
        cookie: keys.cookie,
        epoch: record.as_ref().map_or(Epoch(1), |it| it.epoch()),
        secrets: request.secrets.clone(),
        carrier: match request.carrier {
            Carrier::Auto if !capabilities.udp => Carrier::Ssh,
            carrier => carrier,
        },
        mode: request.mode(),
        worker: request.worker,
        probe: request.probe.clone(),
        timing,
        events: request.events.clone(),
        record,
    })
}

/// Rents machines.
pub(super) async fn provision(kit: Arc<NodeKit>, request: Attempt, count: u32) -> PoolMessage {
    let told = kit.provider.provision(Arc::clone(&kit.request), count, kit.timing.provision).await;
    let shortfall = |error: &crate::provider::ProviderError| Shortfall {
        reason: error.to_string(),
        kind: error.kind,
        after: error.after,
        unsure: error.unsure,
    };
    let (instances, shortfall) = match told {
        Ok(given) => {
            let instances: Vec<InstanceId> = given.instances.into_iter().map(|it| it.id).collect();
            (instances, given.shortfall.as_ref().map(shortfall))
        }
        Err(error) => (Vec::new(), Some(shortfall(&error))),
    };
    PoolMessage::Provisioned { kit, request, instances, shortfall }
}

/// Lets a machine that failed live on for a while. What guards its lease does so from what the lease's
/// file says, so that it ends in time even when this program does not live to see that.
pub(super) async fn keep(kit: Arc<NodeKit>, rank: Rank, instance: InstanceId) -> PoolMessage {
    let deadline = kit.timing.ssh_dial + kit.timing.control * 2;
    let kept = tokio::time::timeout(deadline, try_keep(&kit, rank, &instance)).await;
    let kept = kept.unwrap_or_else(|_| Err(format!("it did not answer within {deadline:?}")));
    PoolMessage::Kept { instance, kept }
}

async fn try_keep(
    kit: &NodeKit,
    rank: Rank,
    instance: &InstanceId,
) -> Result<(KeptMachine, KeyFile), String> {
    let (timing, length) = (&kit.timing, kit.timing.keep);
    let told = kit.provider.describe(Arc::clone(&kit.request), instance.clone(), timing.provision).await;
    let endpoint = match told.map_err(|error| error.to_string())?.state {
        InstanceState::Running { ssh, .. } => ssh,
        InstanceState::Leaving { reason, .. } => return Err(format!("it is about to be taken: {reason}")),
        InstanceState::Pending => return Err("it has no address".to_owned()),
        InstanceState::Gone { reason, .. } => return Err(format!("it is gone: {reason}")),
    };
    let session = Session::connect(&endpoint, &kit.ssh_key, timing).await.map_err(|it| it.to_string())?;
    let until = SystemTime::now() + length;
    let key = KeyFile::write(&kit.request.pool, instance, until, &kit.ssh_key, &endpoint)
        .map_err(|error| format!("failed to write its key down: {error}"))?;
    let command = lease::write_command(&lease::keep(length));
    match session.run(&command, Bytes::new(), timing.control).await {
        Ok(output) if output.code == Some(0) => {}
        Ok(output) => return Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let ssh = key.command(&endpoint);
    Ok((KeptMachine { rank, instance: instance.clone(), ssh, length, until }, key))
}

/// Gives machines back, each to the provider that it was rented from, all providers at once.
pub(super) async fn terminate(homes: Vec<(Arc<NodeKit>, Vec<InstanceId>)>) -> Result<(), String> {
    let asked =
        homes.into_iter().filter(|(_, instances)| !instances.is_empty()).map(|(kit, instances)| async move {
            let request = Arc::clone(&kit.request);
            let deadline = within(&kit, instances.len());
            kit.provider.terminate(request, instances, deadline).await
        });
    let failed: Vec<String> =
        join_all(asked).await.into_iter().filter_map(|it| Some(it.err()?.to_string())).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// How long a provider may take to give so many machines back.
pub(super) fn within(kit: &NodeKit, machines: usize) -> Duration {
    kit.timing.giving_back(machines, kit.provider.provider().capabilities().pace)
}

/// Undoes every preparation, the last one first; what one of them leaves does not keep the others. `machines`: how
/// many there were.
pub(super) async fn teardown(kits: Vec<Arc<NodeKit>>, machines: usize) -> PoolMessage {
    let (mut left, mut failed) = (Vec::new(), Vec::new());
    for kit in kits.iter().rev() {
        match kit.provider.teardown(Arc::clone(&kit.request), within(kit, machines)).await {
            Ok(kept) => left.extend(kept),
            Err(error) => failed.push(error.to_string()),
        }
    }
    left.dedup();
    PoolMessage::heard(Heard::TornDown(if failed.is_empty() {
        Ok(left)
    } else {
        failed.extend(left.iter().map(|it: &Leftover| format!("left: {it}")));
        Err(failed.join("; "))
    }))
}

/// Takes in what the node writes, for as long as this link of it lasts.
pub(super) fn gather_output(hub: &Hub, rank: Rank, link: &Link) {
    let (hub, link) = (hub.clone(), link.clone());
    tokio::spawn(async move {
        if let Err(over) = output::collect(&hub, rank, &link).await {
            tracing::debug!(%rank, %over, "no more output over this link");
        }
    });
}

/// The machines, by what they were rented with.
pub(super) fn by_home(
    homes: &BTreeMap<InstanceId, Arc<NodeKit>>,
    instances: &[InstanceId],
) -> Vec<(Arc<NodeKit>, Vec<InstanceId>)> {
    let mut found: Vec<(Arc<NodeKit>, Vec<InstanceId>)> = Vec::new();
    for instance in instances {
        let Some(kit) = homes.get(instance) else { continue };
        match found.iter_mut().find(|(home, _)| Arc::ptr_eq(home, kit)) {
            Some((_, own)) => own.push(instance.clone()),
            None => found.push((Arc::clone(kit), vec![instance.clone()])),
        }
    }
    found
}
