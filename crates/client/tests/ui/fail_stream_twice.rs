//! A stream that is taken can be read once, so its call goes to one node, once.

use skyward::prelude::*;

#[skyward::function]
async fn sum(numbers: Streaming<u64>) -> u64 {
    let _ = numbers;
    0
}

fn every_node(compute: &Compute) {
    let _ = sum(Streaming::iter([1])) * compute;
}

fn twice() {
    let call = sum(Streaming::iter([1]));
    let _ = call.clone();
}

fn main() {}
