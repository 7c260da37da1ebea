//! How many machines a pool has.

use serde::{Deserialize, Serialize};

use super::InvalidRequest;

/// How many nodes to rent: `4`, or `(2, 8)` for two at first and eight at most, or all three numbers.
///
/// A pool with a `max`, or with a `min` of 0, scales by itself: it grows when calls wait and gives back what it does
/// not use, between `min` (or `desired`, where there is no `min`) and `max`. See [`Scaling`](super::Scaling).
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
    /// The number of ready nodes with which `start()` returns (with 0, one where any is `desired`); the others join
    /// when they are ready. A pool that scales never gives back more than down to it. Default: `desired`. Above
    /// `desired` only with a `max`.
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
    /// Zero is a meaning of its own: a pool that rents nothing before there is work (`desired`), or when there is
    /// none any more (`min`).
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

    /// Checks that a pool of these numbers could ever run anything.
    ///
    /// # Errors
    /// What [`Nodes::validated`] finds, or that there would never be a node.
    pub fn startable(self) -> Result<Self, InvalidRequest> {
        let valid = self.validated()?;
        let (field, allowed) = match (valid.most(), valid.max) {
            (0, None) => ("nodes.desired", "must be at least 1, unless nodes.max is"),
            (0, Some(_)) => ("nodes.max", "must be at least 1"),
            (_, _) => return Ok(valid),
        };
        Err(InvalidRequest::new(field, 0, allowed))
    }

    /// Between which numbers the pool scales by itself: where there is a `max`, or where `min` is 0. `None` where it
    /// keeps its number.
    pub fn scales(self) -> Option<(u32, u32)> {
        let by_itself = self.max.is_some() || self.min == Some(0);
        by_itself.then(|| (self.least(), self.most()))
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
    fn a_pool_that_could_never_have_a_node_cannot_be_started() {
        for (never, field) in
            [(nodes(0, None, None), "nodes.desired"), (nodes(0, Some(0), Some(0)), "nodes.max")]
        {
            assert_eq!(never.validated(), Ok(never));
            assert_eq!(never.startable().expect_err("never").field, field);
        }
        for valid in [nodes(0, None, Some(2)), nodes(2, Some(0), None), nodes(2, None, Some(8))] {
            assert_eq!(valid.startable(), Ok(valid));
        }
    }

    #[test]
    fn a_pool_scales_between_its_numbers_where_there_is_room() {
        for (it, scales) in [
            (nodes(4, None, None), None),
            (nodes(4, Some(2), None), None),
            (nodes(2, None, Some(8)), Some((2, 8))),
            (nodes(4, Some(1), Some(8)), Some((1, 8))),
            (nodes(0, None, Some(8)), Some((0, 8))),
            (nodes(4, Some(0), None), Some((0, 4))),
            (nodes(4, None, Some(4)), Some((4, 4))),
        ] {
            assert_eq!(it.scales(), scales, "{it:?}");
        }
    }
}
