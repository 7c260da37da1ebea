//! What a region has for rent, put together from four lists that are asked for page by page: which zone has
//! which kind of machine first, then what each kind is, what it costs to stay, and what it costs on the spot.

use std::collections::BTreeMap;

use futures_util::future::try_join3;
use skyward_runtime::model::{Offer, Usd};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};

use super::api::{self, Page};
use super::map::Found;
use super::prices::{self, GET_PRODUCTS, PRICES, PRICES_REGION};
use super::refusal::Refusal;
use super::way::{Way, epoch};
use super::{Config, TITLE};

/// The offers of one region.
///
/// # Errors
/// Those of the lists.
pub(super) async fn offers(way: &Way, region: &str, config: &Config) -> Result<Vec<Offer>, ProviderError> {
    let ec2 = way.ec2(region);
    let kinds = config.instance_types.as_slice();
    let mut found = Found::default();
    let offerings =
        all(way, "list which zone has which kind of machine", |next| api::offerings(&ec2, kinds, next));
    for offering in offerings.await? {
        if let (Some(kind), Some(zone)) = (offering.instance_type, offering.location) {
            found.zones.entry(kind.as_str().to_owned()).or_default().insert(zone);
        }
    }
    let now = i64::try_from(epoch()).unwrap_or(i64::MAX);
    let types = all(way, "list kinds of machines", |next| api::types(&ec2, kinds, next));
    let spot = all(way, "list prices of spot machines", |next| api::spot(&ec2, kinds, now, next));
    let (types, spot, stays) = try_join3(types, spot, hourly(way, region, kinds)).await?;
    found.types = types;
    found.prices = stays;
    // The list has, for each kind and zone, the price that holds at its beginning and every later one.
    let mut newest: BTreeMap<(String, String), i64> = BTreeMap::new();
    for price in spot {
        let (Some(kind), Some(zone)) = (price.instance_type, price.availability_zone) else { continue };
        let Some(hourly) = price.spot_price.as_deref().and_then(Usd::written) else { continue };
        let kind = kind.as_str().to_owned();
        let since = price.timestamp.map_or(0, |it| it.secs());
        let known = newest.entry((kind.clone(), zone.clone())).or_insert(i64::MIN);
        if since >= *known {
            *known = since;
            found.spot.entry(kind).or_default().insert(zone, hourly);
        }
    }
    Ok(found.offers(region, config))
}

/// What each kind costs on demand.
async fn hourly(way: &Way, region: &str, kinds: &[String]) -> Result<BTreeMap<String, Usd>, ProviderError> {
    let (mut all, mut next) = (BTreeMap::new(), None);
    for _ in 0..MOST_PAGES {
        let question = prices::question(region, kinds, next.as_deref());
        let page: prices::Page =
            way.ask("read the price list", PRICES, PRICES_REGION, GET_PRODUCTS, &question).await?;
        all.extend(page.hourly());
        next = page.next_token.filter(|it| !it.is_empty());
        if next.is_none() {
            return Ok(all);
        }
    }
    Err(endless("read the price list"))
}

/// All pages of a list.
///
/// # Errors
/// What the cloud said, and `Transient` for a list without an end.
pub(super) async fn all<T, F>(
    way: &Way,
    what: &str,
    page: impl Fn(Option<String>) -> F,
) -> Result<Vec<T>, ProviderError>
where
    F: Future<Output = Result<Page<T>, Refusal>>,
{
    let (mut all, mut next) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let (more, after) = way.send(what, || page(next.clone())).await?;
        all.extend(more);
        next = after;
        if next.is_none() {
            return Ok(all);
        }
    }
    Err(endless(what))
}

fn endless(what: &str) -> ProviderError {
    let message = format!("failed to {what} at {TITLE}: the list has no end after {MOST_PAGES} pages");
    ProviderError::new(ProviderErrorKind::Transient, message)
}

/// How many pages a list may have: ten times the longest that there is.
const MOST_PAGES: u32 = 200;
