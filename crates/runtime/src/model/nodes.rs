//! How many machines a pool has.

use serde::{Deserialize, Serialize};

/// How many nodes to rent.
///
/// ```
/// use skyward_runtime::model::Nodes;
/// assert_eq!(Nodes::from(4), Nodes { desired: 4 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// The number of nodes that `start()` waits for. Default 1; at least 1.
    pub desired: u32,
}

/// A number of nodes that cannot be rented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidNodes {
    /// What was asked for.
    pub desired: u32,
}

impl Nodes {
    /// The most nodes that one pool may have: one client holds a link to each of them, which was
    /// measured to hold up to this number.
    pub const MOST: u32 = 1000;

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`InvalidNodes`] when `desired` is 0 or above [`Nodes::MOST`].
    pub fn validated(self) -> Result<Self, InvalidNodes> {
        if (1..=Self::MOST).contains(&self.desired) {
            Ok(self)
        } else {
            Err(InvalidNodes { desired: self.desired })
        }
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self { desired: 1 }
    }
}

impl From<u32> for Nodes {
    fn from(desired: u32) -> Self {
        Self { desired }
    }
}

impl std::fmt::Display for InvalidNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "nodes is {}, but must be between 1 and {}", self.desired, Nodes::MOST)
    }
}

impl std::error::Error for InvalidNodes {}
