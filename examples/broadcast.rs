//! Groups of calls: two broadcasts at once, a pair of different types, and a function's own error, which
//! the caller matches. Run it with `cargo run --example broadcast`.

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use serde::{Deserialize, Serialize};
use skyward::prelude::*;

#[derive(Debug, Serialize, Deserialize)]
enum DivideError {
    ByZero,
}

#[skyward::function]
async fn divide(dividend: u32, divisor: u32) -> Result<u32, DivideError> {
    dividend.checked_div(divisor).ok_or(DivideError::ByZero)
}

/// A plain function runs on a thread of its own, so it may be as busy as it likes.
#[skyward::function]
fn primes_below(limit: u32) -> usize {
    (2..limit).filter(|n| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0)).count()
}

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let compute = Compute::builder().nodes(3).console().start().await?;

    // Two broadcasts at once: each gets its own answers, one for each node, in rank order.
    let (few, many) = tokio::join!(primes_below(100) * &compute, primes_below(10_000) * &compute);
    println!("primes below 100, by node: {:?}; below 10000: {:?}", few?, many?);

    // Two calls in parallel, each with its own type.
    let (quotient, primes) = ((divide(84, 2) & primes_below(1_000)) >> &compute).await?;
    println!("84 / 2 = {quotient}; {primes} primes below 1000");

    // What the function says has gone wrong arrives as what it is.
    match (divide(1, 0) * &compute).await {
        Err(CallError::Task(DivideError::ByZero)) => println!("1 / 0: refused by the function, as a value"),
        Err(other) => return Err(other.into()),
        Ok(quotients) => println!("1 / 0 = {quotients:?}, and mathematics is over"),
    }

    compute.stop().await
}
