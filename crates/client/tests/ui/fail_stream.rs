//! What a function of streams gives is said as `impl Stream<Item = X>`, and what it takes as
//! `Streaming<T>`; a stream that is taken can be read once.

use futures_util::{Stream, stream};
use skyward::prelude::*;

#[skyward::function]
async fn later() -> impl Iterator<Item = u32> {
    0..3
}

#[skyward::function]
fn of_what() -> impl Stream {
    stream::iter(0..3)
}

#[skyward::function]
fn takes(numbers: impl Stream<Item = u32>) -> u32 {
    0
}

fn main() {}
