//! How many machines a pool has.

use serde::{Deserialize, Serialize};

/// How many nodes to rent.
///
/// ```
/// use skyward_runtime::model::Nodes;
/// assert_eq!(Nodes::from(4), Nodes { desired: 4, min: None });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// The number of nodes that the pool wants to have. Default 1; at least 1.
    pub desired: u32,
    /// The number of ready nodes with which `start()` returns; the others join when they are ready.
    /// Default: all of them. At least 1, at most `desired`.
    pub min: Option<u32>,
}

/// A number of nodes that cannot be rented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidNodes {
    /// What was asked for.
    pub desired: u32,
    /// What was asked for.
    pub min: Option<u32>,
}

impl Nodes {
    /// The most nodes that one pool may have: one client holds a link to each of them, which was
    /// measured to hold up to this number.
    pub const MOST: u32 = 1000;

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`InvalidNodes`] when `desired` is 0 or above [`Nodes::MOST`], or `min` is 0 or above `desired`.
    pub fn validated(self) -> Result<Self, InvalidNodes> {
        let Self { desired, min } = self;
        if (1..=Self::MOST).contains(&desired) && (1..=desired).contains(&self.least()) {
            Ok(self)
        } else {
            Err(InvalidNodes { desired, min })
        }
    }

    /// With how many nodes the pool is ready.
    pub fn least(self) -> u32 {
        self.min.unwrap_or(self.desired)
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self { desired: 1, min: None }
    }
}

impl From<u32> for Nodes {
    fn from(desired: u32) -> Self {
        Self { desired, min: None }
    }
}

impl std::fmt::Display for InvalidNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { desired, min } = self;
        match min {
            Some(min) if (1..=Nodes::MOST).contains(desired) => {
                write!(f, "min is {min}, but must be between 1 and desired, which is {desired}")
            }
            _ => write!(f, "nodes is {desired}, but must be between 1 and {}", Nodes::MOST),
        }
    }
}

impl std::error::Error for InvalidNodes {}
