//! What every cloud does around its own calls: opening the way to it, renting until something is in the way,
//! and removing what may not be there.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use serde::de::IgnoredAny;
use skyward_runtime::model::{Instance, KeyPrint, Leftover, Offer, Secret};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind, Provisioned};
use tokio::time::{Instant, timeout_at};

use super::{Account, Found};
use crate::http::{Access, Auth, Call, Client, Service};

/// The way to a cloud, opened when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Way {
    client: OnceLock<Client>,
    key: OnceLock<Found>,
}

impl Way {
    /// The client of this account, which asks with `auth` of its key. The key that is found first is the one.
    ///
    /// # Errors
    /// Those of the key, of `auth`, and of [`Client::new`].
    pub(crate) fn open(
        &self,
        service: Service,
        access: &Access,
        account: &dyn Account,
        auth: impl FnOnce(Secret<String>) -> Result<Auth, ProviderError>,
    ) -> Result<&Client, ProviderError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let key = self.key(account)?.key.clone();
        let client = Client::new(service, access.clone(), auth(key)?)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// What tells the key that is asked with from others, if there is one.
    pub(crate) fn print(&self, account: &dyn Account) -> Option<KeyPrint> {
        self.key(account).ok().map(Found::print)
    }

    fn key(&self, account: &dyn Account) -> Result<&Found, ProviderError> {
        if let Some(found) = self.key.get() {
            return Ok(found);
        }
        let found = account.key()?;
        Ok(self.key.get_or_init(|| found))
    }
}

/// Rents with one request after the other until there are `wanted` machines, one fails, or there is no time
/// for more: what is missing then is asked for again, and what was rented is told in any case. `doubts` counts the
/// requests of which nobody knows all that they brought: when there was one, whatever is missing is told as
/// [unsure](ProviderError::unsure), and if nothing is, as if something were, so that the pool looks for it later.
///
/// # Errors
/// Why there is none at all.
pub(crate) async fn rent<T, F>(
    title: &str,
    doubts: impl Fn() -> u64 + Send,
    wanted: u32,
    requests: impl IntoIterator<Item = T, IntoIter: Send> + Send,
    rent: impl FnMut(T) -> F + Send,
) -> Result<Provisioned, ProviderError>
where
    T: Send,
    F: Future<Output = Result<Vec<Instance>, ProviderError>> + Send,
{
    let before = doubts();
    let rented = rent_within(ROOM, MOST, title, wanted, requests, rent).await;
    if doubts() == before {
        return rented;
    }
    let Provisioned { instances, shortfall } = rented.map_err(ProviderError::unsure)?;
    let doubt = || {
        let message =
            format!("{title} may have rented out more than these, as nobody heard one of its answers");
        ProviderError::new(ProviderErrorKind::Transient, message)
    };
    Ok(Provisioned { instances, shortfall: Some(shortfall.map_or_else(doubt, ProviderError::unsure)) })
}

async fn rent_within<T, F>(
    room: Duration,
    most: Duration,
    title: &str,
    wanted: u32,
    requests: impl IntoIterator<Item = T, IntoIter: Send> + Send,
    mut rent: impl FnMut(T) -> F + Send,
) -> Result<Provisioned, ProviderError>
where
    T: Send,
    F: Future<Output = Result<Vec<Instance>, ProviderError>> + Send,
{
    // Of what was broken off nobody knows whether it rented anything.
    let late = |kind| {
        let message = format!("{title} is slow to rent out machines: the rest is asked for again");
        ProviderError::new(kind, message).after(Duration::ZERO)
    };
    let begun = Instant::now();
    let (mut instances, mut shortfall) = (Vec::new(), None);
    for request in requests {
        if instances.len() >= wanted as usize {
            break;
        }
        let rented = match begun.elapsed() < room {
            true => timeout_at(begun + most, rent(request))
                .await
                .unwrap_or_else(|_| Err(late(ProviderErrorKind::Transient))),
            false => Err(late(ProviderErrorKind::RateLimited)),
        };
        match rented {
            Ok(rented) => instances.extend(rented),
            Err(error) => {
                shortfall = Some(error);
                break;
            }
        }
    }
    match shortfall {
        Some(error) if instances.is_empty() => Err(error),
        shortfall => Ok(Provisioned { instances, shortfall }),
    }
}

/// How long requests to rent begin. A provider's call has two minutes in all, and what it rented is lost with
/// one that takes longer.
const ROOM: Duration = Duration::from_secs(75);

/// How long they take at most. One that is broken off may have rented something, which its name finds.
const MOST: Duration = Duration::from_secs(110);

/// Removes one thing that may not be there; what is left of it.
pub(crate) async fn remove(client: &Client, what: String, call: &Call) -> Option<Leftover> {
    match client.send::<IgnoredAny>(call).await {
        Ok(_) => None,
        Err(error) if error.kind == ProviderErrorKind::NotFound => None,
        Err(error) => Some(Leftover { what, reason: error.to_string() }),
    }
}

/// Offers that come all at once, as the stream that a provider has.
pub(crate) fn all_at_once<'a>(
    offers: impl Future<Output = Result<Vec<Offer>, ProviderError>> + Send + 'a,
) -> BoxStream<'a, Result<Offer, ProviderError>> {
    let each = |offers: Result<Vec<Offer>, ProviderError>| {
        let (offers, error) = match offers {
            Ok(offers) => (offers, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        stream::iter(offers.into_iter().map(Ok).chain(error))
    };
    stream::once(offers).flat_map(each).boxed()
}

#[cfg(test)]
mod tests {
    use skyward_runtime::model::{InstanceId, InstanceState};

    use super::*;

    fn machine(name: &str) -> Vec<Instance> {
        vec![Instance { id: InstanceId::new(name), state: InstanceState::Pending }]
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn what_was_rented_is_told_when_a_request_takes_too_long() {
        let slow = |name: &'static str| async move {
            match name {
                "hangs" => std::future::pending().await,
                name => Ok(machine(name)),
            }
        };
        let most = Duration::from_millis(50);
        let rented = rent_within(LONG, most, "Cloud", 3, ["a", "hangs", "b"], slow).await.expect("one");
        assert_eq!(rented.instances, machine("a"));
        let shortfall = rented.shortfall.expect("why there are no more");
        assert_eq!((shortfall.kind, shortfall.after), (ProviderErrorKind::Transient, Some(Duration::ZERO)));
        let none = rent_within(LONG, most, "Cloud", 3, ["hangs"], slow).await.expect_err("none");
        assert_eq!(none.kind, ProviderErrorKind::Transient);
    }

    #[tokio::test]
    async fn no_request_begins_without_room_or_when_there_are_enough() {
        let mut asked = 0;
        let mut one = |name: &'static str| {
            asked += 1;
            async move { Ok(machine(name)) }
        };
        let none = rent_within(Duration::ZERO, LONG, "Cloud", 2, ["a"], &mut one).await;
        assert_eq!(none.expect_err("none").kind, ProviderErrorKind::RateLimited);
        let rented = rent("Cloud", || 0, 2, ["a", "b", "c"], &mut one).await.expect("two");
        assert_eq!((rented.instances.len(), rented.shortfall.is_none()), (2, true));
        assert_eq!(asked, 2);
    }
}
