//! Setting up what a pool's machines share, and renting them: a template with what each machine is told, and one
//! fleet from it. The template goes when the fleet has answered.

use std::time::Duration;

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{Subnet, Tag};
use aws_smithy_types::base64;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;
use serde_json::json;
use skyward_runtime::model::{InstanceId, Secret};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind as Kind, Request};
use skyward_runtime::ssh::ClientKey;
use tokio::time::{Instant, sleep, timeout};

use super::book::Book;
use super::order::{self, Order};
use super::quota::{self, GET_QUOTA, QUOTAS};
use super::refusal::Refusal;
use super::user_data::{self, HostKey};
use super::way::{Service, Way, epoch};
use super::{Config, TITLE, api, lists, map};
use crate::cloud::{machine_name, pool_name};

/// Who knows the ids of images.
const PARAMETERS: Service = Service { host: "ssm", signs: "ssm" };

/// Makes the pool's key and its security group, or finds those that are there.
///
/// # Errors
/// What the cloud said, classified.
pub(super) async fn prepare(way: &Way, config: &Config, request: &Request) -> Result<(), ProviderError> {
    let region = region(request)?;
    let ec2 = &way.ec2(region);
    let (name, tags) = (&pool_name(&request.pool), &tags(request));
    let stored = way.attempt("store the pool's key", || api::store_key(ec2, name, &request.ssh_key, tags));
    there_already(stored.await).map_err(|it| it.told("store the pool's key"))?;
    if config.security_group_id.is_some() {
        return Ok(());
    }
    let (_, vpc) = places(way, config, region).await?;
    let made = way.attempt("make the pool's security group", || api::create_group(ec2, name, &vpc, tags));
    let group = match made.await {
        Ok(group) => group,
        Err(refusal) if refusal.kind == Kind::Conflict => group(way, config, region, name, &vpc).await?,
        Err(refusal) => return Err(refusal.told("make the pool's security group")),
    };
    let end = Instant::now() + way.access().settles;
    let mut pauses = way.access().backoff.delays();
    loop {
        let opened = way.attempt("open the pool's security group", || api::open_group(ec2, &group, config));
        match (there_already(opened.await), pauses.next()) {
            // It was made, or seen, a moment ago.
            (Err(refusal), Some(pause)) if is_not_there_yet(&refusal) && Instant::now() < end => {
                sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
            }
            (opened, _) => return opened.map_err(|it| it.told("open the pool's security group")),
        }
    }
}

/// Rents up to `count` machines. What comes of it is in the book, as soon as it is known.
///
/// # Errors
/// When nothing was even asked for.
pub(super) async fn rent(
    way: &Way,
    config: &Config,
    request: &Request,
    count: u32,
    book: &Book<'_>,
) -> Result<(), ProviderError> {
    let region = region(request)?;
    let ec2 = &way.ec2(region);
    let mut order = order(way, config, request, count).await?;
    book.ordered(&order.name);
    let template = &order;
    way.send("make a launch template", || async { there_already(api::create_template(ec2, template).await) })
        .await?;
    let end = Instant::now() + way.access().settles;
    for pause in way.access().backoff.delays() {
        let refusal = exactly_once(way, &order, region, book).await;
        // What was made a moment ago is not known everywhere yet. Under its token the fleet would fail again.
        let passes = book.got(Vec::new()) == 0 && refusal.as_ref().is_some_and(is_not_there_yet);
        if !passes || Instant::now() >= end {
            book.refused(refusal);
            break;
        }
        sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        order.token = machine_name(request)?;
    }
    Ok(())
}

/// Whether something that we made, or found, just before is said not to be there.
fn is_not_there_yet(refusal: &Refusal) -> bool {
    let ours = ["InvalidLaunchTemplate", "InvalidGroup", "InvalidSecurityGroup", "InvalidKeyPair"];
    refusal.kind == Kind::NotFound && ours.iter().any(|it| refusal.code.starts_with(it))
}

