//! A dispatch is a future: without `.await` there is no value, and nothing is sent.
#![deny(unused_must_use)]

use skyward::prelude::*;

#[skyward::function]
async fn train(epochs: u32) -> f64 {
    f64::from(epochs)
}

async fn wrong_type(compute: &Compute) -> Result<f64, CallError> {
    let loss: f64 = train(1) >> compute;
    Ok(loss)
}

async fn question_mark(compute: &Compute) -> Result<f64, CallError> {
    Ok((train(1) >> compute)?)
}

fn main() {}
