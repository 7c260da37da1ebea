//! Functions that cannot be called from elsewhere.

#[skyward::function]
const fn one() {}

#[skyward::function]
unsafe fn two() {}

#[skyward::function]
extern "C" fn three() {}

#[skyward::test]
fn four() {}

#[skyward::test]
async fn five(n: u32) {}

fn main() {}