/// Asks for the machines of an order exactly once; why there are no more. When nobody can tell what became of it, it
/// is sent again under the same token, which gets the same fleet; and when that does not help, its machines are
/// looked for by its tag.
async fn exactly_once(way: &Way, order: &Order, region: &str, book: &Book<'_>) -> Option<Refusal> {
    let ec2 = &way.ec2(region);
    let (mut tried, mut unsure) = (0, 0);
    loop {
        let refusal = match way.once("rent machines", || api::fleet(ec2, order)).await {
            Ok(answer) => {
                let (ids, refusal) = order::outcome(&answer);
                let is_short = book.got(ids) < order.count as usize;
                // The second answer may name the fleet alone.
                if unsure > 0 && is_short && refusal.is_none() {
                    look(way, order, region, book).await;
                }
                return refusal;
            }
            Err(refusal) => refusal,
        };
        unsure += u32::from(refusal.is_unsure);
        // A later answer says nothing of an earlier request that none was heard of.
        let refusal = Refusal { is_unsure: unsure > 0, ..refusal };
        let pause = way.pause(&refusal, tried);
        if unsure > 1 || (unsure > 0 && pause.is_none()) {
            tracing::debug!(refusal = refusal.message, "looking whether machines were rented");
            let found = look(way, order, region, book).await;
            if found > 0 {
                return (found < order.count as usize).then_some(refusal);
            }
        }
        let Some(pause) = pause else { return Some(refusal) };
        sleep(pause).await;
        tried += 1;
    }
}

/// Looks for the machines of an order until it has all, or for as long as they may take to be listed; how many there
/// are. Machines that ended already are none.
async fn look(way: &Way, order: &Order, region: &str, book: &Book<'_>) -> usize {
    let ec2 = &way.ec2(region);
    let end = Instant::now() + way.access().settles;
    for pause in way.access().backoff.delays() {
        sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        let late = Instant::now() >= end;
        let found =
            lists::all(way, "look for machines", |next| api::machines(ec2, map::ORDER, &order.name, next));
        match found.await {
            Ok(found) => {
                let living = found.iter().filter(|it| map::lives(it)).filter_map(|it| it.instance_id());
                if book.got(living.map(InstanceId::new).collect()) >= order.count as usize {
                    break;
                }
            }
            Err(error) => tracing::warn!(%error, "a look for machines that may have been rented failed"),
        }
        if late {
            break;
        }
    }
    book.got(Vec::new())
}

/// Deletes the template of an order, in one short try. It holds what its machines were told; one that stays is found
/// by the teardown.
pub(super) async fn tidy(way: &Way, region: &str, name: Option<String>) {
    let Some(name) = name else { return };
    let ec2 = &way.ec2(region);
    let gone = way.once("delete a launch template", || api::delete_template(ec2, &name));
    match timeout(SHORT, gone).await {
        Ok(Ok(())) => {}
        Ok(Err(refusal)) => {
            tracing::debug!(refusal = refusal.message, "a launch template is left for the teardown");
        }
        Err(_) => tracing::debug!("a launch template is left for the teardown: no answer in {SHORT:?}"),
    }
}

/// How long what comes after the renting may take: the machines are known and paid for by then.
const SHORT: Duration = Duration::from_secs(5);

