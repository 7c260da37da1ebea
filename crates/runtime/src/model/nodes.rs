//! How many machines a pool has.

use serde::{Deserialize, Serialize};

use super::InvalidRequest;

/// How many nodes to rent: `4`, or `(2, 8)` for two at first and eight at most, or all three numbers.
///
/// ```
/// use skyward_runtime::model::Nodes;
/// assert_eq!(Nodes::from(4), Nodes { desired: 4, ..Nodes::default() });
/// assert_eq!(Nodes::from((2, 8)), Nodes { desired: 2, max: Some(8), ..Nodes::default() });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// The number of nodes that the pool wants to have at first. Default 1.
    pub desired: u32,
    /// The number of ready nodes with which `start()` returns; the others join when they are ready.
    /// Default: `desired`. Above `desired` only with a `max`.
    #[serde(default)]
    pub min: Option<u32>,
    /// The number of nodes that the pool may grow to. Default: it does not grow.
    #[serde(default)]
    pub max: Option<u32>,
}

impl Nodes {
    /// The most nodes that one pool may have: one client holds a link to each of them, which was
    /// measured to hold up to this number.
    pub const MOST: u32 = 1000;

    /// Checks that the numbers fit each other: `max` is at least `desired`; `min` is at most `max`, or
    /// at most `desired` where there is no `max`; none is above [`Nodes::MOST`].
    ///
    /// Zero is a meaning of its own, a pool that rents nothing before there is work (`desired`) or when
    /// there is none any more (`min`); see [`Nodes::startable`].
    ///
    /// # Errors
    /// Which number is wrong and what it may be.
    pub fn validated(self) -> Result<Self, InvalidRequest> {
        let Self { desired, min, max } = self;
        for (field, number) in [("desired", Some(desired)), ("min", min), ("max", max)] {
            if let Some(number) = number.filter(|it| *it > Self::MOST) {
                let allowed = format!("a pool has at most {} nodes", Self::MOST);
                return Err(InvalidRequest::new(format!("nodes.{field}"), number, allowed));
            }
        }
        if let Some(max) = max.filter(|it| *it < desired) {
            let allowed = format!("must be at least nodes.desired, which is {desired}");
            return Err(InvalidRequest::new("nodes.max", max, allowed));
        }
        let (above, bound) = max.map_or(("nodes.desired", desired), |max| ("nodes.max", max));
        if let Some(min) = min.filter(|it| *it > bound) {
            let allowed = match max {
                Some(_) => format!("must be at most {above}, which is {bound}"),
                None => format!("must be at most {above}, which is {bound}, unless nodes.max is set"),
            };
            return Err(InvalidRequest::new("nodes.min", min, allowed));
        }
        Ok(self)
    }

    /// Checks that a pool can be started with these numbers today: a pool keeps the number of nodes
    /// that it begins with, so one that grows, begins without a node or gives its last node back is
    /// refused, not ignored.
    ///
    /// # Errors
    /// What [`Nodes::validated`] finds, or which number asks for what cannot be had.
    pub fn startable(self) -> Result<Self, InvalidRequest> {
        let Self { desired, min, max } = self.validated()?;
        let refuse = |field: &str, number: u32, allowed: &str| {
            let allowed = format!("{allowed} (a pool does not change its number of nodes by itself yet)");
            Err(InvalidRequest::new(format!("nodes.{field}"), number, allowed))
        };
        if desired == 0 {
            return refuse("desired", 0, "must be at least 1");
        }
        if min == Some(0) {
            return refuse("min", 0, "must be at least 1");
        }
        match max.filter(|it| *it > desired) {
            Some(max) => refuse("max", max, &format!("leave it out, or set it to {desired}")),
            None => Ok(self),
        }
    }

    /// With how many nodes the pool is ready.
    pub fn least(self) -> u32 {
        self.min.unwrap_or(self.desired)
    }

    /// Up to how many nodes it may have.
    pub fn most(self) -> u32 {
        self.max.unwrap_or(self.desired)
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self { desired: 1, min: None, max: None }
    }
}

impl From<u32> for Nodes {
    fn from(desired: u32) -> Self {
        Self { desired, ..Self::default() }
    }
}

/// So many at first, and so many at most.
impl From<(u32, u32)> for Nodes {
    fn from((desired, max): (u32, u32)) -> Self {
        Self { desired, max: Some(max), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn nodes(desired: u32, min: Option<u32>, max: Option<u32>) -> Nodes {
        Nodes { desired, min, max }
    }

    #[test]
    fn numbers_that_fit_each_other_are_valid() {
        for valid in [
            nodes(1, None, None),
            nodes(0, None, None),
            nodes(4, Some(2), None),
            nodes(4, Some(4), None),
            nodes(4, Some(0), None),
            nodes(2, None, Some(8)),
            nodes(2, Some(4), Some(8)),
            nodes(2, Some(8), Some(8)),
            nodes(0, Some(0), Some(8)),
            nodes(4, None, Some(4)),
            nodes(1000, None, Some(1000)),
        ] {
            assert_eq!(valid.validated(), Ok(valid));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_with_field_value_and_what_is_allowed() {
        for (invalid, error) in [
            (nodes(4, None, Some(2)), "nodes.max is 2: must be at least nodes.desired, which is 4"),
            (nodes(0, Some(1), Some(0)), "nodes.min is 1: must be at most nodes.max, which is 0"),
            (nodes(2, Some(9), Some(8)), "nodes.min is 9: must be at most nodes.max, which is 8"),
            (
                nodes(2, Some(3), None),
                "nodes.min is 3: must be at most nodes.desired, which is 2, unless nodes.max is set",
            ),
            (nodes(1001, None, None), "nodes.desired is 1001: a pool has at most 1000 nodes"),
            (nodes(1, None, Some(1001)), "nodes.max is 1001: a pool has at most 1000 nodes"),
        ] {
            assert_eq!(invalid.validated().expect_err("invalid").to_string(), error);
            assert!(invalid.startable().is_err());
        }
    }

    #[test]
    fn a_pool_that_would_have_to_change_its_size_cannot_be_started_yet() {
        for (valid, field) in [
            (nodes(0, None, None), "nodes.desired"),
            (nodes(0, Some(0), Some(2)), "nodes.desired"),
            (nodes(2, Some(0), None), "nodes.min"),
            (nodes(2, None, Some(8)), "nodes.max"),
        ] {
            assert_eq!(valid.validated(), Ok(valid));
            assert_eq!(valid.startable().expect_err("not yet").field, field);
        }
        assert!(nodes(2, Some(1), Some(2)).startable().is_ok());
    }
}
