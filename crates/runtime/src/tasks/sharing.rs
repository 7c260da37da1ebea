//! How a node is given what calls share: by the client, or by way of other nodes.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Tasks;
use crate::link::{Link, LinkError};
use crate::payload::Common;
use crate::spread::Spreads;

impl Tasks {
    /// Gives a node a shared value, by way of other nodes where that is better.
    pub(in crate::tasks) fn share(
        &self,
        link: &Link,
        common: &Arc<Common>,
    ) -> BoxFuture<'static, Result<(), LinkError>> {
        match &self.inner.spreads {
            Some(spreads) if spreads.takes(link, common) => {
                Box::pin(spreads.clone().share(link.clone(), Arc::clone(common)))
            }
            Some(_) | None => Box::pin(link.share(Arc::clone(common))),
        }
    }

    /// What nodes pass on among themselves, where they do.
    pub(crate) fn spreads(&self) -> Option<&Spreads> {
        self.inner.spreads.as_ref()
    }
}