/// Everything that a request for machines needs.
async fn order(way: &Way, config: &Config, request: &Request, count: u32) -> Result<Order, ProviderError> {
    let region = region(request)?;
    let (subnets, vpc) = places(way, config, region).await?;
    let zones = map::zones(&request.offer);
    let subnets: Vec<_> = subnets
        .into_iter()
        .filter(|it| it.availability_zone().is_some_and(|zone| zones.contains(zone)))
        .filter_map(|it| it.subnet_id)
        .collect();
    if subnets.is_empty() {
        let message = format!(
            "failed to rent machines at {TITLE}: {} is in {}, where there is no subnet; set subnet_id to one there",
            request.offer,
            zones.into_iter().collect::<Vec<_>>().join(", ")
        );
        return Err(ProviderError::new(Kind::OfferGone, message));
    }
    let name = machine_name(request)?;
    let key = pool_name(&request.pool);
    let group = match &config.security_group_id {
        Some(group) => group.clone(),
        None => group(way, config, region, &key, &vpc).await?,
    };
    let image = image(way, config, request, region).await?;
    let (root_device, least_gb, more_devices) = root(way, region, &image).await?;
    let disk_gb = request.disk_gb.unwrap_or(config.disk_gb);
    let host_key = if config.inject_host_key { Some(host_key()?) } else { None };
    let mut tags = tags(request);
    tags.push(map::tag(map::ORDER, &name));
    tags.extend(host_key.as_ref().map(|it| map::tag(map::HOST_KEY, &it.public)));
    let text = user_data::text(config.user(), host_key.as_ref(), config.instance_timeout, request.lease);
    Ok(Order {
        token: name.clone(),
        name,
        count,
        market: request.market,
        instance_type: request.offer.instance_type.name.clone(),
        subnets,
        image,
        root_device,
        more_devices,
        disk_gb: i32::try_from(disk_gb).unwrap_or(i32::MAX).max(least_gb),
        key,
        group,
        profile: config.instance_profile_arn.clone(),
        has_public_address: !config.private_address,
        strategy: config.allocation_strategy.clone(),
        user_data: Secret::new(base64::encode(text)),
        tags,
    })
}

/// The subnets to rent in, and the network that they are of.
async fn places(way: &Way, config: &Config, region: &str) -> Result<(Vec<Subnet>, String), ProviderError> {
    let (ec2, id) = (&way.ec2(region), config.subnet_id.as_deref());
    let subnets = way.send("list subnets", || api::subnets(ec2, id)).await?;
    match subnets.iter().find_map(|it| it.vpc_id()).map(str::to_owned) {
        Some(vpc) => Ok((subnets, vpc)),
        None => {
            let message = format!(
                "failed to find a subnet at {TITLE}: {region} has no default VPC; make one with `aws ec2 \
                 create-default-vpc --region {region}`, or set subnet_id"
            );
            Err(ProviderError::new(Kind::InvalidRequest, message))
        }
    }
}

/// The pool's security group in a network.
async fn group(
    way: &Way,
    config: &Config,
    region: &str,
    name: &str,
    vpc: &str,
) -> Result<String, ProviderError> {
    let ec2 = &way.ec2(region);
    let groups = way.send("look for the pool's security group", || api::groups(ec2, name)).await?;
    // The one of the given subnet's network; another offer of the pool may have made one elsewhere.
    let found = groups.into_iter().find(|(_, it)| it == vpc).map(|(id, _)| id);
    found.ok_or_else(|| {
        let given = config.subnet_id.as_deref().unwrap_or("the default subnets");
        let message = format!(
            "failed to rent machines at {TITLE}: the security group {name} is not in the network of {given}; was \
             the pool prepared?"
        );
        ProviderError::new(Kind::NotFound, message)
    })
}

/// The image of an offer's machines.
async fn image(way: &Way, config: &Config, request: &Request, region: &str) -> Result<String, ProviderError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Told {
        parameter: Parameter,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Parameter {
        value: String,
    }
    if let Some(image) = &config.ami {
        return Ok(image.clone());
    }
    let name = map::image_parameter(&request.offer, config);
    let question = json!({"Name": name});
    let told =
        way.ask::<Told>("look up an image", PARAMETERS, region, "AmazonSSM.GetParameter", &question).await;
    told.map(|it| it.parameter.value).map_err(|error| match error.kind {
        Kind::NotFound => {
            let message = format!(
                "failed to look up an image at {TITLE}: {region} has no parameter {name}; set ami, or another \
                 ubuntu_version"
            );
            ProviderError::new(Kind::InvalidRequest, message)
        }
        _ => error,
    })
}

