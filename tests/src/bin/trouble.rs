//! A program that gets into the trouble that its first argument names, with machines in the directory
//! that its second argument names, and prints what it is told. The troubles tests start it where the
//! trouble needs a process of its own: other limits, other variables, no `main` that can be a worker.

#![expect(clippy::print_stdout, reason = "it tells the test what it was told")]

use skyward::prelude::*;

#[skyward::function]
async fn one() -> u32 {
    1
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let trouble = arguments.next().unwrap_or_default();
    let directory = arguments.next();
    if trouble != "no-init" {
        skyward::init();
    }
    let nodes = arguments.next().and_then(|it| it.parse().ok()).unwrap_or(2);
    let mut local = Local::default();
    local.directory = directory.filter(|it| it != "default").map(Into::into);
    let began = std::time::Instant::now();
    let told = skyward::__private::test(|| go(local, nodes));
    println!("{:.2?}", began.elapsed());
    match told {
        Ok(ones) => println!("{ones:?}"),
        Err(error) => println!("{error:?}\n{error}"),
    }
}

async fn go(local: Local, nodes: u32) -> skyward::Result<Vec<u32>> {
    let pool = skyward_tests::apart().spec(Spec::on(local)).nodes(nodes);
    let compute = pool.timing(Timing::short()).console().start().await?;
    let ones = (one() * &compute).await?;
    compute.stop().await?;
    Ok(ones)
}
