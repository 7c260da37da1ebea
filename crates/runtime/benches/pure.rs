//! `cargo bench -p skyward-runtime --features testing`: what the pure parts of a call take. The machine of the
//! queue, the frames of a lane, and the reading of an accelerator's name.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use skyward_runtime::link::{Frames, Outcome, Reply, Request};
use skyward_runtime::model::accelerator::Accelerator;
use skyward_runtime::model::{Attempt, FunctionId, TaskId};
use skyward_runtime::testing::Machine;

/// How many frames are read at once.
const FRAMES: u64 = 64;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    machine(&mut criterion);
    frames(&mut criterion);
    accelerators(&mut criterion);
    criterion.final_summary();
}

/// One call of a gather: its answer, and the next call.
fn machine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tasks");
    for (name, calls) in [("granted at once", 256), ("behind a million", 1_000_000)] {
        let mut machine = Machine::with(calls);
        group.bench_function(name, |it| it.iter(|| black_box(machine.step(calls))));
    }
    group.finish();
}

/// As many frames as a busy lane carries in one write.
fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    group.throughput(Throughput::Elements(FRAMES));
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    put_requests(&mut requests);
    put_replies(&mut replies);
    let mut buffer = Vec::new();
    group.bench_function("calls written", |it| {
        it.iter(|| {
            buffer.clear();
            put_requests(black_box(&mut buffer));
        });
    });
    group.bench_function("outcomes written", |it| {
        it.iter(|| {
            buffer.clear();
            put_replies(black_box(&mut buffer));
        });
    });
    let mut frames = Frames::default();
    group.bench_function("calls read", |it| {
        it.iter(|| {
            frames.room().extend_from_slice(&requests);
            while let Ok(Some(request)) = frames.request() {
                black_box(request);
            }
        });
    });
    group.bench_function("outcomes read", |it| {
        it.iter(|| {
            frames.room().extend_from_slice(&replies);
            while let Ok(Some(reply)) = frames.reply() {
                black_box(reply);
            }
        });
    });
    group.finish();
}

fn put_requests(buffer: &mut Vec<u8>) {
    for number in 0..FRAMES {
        let request = Request::Call {
            number,
            task: TaskId(number),
            attempt: Attempt::default(),
            function: FunctionId(1),
            turn: 1,
            remaining: Some(Duration::from_secs(300)),
            key: None,
            arguments: Bytes::from_static(&[0xdc, 0, 0]),
        };
        request.put(buffer);
    }
}

fn put_replies(buffer: &mut Vec<u8>) {
    for number in 0..FRAMES {
        let outcome = Outcome::Returned(Bytes::from_static(&[0xc0]).into());
        // Only a panic may not be encodable.
        let _ = Reply::put(buffer, number, Duration::from_micros(1), &outcome);
    }
}

/// Names as clouds spell them.
fn accelerators(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("accelerators");
    for name in ["NVIDIA A100-SXM4-80GB", "gpu_8x_h100_sxm5", "RTX 4090", "none that anybody sells"] {
        group.bench_function(name, |it| it.iter(|| black_box(Accelerator::as_sold(black_box(name)))));
    }
    group.finish();
}
