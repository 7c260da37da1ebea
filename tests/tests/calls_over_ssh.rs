//! The call suite once more, with every link over SSH.

#[path = "calls.rs"]
mod calls;
