//! Work is sent to a pool by reference.

use skyward::prelude::*;

#[skyward::function]
async fn train(epochs: u32) -> f64 {
    f64::from(epochs)
}

async fn by_value(compute: Compute) {
    let _ = (train(1) >> compute).await;
}

async fn without_parentheses(compute: &Compute) {
    let _ = (train(1) & train(2) >> compute).await;
}

fn main() {}
