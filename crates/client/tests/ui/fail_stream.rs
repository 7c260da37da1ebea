//! What a function gives is said as `impl Stream<Item = X>`, what it takes as `Streaming<T>`.

#[skyward::function]
async fn later() -> impl Iterator<Item = u32> {
    0..3
}

#[skyward::function]
fn of_what() -> impl futures_util::Stream {
    futures_util::stream::iter(0..3)
}

#[skyward::function]
fn takes(numbers: impl futures_util::Stream<Item = u32>) -> u32 {
    0
}

fn main() {}
