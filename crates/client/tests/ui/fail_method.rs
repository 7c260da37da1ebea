//! Methods have a receiver, which would have to travel.

struct Model;

impl Model {
    #[skyward::function]
    fn train(&self, epochs: u32) -> f64 {
        f64::from(epochs)
    }
}

fn main() {}
