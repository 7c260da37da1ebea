//! An argument that cannot be encoded.

struct Settings;

#[skyward::function]
async fn train(epochs: u32, settings: Settings) -> f64 {
    let _ = settings;
    f64::from(epochs)
}

fn main() {}
