//! A value that cannot be encoded.

struct Model;

#[skyward::function]
fn train(epochs: u32) -> Model {
    let _ = epochs;
    Model
}

fn main() {}
