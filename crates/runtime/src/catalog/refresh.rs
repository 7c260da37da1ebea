//! Asks a provider what it has, and keeps the answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt};
use tokio::task::JoinError;

use super::{Catalog, CatalogError};
use crate::model::Offer;
use crate::provider::{Provider, ProviderError};

/// Why a provider's offers are as old as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The provider failed.
    #[error("failed to read the offers of {provider}")]
    Provider {
        /// Who.
        provider: String,
        /// What it said.
        #[source]
        source: ProviderError,
    },
    /// It took too long.
    #[error("failed to read the offers of {provider}: it did not end within {within:?}; try again")]
    TimedOut {
        /// Who.
        provider: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// It did not stop.
    #[error(
        "failed to read the offers of {provider}: it gave more than {MOST}; ask for one region, if it can be"
    )]
    TooMany {
        /// Who.
        provider: String,
    },
    /// The program ends.
    #[error("failed to keep the offers of {provider}: the program is ending")]
    Stopped {
        /// Who.
        provider: String,
    },
    /// What it said could not be kept.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Asks a provider for everything that it has and replaces what the catalog holds of it; returns how many
/// offers those are. When it fails, or is dropped before the answer is complete, the catalog is unchanged.
///
/// # Errors
/// When the provider fails or takes longer than `within`, and when its answer cannot be written.
pub async fn refresh(
    catalog: &Arc<Catalog>,
    provider: &dyn Provider,
    within: Duration,
) -> Result<usize, RefreshError> {
    let name = provider.name().to_owned();
    let read_at = SystemTime::now();
    let all = provider.offers().take(MOST + 1).try_collect();
    let offers: Vec<Offer> = match tokio::time::timeout(within, all).await {
        Ok(Ok(offers)) => offers,
        Ok(Err(source)) => return Err(RefreshError::Provider { provider: name, source }),
        Err(_) => return Err(RefreshError::TimedOut { provider: name, within }),
    };
    let found = offers.len();
    if found > MOST {
        return Err(RefreshError::TooMany { provider: name });
    }
    let (catalog, of) = (Arc::clone(catalog), name.clone());
    let written = tokio::task::spawn_blocking(move || catalog.replace(&of, &offers, read_at)).await;
    match written.map_err(JoinError::try_into_panic) {
        Ok(written) => written?,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => return Err(RefreshError::Stopped { provider: name }),
    }
    Ok(found)
}

/// The most offers of one provider: ten times what the largest cloud has, and what memory can hold.
const MOST: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures_util::stream::{self, BoxStream};

    use super::*;
    use crate::catalog::Settings;
    use crate::model::usd;
    use crate::model::{Capabilities, Instance, InstanceId, InstanceType, Leftover, Price};
    use crate::provider::{ProviderErrorKind, Provisioned, Request};

    /// A provider that only has offers: so many, and then it goes on like this.
    struct Shop {
        offers: usize,
        then: Then,
    }

    #[derive(PartialEq)]
    enum Then {
        End,
        Fail,
        Hang,
    }

    #[async_trait]
    impl Provider for Shop {
        fn name(&self) -> &str {
            "shop"
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities::NONE
        }

        fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
            let offer =
                |it| Ok(Offer::of("shop", InstanceType::named(format!("m{it}")), Price::on_demand(usd!(1))));
            let offers = stream::iter((0..self.offers).map(offer));
            match self.then {
                Then::End => offers.boxed(),
                Then::Fail => {
                    let error = ProviderError::new(ProviderErrorKind::Transient, "the line is cut");
                    offers.chain(stream::iter([Err(error)])).boxed()
                }
                Then::Hang => offers.chain(stream::pending()).boxed(),
            }
        }

        async fn prepare(&self, _: &Request) -> Result<(), ProviderError> {
            Ok(())
        }

        async fn provision(&self, _: &Request, _: u32) -> Result<Provisioned, ProviderError> {
            Ok(Provisioned { instances: Vec::new(), shortfall: None })
        }

        async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
            Err(ProviderError::new(ProviderErrorKind::InvalidRequest, id.to_string()))
        }

        async fn terminate(&self, _: &Request, _: &[InstanceId]) -> Result<(), ProviderError> {
            Ok(())
        }

        async fn teardown(&self, _: &Request) -> Result<Vec<Leftover>, ProviderError> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn what_a_provider_says_to_the_end_is_kept_and_anything_less_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = Arc::new(Catalog::open(Settings::in_folder(folder.path())).expect("a catalog"));
        let minute = Duration::from_secs(60);
        let shop = |offers, then| Shop { offers, then };
        assert_eq!(refresh(&catalog, &shop(3, Then::End), minute).await.expect("it answers"), 3);
        assert_eq!(catalog.stale(&["shop"], SystemTime::now()).expect("read"), [""; 0]);

        let error = refresh(&catalog, &shop(1, Then::Fail), minute).await.expect_err("it fails");
        assert_eq!(error.to_string(), "failed to read the offers of shop");
        let soon = Duration::from_millis(1);
        let error = refresh(&catalog, &shop(1, Then::Hang), soon).await.expect_err("it hangs");
        assert!(matches!(error, RefreshError::TimedOut { .. }), "{error}");
        assert_eq!(catalog.offers().count().expect("read"), 3);
    }
}
