//! `anyhow::Error` cannot travel.

#[skyward::function]
async fn train(epochs: u32) -> anyhow::Result<f64> {
    Ok(f64::from(epochs))
}

fn main() {}
