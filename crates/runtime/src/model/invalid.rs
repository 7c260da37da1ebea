//! A request that cannot be meant, refused before anything is asked of a cloud.

use std::fmt;

/// What is wrong with a request: which field, what it says, and what it may say.
///
/// ```
/// use skyward_runtime::model::Nodes;
/// let error = Nodes::from((4, 2)).validated().expect_err("fewer at most than at first");
/// assert_eq!(error.to_string(), "nodes.max is 2: must be at least nodes.desired, which is 4");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRequest {
    /// The field, as it is written in a program.
    pub field: String,
    /// What it says.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl InvalidRequest {
    /// A field that may not say what it says.
    pub fn new(field: impl Into<String>, value: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.to_string(), allowed: allowed.into() }
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}", self.field, self.value, self.allowed)
    }
}

impl std::error::Error for InvalidRequest {}
