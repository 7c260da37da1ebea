//! The worker has to know which function to run.

#[skyward::function]
async fn train<T: Send>(epochs: T) -> f64 {
    let _ = epochs;
    1.0
}

#[skyward::function]
fn borrow<'a>(text: std::borrow::Cow<'a, str>) -> usize {
    text.len()
}

#[skyward::function]
fn sized<const N: usize>(array: [u8; N]) -> usize {
    array.len()
}

fn main() {}
