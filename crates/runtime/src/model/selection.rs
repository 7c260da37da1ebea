//! Which of the offers that fit is taken first.

use std::fmt;
use std::sync::Arc;

use super::{Offer, Tariff};

/// In which order the offers that fit a pool's specs are tried. Offers that are equal in it are ordered by
/// price, then by spec, provider, region and id, so that the same offers always give the same order.
///
/// ```
/// use skyward_runtime::model::Selection;
/// let near = Selection::custom(|choices| {
///     choices.sort_by_key(|it| it.offer.region.as_deref() != Some("eu-west-1"));
/// });
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Selection {
    /// The lowest price of all specs. The default.
    #[default]
    Cheapest,
    /// The first spec that has an offer, and its cheapest; then the next spec.
    First,
    /// The first spec whose provider says that enough machines are free; then those that do not say, then
    /// those with too few.
    Available,
    /// What a function of your own makes of them; see [`Selection::custom`].
    Custom(Arc<Choose>),
}

/// A function that puts choices into the order in which they are tried.
pub type Choose = dyn Fn(&mut Vec<Choice<'_>>) + Send + Sync;

/// An offer that fits a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The number of the spec that it fits, from 0.
    pub spec: usize,
    /// The offer.
    pub offer: &'a Offer,
    /// What would be paid for each machine.
    pub tariff: Tariff,
}

impl Selection {
    /// An order of your own: the function is given what fits, cheapest first, and sorts it or takes out
    /// what it does not want. What it adds is tried as well. If it panics, the pool does not start.
    pub fn custom(choose: impl Fn(&mut Vec<Choice<'_>>) + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(choose))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cheapest => "cheapest",
            Self::First => "first",
            Self::Available => "available",
            Self::Custom(_) => "custom",
        })
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
