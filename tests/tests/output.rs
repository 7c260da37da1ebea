//! What functions write, on real local machines: whose it is, who sees it, and what becomes of too much.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a task prints is what is tested")]

use std::time::Duration;

use skyward::prelude::*;
use skyward::{Line, Output, OutputStream, Retention, Show};
use skyward_tests::{Ground, patient};

#[skyward::function]
fn speaks(text: String) -> u32 {
    println!("{text} out");
    eprintln!("{text} err");
    tracing::warn!(number = 7, "{text} log");
    tracing::debug!("{text} is not asked for");
    7
}

#[skyward::function]
async fn speaks_later(text: String) {
    tokio::task::yield_now().await;
    tracing::info!("{text}");
}

#[skyward::function]
fn writes(bytes: Vec<u8>) {
    use std::io::Write;
    std::io::stdout().write_all(&bytes).expect("written");
}

#[skyward::function]
fn writes_lines(count: usize) -> usize {
    for number in 0..count {
        println!("line {number}");
    }
    count
}

#[skyward::function]
fn speaks_and_aborts(lines: usize) {
    for number in 0..lines {
        println!("line {number}");
    }
    std::process::abort()
}

const PROCESSES: Worker = Worker {
    concurrency: 1,
    buffer: 0,
    executor: Executor::Process,
    reuse: true,
    retention: Retention { memory: 64 << 20, disk: 4 << 30 },
};

fn builder(ground: &Ground, executor: Executor) -> skyward::Builder {
    let local = Local::default().directory(ground.path());
    skyward_tests::apart().spec(Spec::on(local)).timing(patient()).worker(Worker { executor, ..PROCESSES })
}

async fn end(compute: Compute, ground: &Ground) -> skyward::Result<()> {
    compute.stop().await?;
    assert_eq!(ground.left(), Vec::<String>::new());
    Ok(())
}

/// The next lines, so many of them.
async fn lines(output: &mut Output, count: usize) -> Vec<Line> {
    let mut seen = Vec::new();
    let read = async {
        while seen.len() < count {
            seen.push(output.next().await.expect("the pool lives"));
        }
    };
    if tokio::time::timeout(Duration::from_secs(10), read).await.is_err() {
        panic!("{count} lines do not come: {seen:#?}");
    }
    seen
}

/// Node, whether the task is known, stream and text, sorted.
fn told(lines: &[Line]) -> Vec<(u32, bool, String, String)> {
    let mut told: Vec<_> = lines
        .iter()
        .map(|it| (it.node.0, it.task.is_some(), format!("{:?}", it.stream), it.text.clone()))
        .collect();
    told.sort();
    told
}

fn expected(node: u32, has_task: bool, text: &str) -> [(u32, bool, String, String); 3] {
    let log = format!("WARN output: {text} log number=7");
    let line = |has_task, stream: &str, text| (node, has_task, stream.to_owned(), text);
    [
        line(has_task, "Stdout", format!("{text} out")),
        line(has_task, "Stderr", format!("{text} err")),
        line(true, "Log", log),
    ]
}

#[skyward::test]
async fn lines_are_tagged_with_node_task_and_stream() -> skyward::Result<()> {
    for (executor, has_task) in [(Executor::Process, true), (Executor::Thread, false)] {
        let ground = Ground::new("tags");
        let compute = builder(&ground, executor).nodes(2).start().await?;
        let mut output = compute.output();
        assert_eq!((speaks("all".into()) * &compute).await?, [7, 7]);
        let seen = lines(&mut output, 6).await;
        let mut wanted = [expected(0, has_task, "all"), expected(1, has_task, "all")].concat();
        wanted.sort();
        assert_eq!(told(&seen), wanted);
        assert!(seen.iter().any(|it| it.to_string() == "[1] all out"));
        // Two calls are two tasks.
        let tasks =
            |lines: &[Line]| lines.iter().filter_map(|it| it.task).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(tasks(&seen).len(), 2);
        (speaks_later("async".into()) >> compute.node(1)).await?;
        let later = lines(&mut output, 1).await;
        assert_eq!(told(&later), [(1, true, "Log".to_owned(), "INFO output: async".to_owned())]);
        assert!(tasks(&seen).is_disjoint(&tasks(&later)));
        end(compute, &ground).await?;
        assert_eq!(output.next().await, None);
    }
    Ok(())
}

#[skyward::test]
async fn a_pool_shows_what_it_is_asked_to() -> skyward::Result<()> {
    for (show, wanted) in [
        (Show::Head, expected(0, true, "pool").to_vec()),
        (Show::only(|it| it.stream == OutputStream::Stderr), {
            [0, 1].map(|node| expected(node, true, "pool")[1].clone()).to_vec()
        }),
        (Show::Nothing, vec![]),
    ] {
        let ground = Ground::new("shows");
        let compute = builder(&ground, Executor::Process).nodes(2).show(show).start().await?;
        let mut output = compute.output();
        (speaks("pool".into()) * &compute).await?;
        end(compute, &ground).await?;
        let (mut seen, mut wanted) = (Vec::new(), wanted);
        while let Some(line) = output.next().await {
            seen.push(line);
        }
        wanted.sort();
        assert_eq!(told(&seen), wanted);
    }
    Ok(())
}

