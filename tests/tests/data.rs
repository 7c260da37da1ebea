//! Large and shared data on real local machines.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Deserializer, Serialize};
use skyward::prelude::*;
use skyward::{Array, Bytes, Shared};
use skyward_tests::Ground;

#[derive(Debug, Serialize, Deserialize)]
struct Frame {
    name: String,
    pixels: Bytes,
    weights: Vec<Array<f32>>,
}

#[skyward::function]
async fn twice(frame: Frame, small: Bytes) -> (Frame, Bytes) {
    let pixels: Vec<u8> = frame.pixels.iter().map(|it| it.wrapping_mul(2)).collect();
    let weights = frame.weights.iter().map(|it| it.iter().map(|it| it * 2.0).collect::<Vec<_>>().into());
    let weights = weights.collect();
    (Frame { name: frame.name, pixels: pixels.into(), weights }, small)
}

/// Something that counts how often it was decoded in this process.
#[derive(Serialize)]
struct Counted(u32);

static DECODED: AtomicU32 = AtomicU32::new(0);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        u32::deserialize(deserializer).map(Counted)
    }
}

#[skyward::function]
async fn add(to: Shared<Counted>, number: u32) -> (u32, u32) {
    (to.0 + number, DECODED.load(Ordering::Relaxed))
}

#[skyward::function]
async fn length(of: Shared<Array<u64>>) -> u64 {
    of.len() as u64
}

/// Something shared and raw data in one value.
#[derive(Serialize, Deserialize)]
struct Step {
    model: Shared<Array<f32>>,
    batch: Array<f32>,
}

#[skyward::function]
async fn step(model: Shared<Array<f32>>, batch: Array<f32>) -> (f32, f32) {
    (model.iter().sum(), batch.iter().sum())
}

#[skyward::function]
async fn between(all: (Bytes, Shared<Array<f32>>, Array<f32>), step: Step) -> (usize, f32, f32, f32, f32) {
    let (image, model, batch) = all;
    let (theirs, raw) = (step.model.iter().sum(), step.batch.iter().sum());
    (image.len(), model.iter().sum(), batch.iter().sum(), theirs, raw)
}

#[skyward::function]
async fn both(model: Shared<Array<f32>>, image: Bytes) -> (Shared<Array<f32>>, Bytes) {
    (model, image)
}

#[skyward::function]
fn rows(model: Shared<Array<f32>>) -> impl Iterator<Item = Shared<Array<f32>>> {
    std::iter::repeat_n(model, 3)
}

#[skyward::function]
async fn scaled(model: Shared<Array<f32>>, mut by: Streaming<f32>) -> (Vec<f32>, Shared<Array<f32>>) {
    let (first, mut scaled) = (model.first().copied().unwrap_or_default(), Vec::new());
    while let Some(by) = by.next().await {
        scaled.push(first * by);
    }
    (scaled, model)
}

async fn pool(ground: &Ground, nodes: u32) -> skyward::Result<Compute> {
    let mut local = Local::default();
    local.directory = Some(ground.path().to_owned());
    skyward_tests::apart().spec(Spec::on(local)).nodes(nodes).start().await
}

#[skyward::test]
async fn raw_data_of_any_size_arrives_as_it_was_wherever_it_stands() -> skyward::Result<()> {
    let ground = Ground::new("raw");
    let compute = pool(&ground, 1).await?;
    for size in [0, 1, 1023, 1024, 70_001, 5_000_003] {
        let pixels: Vec<u8> = (0..size).map(|it| (it % 251) as u8).collect();
        let numbers: Vec<f32> = (0..size / 3).map(|it| it as f32).collect();
        let frame = Frame {
            name: "frame".to_owned(),
            pixels: pixels.clone().into(),
            weights: vec![numbers.clone().into(), vec![1.5].into()],
        };
        let (frame, small) = (twice(frame, vec![1, 2, 3].into()) >> &compute).await?;
        assert_eq!((&*small, frame.name.as_str()), (&[1, 2, 3][..], "frame"));
        assert!(frame.pixels.iter().zip(&pixels).all(|(new, old)| *new == old.wrapping_mul(2)));
        assert_eq!(frame.pixels.len(), pixels.len());
        let doubled: Vec<f32> = numbers.iter().map(|it| it * 2.0).collect();
        assert_eq!(frame.weights.iter().map(|it| it.to_vec()).collect::<Vec<_>>(), [doubled, vec![3.0]]);
    }
    compute.stop().await
}

#[skyward::test]
async fn a_shared_value_is_decoded_once_on_each_node_however_many_calls_need_it() -> skyward::Result<()> {
    let ground = Ground::new("shared");
    let compute = pool(&ground, 2).await?;
    let to = Shared::new(Counted(1000))?;
    let sums = (gather((0..200).map(|it| add(to.clone(), it))) >> &compute).await?;
    for (number, (sum, decoded)) in (0..).zip(sums) {
        assert_eq!((sum, decoded), (1000 + number, 1));
    }
    drop(to);
    // Another of the same content is sent anew, after the first has been forgotten.
    let again = Shared::new(Counted(1000))?;
    assert_eq!((add(again.clone(), 7) * &compute).await?, [(1007, 2), (1007, 2)]);
    compute.stop().await
}

