//! Items travel like arguments and values.

use futures_util::{Stream, stream};
use skyward::prelude::*;

struct Local(std::rc::Rc<u32>);

#[skyward::function]
fn gives() -> impl Stream<Item = Local> {
    stream::empty()
}

#[skyward::function]
fn takes(items: Streaming<Local>) {
    drop(items);
}

fn main() {}
