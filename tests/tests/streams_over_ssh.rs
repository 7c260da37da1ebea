//! The suite of streams once more, with every link over SSH.

#[path = "streams.rs"]
mod streams;
