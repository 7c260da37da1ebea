//! A dispatch or a call that nobody waits for does nothing.
#![deny(unused_must_use)]

use skyward::prelude::*;

#[skyward::function]
async fn train(epochs: u32) -> f64 {
    f64::from(epochs)
}

async fn unused(compute: &Compute) {
    train(1) >> compute;
    compute.run(train(1));
    train(1);
}

fn main() {}
