//! Streams that break in the middle or that nobody reads, and times that never end.

use super::*;

/// Writes a note once it has taken all of them.
#[skyward::function]
fn notes_the_whole(numbers: Streaming<u32>, note: String) -> usize {
    let all: Vec<u32> = numbers.into_iter().collect();
    std::fs::write(note, format!("{all:?}")).expect("written");
    all.len()
}

/// Counts what it takes, one stream after the other.
#[skyward::function]
async fn one_by_one(
    a: Streaming<String>,
    b: Streaming<String>,
    c: Streaming<String>,
    d: Streaming<String>,
    e: Streaming<String>,
) -> usize {
    let mut count = 0;
    for of in [a, b, c, d, e] {
        count += of.count().await;
    }
    count
}

/// Gives a few numbers and waits to be let go; on one node it fails before that.
#[skyward::function]
async fn fails_on(failing: u32, gate: String) -> impl Stream<Item = Result<u32, TooMuch>> {
    let fails = skyward::instance_info().is_some_and(|it| it.rank.0 == failing);
    let last = stream::once(async move {
        while !fails && !std::path::Path::new(&gate).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if fails { Err(TooMuch(failing)) } else { Ok(3) }
    });
    stream::iter((0..3).map(Ok)).chain(last)
}

/// For everything that is to come at all.
const SOON: Duration = Duration::from_secs(120);

/// Two numbers, and no third, because of this.
fn broken(why: &str) -> Streaming<u32> {
    let why = why.to_owned();
    Streaming::new(stream::iter(0..3).map(move |it| if it < 2 { it } else { panic!("{why}") }))
}

#[skyward::test]
async fn a_plain_function_takes_no_part_for_the_whole_and_what_it_made_comes_first() -> skyward::Result<()> {
    let ground = Ground::new("stream-part");
    let compute = pool(&ground, 1, 1).await?;
    for _ in 0..20 {
        let (got, error) = all(doubled(broken("no third")) >> &compute).await;
        assert_eq!(got, [0, 2]);
        let error = error.expect("no third").to_string();
        assert!(error.contains("a stream that it takes panicked: no third"), "{error}");
    }
    let (got, error) = all(doubled(broken("no third")).local()).await;
    assert!(got == [0, 2] && error.is_some(), "{got:?} {error:?}");
    let note = ground.path().join("note");
    let whole = || notes_the_whole(broken("no third"), note.display().to_string());
    assert!((whole() >> &compute).await.is_err() && whole().local().await.is_err());
    // A slot is free when the function has ended.
    assert_eq!((count(1) >> &compute).collect().await?, [0]);
    assert!(!note.exists(), "it took a part for the whole");
    end(compute, &ground).await
}

