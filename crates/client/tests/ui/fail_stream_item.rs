//! Items travel like values.

struct Model;

#[skyward::function]
fn gives() -> impl futures_util::Stream<Item = Model> {
    futures_util::stream::empty()
}

fn main() {}