#[skyward::test]
async fn raw_data_may_stand_before_and_behind_a_shared_value() -> skyward::Result<()> {
    let ground = Ground::new("shared-and-raw");
    let compute = pool(&ground, 1).await?;
    // Each has another content, so that a node decodes it within the call.
    let model = |of: f32| Shared::new(Array::from(vec![of; 1000]));
    let (batch, image) = (Array::from(vec![1.0_f32; 2000]), Bytes::from(vec![9; 3000]));
    for base in [1.0, 3.0] {
        let on_pool = base < 2.0;
        let first = step(model(base)?, batch.clone());
        let first = if on_pool { (first >> &compute).await? } else { first.local().await? };
        assert_eq!(first, (base * 1000.0, 2000.0));
        let inner = Step { model: model(base + 1.0)?, batch: batch.clone() };
        let second = between((image.clone(), model(base + 0.5)?, batch.clone()), inner);
        let second = if on_pool { (second >> &compute).await? } else { second.local().await? };
        assert_eq!(second, (3000, base * 1000.0 + 500.0, 2000.0, base * 1000.0 + 1000.0, 2000.0));
        let third = both(model(base + 1.5)?, image.clone());
        let (shared, raw) = if on_pool { (third >> &compute).await? } else { third.local().await? };
        assert_eq!((shared.len(), shared[0], raw), (1000, base + 1.5, image.clone()));
    }
    compute.stop().await
}

/// The last handle is the call's own.
#[skyward::test]
async fn what_a_call_was_given_to_share_is_there_until_its_value_is_read() -> skyward::Result<()> {
    let ground = Ground::new("given-back");
    let compute = pool(&ground, 1).await?;
    let (model, image) = (|of: f32| Shared::new(Array::from(vec![of; 1000])), Bytes::from(vec![9; 3000]));
    let calls = [both(model(1.0)?, image.clone()), both(model(2.0)?, image.clone())];
    let gathered = (gather(calls) >> &compute).await?;
    assert_eq!(gathered.iter().map(|(model, _)| model[0]).collect::<Vec<_>>(), [1.0, 2.0]);
    let mut results = compute.stream(gather([both(model(3.0)?, image)]));
    assert_eq!(results.next().await.transpose()?.map(|(model, _)| model[999]), Some(3.0));
    for (of, on_pool) in [(4.0, true), (5.0, false)] {
        let rows = rows(model(of)?);
        let rows: Vec<_> =
            if on_pool { (rows >> &compute).collect().await? } else { rows.local().collect().await? };
        assert_eq!(rows.iter().map(|it| it[0]).collect::<Vec<_>>(), [of; 3]);
        let scaled = scaled(model(of)?, Streaming::iter([2.0, 3.0]));
        let (scaled, model) = if on_pool { (scaled >> &compute).await? } else { scaled.local().await? };
        assert_eq!((scaled, model[0]), (vec![of * 2.0, of * 3.0], of));
    }
    compute.stop().await
}

#[skyward::test]
async fn a_large_shared_value_reaches_every_node_before_its_calls() -> skyward::Result<()> {
    let ground = Ground::new("model");
    let compute = pool(&ground, 2).await?;
    let model = Shared::new(Array::from(vec![7_u64; 1_000_000]))?;
    let lengths = (gather((0..50).map(|_| length(model.clone()))) >> &compute).await?;
    assert_eq!(lengths, [1_000_000; 50]);
    assert_eq!((length(model.clone()) * &compute).await?, [1_000_000; 2]);
    assert_eq!(length(model).local().await?, 1_000_000);
    compute.stop().await
}

#[skyward::test]
async fn processes_share_a_value_that_their_node_was_given_once() -> skyward::Result<()> {
    let ground = Ground::new("shared-processes");
    let mut local = Local::default();
    local.directory = Some(ground.path().to_owned());
    let worker = Worker { concurrency: 2, executor: Executor::Process, ..Worker::default() };
    let compute = skyward_tests::apart().spec(Spec::on(local)).nodes(2).worker(worker).start().await?;
    let to = Shared::new(Counted(1000))?;
    let sums = (gather((0..100).map(|it| add(to.clone(), it))) >> &compute).await?;
    for (number, (sum, decoded)) in (0..).zip(sums) {
        assert_eq!((sum, decoded), (1000 + number, 1), "each process decodes it once");
    }
    let files = || kept(ground.path()).0;
    assert_eq!(kept(ground.path()), (2, 0), "it lies on each node once, and no other user can read it");
    drop(to);
    // Another of the same content is sent anew, after the first has been forgotten.
    let again = Shared::new(Counted(1000))?;
    let sums = (add(again.clone(), 7) * &compute).await?;
    assert!(sums.into_iter().all(|(sum, decoded)| sum == 1007 && (1..=2).contains(&decoded)));
    let deadline = std::time::Duration::from_secs(20);
    assert_eq!(skyward_tests::until(deadline, || (files() == 2).then_some(())), Some(()), "the first goes");
    let model = Shared::new(Array::from(vec![7_u64; 1_000_000]))?;
    assert_eq!((gather((0..8).map(|_| length(model.clone()))) >> &compute).await?, [1_000_000; 8]);
    compute.stop().await
}

/// How many shared values lie as files on the machines below this folder, and the rights that others have to
/// their folders.
fn kept(folder: &std::path::Path) -> (usize, u32) {
    let Ok(entries) = folder.read_dir() else { return (0, 0) };
    let each = entries.flatten().map(|it| match it.file_type() {
        Ok(kind) if kind.is_dir() && it.file_name() == "shared" => {
            let rights = it.metadata().map_or(0, |it| it.permissions().mode() & 0o077);
            (it.path().read_dir().map_or(0, Iterator::count), rights)
        }
        Ok(kind) if kind.is_dir() => kept(&it.path()),
        Ok(_) | Err(_) => (0, 0),
    });
    each.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 | it.1))
}
