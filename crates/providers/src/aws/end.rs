//! Giving back: machines first, then what they were made from, and the security group last, once nothing uses it.

use std::time::Duration;

use aws_sdk_ec2::types;
use futures_util::future::join_all;
use skyward_runtime::model::{Leftover, PoolId};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind as Kind};

use super::way::Way;
use super::{TITLE, api, lists, map};
use crate::cloud::{Rental, end_all, leftovers, pool_name, until};

/// All machines of a pool in one region, in whatever state.
///
/// # Errors
/// Those of the list.
pub(super) async fn machines(
    way: &Way,
    region: &str,
    pool: &str,
) -> Result<Vec<types::Instance>, ProviderError> {
    let ec2 = &way.ec2(region);
    lists::all(way, "list machines", |next| api::machines(ec2, "skyward-pool", pool, next)).await
}

/// Ends what is known, and what is listed of the pool and `ours`; what is left, and why. A machine that shuts down
/// costs nothing any more and cannot come back, so it counts as gone. One that is `recent` and said not to be there is
/// asked for again.
///
/// # Errors
/// Those of the list.
pub(super) async fn machines_of(
    way: &Way,
    region: &str,
    pool: &str,
    known: Vec<Rental>,
    ours: &(dyn Fn(&str) -> bool + Send + Sync),
    recent: &(dyn Fn(&str) -> bool + Send + Sync),
) -> Result<Vec<(Rental, String)>, ProviderError> {
    let list = || async {
        let machines = machines(way, region, pool).await?;
        let living = machines.iter().filter(|it| map::lives(it)).filter_map(|it| it.instance_id());
        let rental = |id: &str| Rental { id: id.to_owned(), name: pool.to_owned(), ending: false };
        Ok(living.filter(|it| ours(it)).map(rental).collect())
    };
    let end = |them: Vec<Rental>| async move {
        let ids: Vec<_> = them.into_iter().map(|it| it.id).collect();
        match terminate(way, region, &ids).await {
            Ok(()) => ids.iter().map(|_| Ok(())).collect(),
            // One that cannot be ended, or is not known, keeps all of the request.
            Err(_) => join_all(ids.iter().map(|id| terminate(way, region, std::slice::from_ref(id)))).await,
        }
    };
    end_all(way.access().backoff, recent, known, list, end).await
}

async fn terminate(way: &Way, region: &str, ids: &[String]) -> Result<(), ProviderError> {
    let ec2 = &way.ec2(region);
    way.send("terminate machines", || api::terminate(ec2, ids)).await
}

/// Removes everything that a pool has in one region, `known` machines and listed ones; what is left.
///
/// # Errors
/// When the region could not be asked at all.
pub(super) async fn region(
    way: &Way,
    region: &str,
    pool: &PoolId,
    known: Vec<Rental>,
    recent: &(dyn Fn(&str) -> bool + Send + Sync),
) -> Result<Vec<Leftover>, ProviderError> {
    let ec2 = &way.ec2(region);
    let name = &pool_name(pool);
    let machines = machines_of(way, region, pool.as_str(), known, &|_| true, recent).await?;
    let mut left = leftovers("machine", machines);
    let templates = way.send("list launch templates", || api::templates(ec2, pool.as_str())).await?;
    for template in &templates {
        let gone = way.send("delete a launch template", || api::delete_template(ec2, template)).await;
        left.extend(remains(&format!("launch template {template} in {region}"), gone));
    }
    let gone = way.send("delete the pool's key", || api::delete_key(ec2, name)).await;
    left.extend(remains(&format!("key {name} in {region}"), gone));
    let look = || api::groups(ec2, name);
    let groups = way.send("look for the pool's security group", look).await?;
    for (group, _) in groups {
        left.extend(remains(
            &format!("security group {group} ({name}) in {region}"),
            remove(way, region, &group).await,
        ));
    }
    Ok(left)
}

/// Deletes a security group, once the machines that used it have let go of it.
async fn remove(way: &Way, region: &str, group: &str) -> Result<(), ProviderError> {
    let ec2 = &way.ec2(region);
    let gone = || async {
        let what = "delete the pool's security group";
        match way.send(what, || api::delete_group(ec2, group)).await {
            Err(error) if error.kind == Kind::Conflict => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(Some(())),
        }
    };
    until(LET_GO, way.access().backoff, gone).await?.ok_or_else(|| {
        let message = format!(
            "failed to delete {group} at {TITLE}: machines that end still use it after {LET_GO:?}; it costs nothing, \
             and can be deleted later"
        );
        ProviderError::new(Kind::Conflict, message)
    })
}

fn remains(what: &str, gone: Result<(), ProviderError>) -> Option<Leftover> {
    match gone {
        Ok(()) => None,
        Err(error) if error.kind == Kind::NotFound => None,
        Err(error) => Some(Leftover { what: what.to_owned(), reason: error.to_string() }),
    }
}

/// How long machines that end may hold on to their security group. A provider's call has two minutes in all.
const LET_GO: Duration = Duration::from_secs(75);
