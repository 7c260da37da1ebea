//! An async function may move between threads.

#[skyward::function]
async fn train(epochs: u32) -> f64 {
    let shared = std::rc::Rc::new(epochs);
    std::future::ready(()).await;
    f64::from(*shared)
}

fn main() {}
