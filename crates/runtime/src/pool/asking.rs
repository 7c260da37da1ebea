//! Asks the providers of all specs for offers, at once, and plans with what they say.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::join_all;

use super::offers::{Asked, Terms, rank};
use super::plan::Plan;
use super::spec::Spec;
use crate::model::{InvalidRequest, Nodes, Offer};
use crate::provider::{Provider, ProviderError, ProviderRef};

/// Plans without renting anything: asks every spec's provider, each for `deadline` at most.
///
/// # Errors
/// When a spec asks for what nothing can give. A provider that fails is told in the plan.
///
/// # Cancellation
/// Nothing is begun that a cloud would have to be told of.
pub async fn plan(
    specs: &[Spec],
    nodes: Nodes,
    terms: Terms,
    deadline: Duration,
) -> Result<Plan, InvalidRequest> {
    specs.iter().try_for_each(|it| it.validated(nodes))?;
    let ask = async |provider: Arc<dyn Provider>| {
        let offers = tokio::time::timeout(deadline, provider.offers().try_collect()).await;
        let late =
            |_| Err(format!("{} did not list offers within {deadline:?}; is it reachable?", provider.name()));
        offers
            .map_or_else(late, |it: Result<Vec<Offer>, ProviderError>| it.map_err(|error| error.to_string()))
    };
    let told = join_all(distinct(specs).into_iter().map(|it| ask(Arc::clone(it)))).await;
    Ok(ranked(specs.to_vec(), nodes, terms, told).await)
}

/// The same by way of the providers' actors, for a pool that goes on to rent. `ttl`: how long machines of clouds
/// live on without their client, where their spec does not say.
pub(super) async fn plan_by(
    specs: &[Spec],
    providers: &[ProviderRef],
    nodes: Nodes,
    terms: Terms,
    (deadline, ttl): (Duration, Duration),
) -> Plan {
    let actor =
        |provider: &Arc<dyn Provider>| providers.iter().find(|it| Arc::ptr_eq(it.provider(), provider));
    let asked = distinct(specs).into_iter().map(|provider| async move {
        match actor(provider) {
            Some(actor) => actor.offers(deadline).await.map_err(|error| error.to_string()),
            None => Err(format!("{} has no actor", provider.name())),
        }
    });
    let told = join_all(asked).await;
    let mut plan = ranked(specs.to_vec(), nodes, terms, told).await;
    for candidate in &mut plan.candidates {
        let provider = specs.get(candidate.spec).map(Spec::provider);
        let is_here = provider.is_some_and(|it| it.capabilities().same_computer);
        candidate.lease = candidate.lease.or_else(|| (!is_here).then_some(ttl));
    }
    plan
}

/// The providers of the specs, each once: several specs may share one.
fn distinct(specs: &[Spec]) -> Vec<&Arc<dyn Provider>> {
    let mut distinct: Vec<&Arc<dyn Provider>> = Vec::new();
    for provider in specs.iter().map(Spec::provider) {
        if !distinct.iter().any(|it| Arc::ptr_eq(it, provider)) {
            distinct.push(provider);
        }
    }
    distinct
}

/// Ranks on a thread that may take its time: there may be a million offers, and a closure of the user's.
async fn ranked(specs: Vec<Spec>, nodes: Nodes, terms: Terms, told: Vec<Result<Vec<Offer>, String>>) -> Plan {
    let selection = terms.selection.to_string();
    let ranking = tokio::task::spawn_blocking(move || {
        let providers = distinct(&specs);
        let of = |spec: &Spec| providers.iter().position(|it| Arc::ptr_eq(it, spec.provider()));
        let asked: Vec<Asked<'_>> = specs
            .iter()
            .map(|spec| {
                let can = spec.provider().capabilities();
                Asked {
                    provider: spec.provider().name(),
                    wanted: spec.wanted(),
                    nodes: spec.nodes.unwrap_or(nodes),
                    sized_disk: can.sized_disk,
                    disk_gb_hour: can.disk_gb_hour,
                    offers: match of(spec).and_then(|it| told.get(it)) {
                        Some(Ok(offers)) => Ok(offers),
                        Some(Err(reason)) => Err(reason),
                        None => Err("was not asked"),
                    },
                }
            })
            .collect();
        rank(&asked, &terms)
    });
    ranking.await.unwrap_or_else(|error| Plan {
        selection,
        trouble: Some(format!("failed to rank the offers: {error}")),
        ..Plan::default()
    })
}
