//! `bulk`: 256 MiB as an argument and as a result, as `Bytes` and as `Array<f32>`, in GB/s beside the same
//! bytes over one raw QUIC stream into one piece of memory.

use std::time::{Duration, Instant};

use bytes::Bytes as Raw;
use skyward::prelude::*;
use skyward::{Array, Bytes};

use crate::floor::Floor;
use crate::{Report, median};

/// Bytes.
pub(crate) const BULK: usize = 256 << 20;

#[skyward::function]
pub(crate) async fn take(data: Bytes) -> u64 {
    data.len() as u64
}

#[skyward::function]
async fn give(length: u64) -> Bytes {
    Bytes::from(vec![7; usize::try_from(length).unwrap_or(0)])
}

#[skyward::function]
async fn take_array(data: Array<f32>) -> u64 {
    data.len() as u64
}

#[skyward::function]
async fn give_array(length: u64) -> Array<f32> {
    Array::from(vec![7.0; usize::try_from(length).unwrap_or(0)])
}

pub(crate) async fn measure(rounds: usize) -> skyward::Result<Vec<Report>> {
    let compute = Compute::builder().nodes(1).start().await?;
    let floor = Floor::start().await?;
    let bytes = Raw::from(vec![7; BULK]);
    let floats = Array::from(vec![7.0_f32; BULK / 4]);
    let (length, count) = (BULK as u64, BULK as u64 / 4);
    let mut times: [Vec<Duration>; 6] = Default::default();
    for _ in 0..rounds {
        let [raw_there, there, array_there, raw_back, back, array_back] = &mut times;
        timed(raw_there, async { floor.send_bulk(bytes.clone()).await.map(|()| length) }, length).await?;
        timed(there, async { Ok((take(bytes.clone().into()) >> &compute).await?) }, length).await?;
        timed(array_there, async { Ok((take_array(floats.clone()) >> &compute).await?) }, count).await?;
        let raw = async { floor.receive_bulk(BULK).await.map(|it| it.len() as u64) };
        timed(raw_back, raw, length).await?;
        timed(back, async { Ok((give(length) >> &compute).await?.len() as u64) }, length).await?;
        timed(array_back, async { Ok((give_array(count) >> &compute).await?.len() as u64) }, count).await?;
    }
    compute.stop().await?;
    let [raw_there, there, array_there, raw_back, back, array_back] =
        times.map(|it| BULK as f64 / 1e9 / median(it).as_secs_f64());
    let report = |case, ours, floor| Report::beside(case, ours, floor, "GB/s", rounds);
    Ok(vec![
        report("bulk-bytes-argument", there, raw_there),
        report("bulk-array-argument", array_there, raw_there),
        report("bulk-bytes-result", back, raw_back),
        report("bulk-array-result", array_back, raw_back),
    ])
}

async fn timed(
    times: &mut Vec<Duration>,
    work: impl Future<Output = skyward::Result<u64>>,
    expected: u64,
) -> skyward::Result<()> {
    let began = Instant::now();
    let came = work.await?;
    times.push(began.elapsed());
    if came == expected { Ok(()) } else { Err("bulk arrived in another size".into()) }
}
