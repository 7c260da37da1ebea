//! The attributes take no arguments.

#[skyward::function(timeout = 10)]
fn one() {}

#[skyward::test(ignore)]
async fn two() {}

#[skyward::main(threads = 2)]
async fn main() {}
