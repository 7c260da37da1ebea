//! Items that are taken travel like arguments.

struct Model;

#[skyward::function]
fn takes(models: skyward::Streaming<Model>) {
    drop(models);
}

fn main() {}
