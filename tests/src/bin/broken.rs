//! A program whose pool does not start, or not entirely, and that keeps what failed: in the way that its
//! first argument says, with machines in the directory that its second argument names, for so many
//! milliseconds as its third one says. The keeping tests start it and look at what it leaves.

#![expect(clippy::print_stdout, reason = "it tells the test what it was told")]

use std::time::Duration;

use skyward::prelude::*;
use skyward_tests::Elsewhere;

#[skyward::main]
async fn main() -> skyward::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let way = arguments.next().unwrap_or_default();
    let directory = arguments.next().unwrap_or_default();
    let keep = Duration::from_millis(arguments.next().and_then(|it| it.parse().ok()).unwrap_or(0));
    // The first machine that comes is sound, where one is to be.
    let sound = if way == "some" { format!("mkdir {directory}-mark") } else { "false".to_owned() };
    let image = Image::new().shell(format!("echo left-behind > \"$HOME/clue\"; {sound} || exit 7"));
    let nodes = if way == "some" { Nodes { min: Some(1), ..Nodes::from(2) } } else { Nodes::from(2) };
    let timing = Timing { lease: Duration::from_secs(2), ..Timing::short() };
    let local = Local::default().directory(directory);
    let spec = match way.as_str() {
        "outside" => Spec::on(Elsewhere { local, ends_itself: false }),
        _ => Spec::on(local),
    };
    let pool = skyward_tests::apart().spec(spec).nodes(nodes);
    let started = pool.image(image).timing(timing).keep_on_failure(keep).console().start().await;
    match (started, way.as_str()) {
        (Err(error), "leave" | "outside") => Err(error),
        (Err(error), _) => {
            println!("{error}");
            println!("failed");
            std::future::pending().await
        }
        (Ok(compute), _) => {
            println!("started");
            std::io::stdin().lines().next();
            compute.stop().await
        }
    }
}