#[skyward::test]
async fn a_call_that_takes_a_stream_is_in_a_group_like_any_other() -> skyward::Result<()> {
    let ground = Ground::new("stream-group");
    let compute = pool(&ground, 2, 1).await?;
    let one_to = |last: u64| Streaming::iter(1..=last);
    let three = (process() & sum(one_to(4)) & sum(one_to(5))) >> &compute;
    let (process, ten, fifteen) = three.await?;
    assert!(process > 0 && (ten, fifteen) == (10, 15));
    let error = ((sum(one_to(2)) & notes_the_whole(broken("no third"), String::new())) >> &compute).await;
    let error = error.expect_err("its stream breaks").to_string();
    assert!(error.contains("notes_the_whole` in a group of calls") && error.contains("no third"), "{error}");
    let whole = notes_the_whole(broken("no third"), String::new());
    let (whole, three) = ((whole & sum(one_to(2))) >> &compute).settle().await;
    assert!(whole.is_err() && three? == 3);
    // What ends with its group's time lets go of what it takes.
    let waits = sum(Streaming::new(stream::pending())) & sum(one_to(3));
    let (waits, six) = (waits.timeout(Duration::from_millis(500)) >> &compute).settle().await;
    assert!(matches!(waits, Err(CallError::TimedOut(_))), "{waits:?}");
    assert!(matches!(six, Ok(6) | Err(CallError::TimedOut(_))), "{six:?}");
    assert_eq!((sum(one_to(3)) >> &compute).await?, 6);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_time_too_long_to_be_told_is_none() -> skyward::Result<()> {
    let ground = Ground::new("stream-ever");
    let compute = pool(&ground, 1, 1).await?;
    let ever = || count(3).timeout(Duration::MAX).idle(Duration::MAX);
    assert_eq!((ever() >> &compute).collect().await?, [0, 1, 2]);
    assert_eq!(ever().local().collect().await?, [0, 1, 2]);
    let mut merged = (ever() * &compute).await?;
    assert_eq!(merged.next().await.map(|(rank, it)| (rank, it.ok())), Some((0, Some(0))));
    drop(merged);
    assert_eq!((sum(Streaming::iter([1, 2])).timeout(Duration::MAX) >> &compute).await?, 3);
    end(compute, &ground).await
}

#[skyward::test]
async fn streams_that_nobody_reads_hold_up_nothing_else_on_their_link() -> skyward::Result<()> {
    let ground = Ground::new("stream-unread");
    let compute = pool(&ground, 1, 6).await?;
    let before = (made() >> &compute).await?.0;
    let mut unread = Vec::new();
    for _ in 0..5 {
        let mut items = large_ones() >> &compute;
        assert_eq!(items.next().await.transpose()?.map(|it| it.len()), Some(ITEM));
        unread.push(items);
    }
    // More than a connection takes that knows nothing of them, and calls beside it return.
    let full = async { while (made() >> &compute).await.map_or(0, |it| it.0) - before < 1100 {} };
    tokio::time::timeout(SOON, full).await.expect("calls and streams go on");
    let last = unread.last_mut().expect("five");
    for _ in 0..600 {
        let item = tokio::time::timeout(SOON, last.next()).await.expect("it goes on");
        assert!(item.is_some_and(|it| it.is_ok()));
    }
    drop(unread);
    // The other way: the first of five is read while the others wait, each as large as a link lets it be.
    let large = || Streaming::iter((0..300).map(|_| "x".repeat(ITEM)));
    let count = one_by_one(large(), large(), large(), large(), large()) >> &compute;
    assert_eq!(tokio::time::timeout(SOON, count).await.expect("none waits for another")?, 5 * 300);
    end(compute, &ground).await
}

#[skyward::test]
async fn an_error_or_a_lost_node_ends_its_own_stream_of_a_broadcast_and_no_other() -> skyward::Result<()> {
    let ground = Ground::new("stream-all-errors");
    let compute = pool(&ground, 3, 2).await?;
    let gates = tempfile::tempdir()?;
    let gate = gates.path().join("gate").display().to_string();
    let worker = (process() >> compute.node(2)).await?;
    let mut streams = (fails_on(1, gate.clone()) * &compute).await?;
    let (mut got, mut failed) = ([0; 3], Vec::new());
    while let Some((rank, item)) = streams.next().await {
        let of = got.get_mut(rank as usize).expect("of a rank");
        match item {
            Ok(number) => {
                assert_eq!(number, *of);
                *of += 1;
                // Once all of them have given what they have, one is lost and the last is let go.
                if got == [3; 3] {
                    kill(worker);
                }
            }
            Err(error) => {
                assert_eq!(*of, 3, "an error comes behind what was given: {error:?}");
                failed.push((rank, matches!(error, CallError::Task(TooMuch(1))), error));
                if failed.len() == 2 {
                    std::fs::write(&gate, "")?;
                }
            }
        }
    }
    failed.sort_by_key(|it| it.0);
    let [(1, true, _), (2, false, CallError::Lost(_))] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(got, [4, 3, 3]);
    end(compute, &ground).await
}
