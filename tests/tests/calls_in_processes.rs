//! The tests of `calls`, with tasks in processes of their own.

#[path = "calls.rs"]
mod calls;
