//! One concrete type for each argument and the value.

#[skyward::function]
fn sum(numbers: impl IntoIterator<Item = u64>) -> impl std::fmt::Display {
    numbers.into_iter().sum::<u64>()
}

fn main() {}
