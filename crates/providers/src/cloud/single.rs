//! Renting at clouds that rent out one machine for each request.

use skyward_runtime::model::Instance;
use skyward_runtime::provider::{ProviderError, ProviderErrorKind, Provisioned};

/// Rents machines one after the other, at most `at_once`: what a provider's call has time for. What is
/// beyond that is a shortfall that is asked for again, because of the cloud's `rate`, which finishes
/// "Lambda ...".
///
/// # Errors
/// That of the first, when there is none at all.
pub(crate) async fn one_by_one<F>(
    title: &str,
    rate: &str,
    (count, at_once): (u32, u32),
    mut rent: impl FnMut() -> F + Send,
) -> Result<Provisioned, ProviderError>
where
    F: Future<Output = Result<Instance, ProviderError>> + Send,
{
    let mut instances = Vec::new();
    for _ in 0..count.min(at_once) {
        match rent().await {
            Ok(instance) => instances.push(instance),
            Err(error) if instances.is_empty() => return Err(error),
            Err(error) => return Ok(Provisioned { instances, shortfall: Some(error) }),
        }
    }
    let shortfall = (count > at_once).then(|| {
        let message = format!("{title} {rate}, so {at_once} come at a time");
        ProviderError::new(ProviderErrorKind::RateLimited, message)
    });
    Ok(Provisioned { instances, shortfall })
}