/// The device that an image starts from, the least size of its disk, in GB, and the devices of its other disks.
async fn root(way: &Way, region: &str, image: &str) -> Result<(String, i32, Vec<String>), ProviderError> {
    let ec2 = &way.ec2(region);
    let found = way.send("look at an image", || api::image(ec2, image)).await?;
    let Some(found) = found else {
        let message =
            format!("failed to look at an image at {TITLE}: {region} has no {image}; set ami to one of it");
        return Err(ProviderError::new(Kind::InvalidRequest, message));
    };
    let device = found.root_device_name().unwrap_or("/dev/sda1").to_owned();
    let disks = found.block_device_mappings().iter().filter(|it| it.device_name() == Some(&device));
    let least = disks.filter_map(|it| it.ebs()?.volume_size()).max().unwrap_or(1);
    let disks = found.block_device_mappings().iter().filter(|it| it.ebs().is_some());
    let more =
        disks.filter_map(|it| it.device_name()).filter(|it| *it != device).map(str::to_owned).collect();
    Ok((device, least, more))
}

/// A refusal for the pool and for people, with the quota where it is one.
pub(super) async fn explained(
    way: &Way,
    request: &Request,
    region: &str,
    count: u32,
    refusal: Refusal,
) -> ProviderError {
    let counts_processors =
        ["VcpuLimitExceeded", "MaxSpotInstanceCountExceeded"].contains(&refusal.code.as_str());
    let kind = &request.offer.instance_type;
    let quota = quota::of(&kind.name, request.market).filter(|_| counts_processors);
    let error = refusal.told("rent machines");
    let Some(quota) = quota else { return error };
    let question = json!({"ServiceCode": "ec2", "QuotaCode": quota.code});
    // It is for people, and a key that may not ask for it rents machines all the same.
    let value = way.ask::<quota::Told>("read a quota", QUOTAS, region, GET_QUOTA, &question);
    let value = timeout(SHORT, value)
        .await
        .ok()
        .and_then(|it| it.inspect_err(|error| tracing::debug!(%error, "the quota cannot be read")).ok());
    let advice = quota.advice(region, value.map(|it| it.quota.value), kind.vcpus.saturating_mul(count));
    ProviderError { message: format!("{}: {advice}", error.message), ..error }
}

/// A fresh host key.
fn host_key() -> Result<HostKey, ProviderError> {
    let failed = |error: &dyn std::fmt::Display| {
        ProviderError::new(Kind::Local, format!("failed to make a host key: {error}"))
    };
    let key = ClientKey::generate().map_err(|it| failed(&it))?;
    Ok(HostKey { private: key.private().map_err(|it| failed(&it))?, public: key.public().to_owned() })
}

/// What a request's things are tagged with.
fn tags(request: &Request) -> Vec<Tag> {
    let variable = |name: &str| std::env::var(name).ok().filter(|it| !it.is_empty());
    let owner = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "unknown".to_owned());
    let created = DateTime::from_secs(i64::try_from(epoch()).unwrap_or(0)).fmt(Format::DateTime);
    map::tags(request, &owner, &created.unwrap_or_default())
}

/// The region of what is asked for.
///
/// # Errors
/// `InvalidRequest`, when it has none, as no offer of ours.
pub(super) fn region(request: &Request) -> Result<&str, ProviderError> {
    request.offer.region.as_deref().ok_or_else(|| {
        let message = format!("failed to rent machines at {TITLE}: {} is in no region", request.offer);
        ProviderError::new(Kind::InvalidRequest, message)
    })
}

/// What is there already is as good as made.
fn there_already(made: Result<(), Refusal>) -> Result<(), Refusal> {
    match made {
        Err(refusal) if refusal.kind == Kind::Conflict && refusal.code.contains("Duplicate") => Ok(()),
        Err(refusal) if refusal.code.contains("AlreadyExists") => Ok(()),
        made => made,
    }
}