/// Says where it is, without an end of the line, and stays there.
#[skyward::function]
fn is_stuck() {
    use std::io::Write;
    print!("stuck at 7");
    let _ = std::io::stdout().flush();
    loop {
        std::thread::park();
    }
}

#[skyward::test]
async fn the_last_words_of_a_process_that_is_killed_at_its_time_out_are_read() -> skyward::Result<()> {
    let ground = Ground::new("stuck");
    let compute = builder(&ground, Executor::Process).start().await?;
    let mut output = compute.output();
    // Its process is there already, so that all of the time is the next one's.
    (speaks("early".into()) >> &compute).await?;
    lines(&mut output, 3).await;
    let late = (is_stuck().timeout(Duration::from_secs(3)) >> &compute).await;
    assert!(matches!(late, Err(CallError::TimedOut(_))), "{late:?}");
    let words = lines(&mut output, 1).await;
    assert_eq!(words.first().map(|it| (it.text.as_str(), it.task.is_some())), Some(("stuck at 7", true)));
    end(compute, &ground).await
}

#[skyward::test]
async fn a_call_shows_less_than_its_pool() -> skyward::Result<()> {
    let ground = Ground::new("call-shows");
    let compute = builder(&ground, Executor::Process).nodes(2).start().await?;
    let mut output = compute.output();
    (speaks("silent".into()).silent() * &compute).await?;
    (speaks("head".into()).show(Show::Head) * &compute).await?;
    let log = Show::only(|it| it.stream == OutputStream::Log);
    (speaks("log".into()).show(log) >> compute.node(1)).await?;
    end(compute, &ground).await?;
    let mut seen = Vec::new();
    while let Some(line) = output.next().await {
        seen.push(line);
    }
    let mut wanted = expected(0, true, "head").to_vec();
    wanted.push(expected(1, true, "log")[2].clone());
    wanted.sort();
    assert_eq!(told(&seen), wanted);
    Ok(())
}

#[skyward::test]
async fn what_was_said_before_anybody_read_is_still_there() -> skyward::Result<()> {
    let ground = Ground::new("before");
    let compute = builder(&ground, Executor::Process).start().await?;
    (speaks("early".into()) >> &compute).await?;
    let mut output = compute.output();
    assert_eq!(lines(&mut output, 3).await.len(), 3);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_long_line_is_cut_and_what_is_no_text_is_replaced() -> skyward::Result<()> {
    let ground = Ground::new("long");
    let compute = builder(&ground, Executor::Process).start().await?;
    let mut output = compute.output();
    let bytes = ["x".repeat(20_000).as_bytes(), b"\n\xff\xfe?\nunfinished"].concat();
    (writes(bytes) >> &compute).await?;
    let seen = lines(&mut output, 5).await;
    let lengths: Vec<_> = seen.iter().map(|it| it.text.len()).collect();
    assert_eq!(lengths[..3], [8192, 8192, 20_000 - 2 * 8192]);
    let rest: Vec<_> = seen.iter().skip(3).map(|it| it.text.as_str()).collect();
    assert_eq!(rest, ["\u{fffd}\u{fffd}?", "unfinished"]);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_slow_reader_stalls_no_task_and_is_told_what_it_missed() -> skyward::Result<()> {
    const MANY: usize = 100_000;
    for executor in [Executor::Process, Executor::Thread] {
        let ground = Ground::new("slow");
        let compute = builder(&ground, executor).start().await?;
        let mut output = compute.output();
        // Nobody reads while it writes more than all queues and the link hold.
        assert_eq!((writes_lines(MANY) >> &compute).await?, MANY);
        let last = format!("line {}", MANY - 1);
        let (mut seen, mut missed, mut is_last) = (0, 0, false);
        let read = async {
            while !is_last {
                let line = output.next().await.expect("the pool lives");
                match line.stream {
                    OutputStream::Missed(lines) => missed += lines,
                    _ => seen += 1,
                }
                is_last = line.text == last;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time");
        assert!(missed > 0, "{executor:?}: nothing was missed");
        assert_eq!(seen + missed, MANY as u64, "{executor:?}");
        end(compute, &ground).await?;
    }
    Ok(())
}

#[skyward::test]
async fn what_a_process_said_is_there_before_its_crash_is() -> skyward::Result<()> {
    let ground = Ground::new("crash");
    let compute = builder(&ground, Executor::Process).start().await?;
    let mut output = compute.output();
    for _ in 0..3 {
        match (speaks_and_aborts(500) >> &compute).await {
            Err(CallError::Crashed(crash)) => {
                assert_eq!(crash.output.last().map(String::as_str), Some("line 499"));
            }
            other => panic!("{other:?}"),
        }
        // Not waited for: they have come.
        let mut seen = Vec::new();
        while let Some(Some(line)) = futures_util::FutureExt::now_or_never(output.next()) {
            seen.push(line.text);
        }
        assert_eq!(seen, (0..500).map(|it| format!("line {it}")).collect::<Vec<_>>());
    }
    end(compute, &ground).await
}
