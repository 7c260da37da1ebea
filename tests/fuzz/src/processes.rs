//! What the processes of a node say to each other: the start of a worker, and the pipe to the process of its tasks.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use skyward_runtime::link::{Identity, Outcome};
use skyward_runtime::model::{
    Accelerator, Attempt, Crash, End, Epoch, Executor, FunctionId, Incarnation, Mode, Notice, Peer, PoolId,
    Rank, Retention, Roster, Secret, TaskId,
};
use skyward_runtime::program::{TaskOrder, TaskReport, TaskStart, WorkerStart, WorkerUp};
use skyward_runtime::registry::Fault;
use skyward_runtime::testing::{now, read};

/// Orders, or reports, one after the other; the first byte says which.
pub(crate) fn tasks(bytes: &[u8]) {
    let Some((which, mut rest)) = bytes.split_first() else { return };
    if which % 2 == 0 {
        while let Ok(order) = now(TaskOrder::read(&mut rest)) {
            let once = order_bytes(order);
            let again = read(now(TaskOrder::read(&mut &*once)));
            assert_eq!(order_bytes(again), once, "it means something else when it is read again");
        }
    } else {
        while let Ok(report) = now(TaskReport::read(&mut rest)) {
            let written = report_bytes(report.clone());
            assert_eq!(now(TaskReport::read(&mut &*written)), Ok(report));
        }
    }
}

fn order_bytes(order: TaskOrder) -> Vec<u8> {
    let mut written = Vec::new();
    read(now(order.write(&mut written)));
    written
}

fn report_bytes(report: TaskReport) -> Vec<u8> {
    let mut written = Vec::new();
    read(now(report.write(&mut written)));
    written
}

pub(crate) fn task_seeds() -> Vec<Vec<u8>> {
    let start = TaskStart {
        pool: PoolId::new("p"),
        rank: Rank(2),
        incarnation: Incarnation::new("p-2-1"),
        address: Ipv4Addr::LOCALHOST.into(),
        slots: 2,
        slot: 1,
        accelerators: vec![Accelerator::custom("A100").count(2)],
        devices: vec![2, 3],
        secrets: [("TOKEN".to_owned(), Secret::new("hush".to_owned()))].into(),
        commons: "/home/shared".into(),
    };
    let run = TaskOrder::Run {
        task: TaskId(9),
        attempt: Attempt(1),
        function: FunctionId(4),
        arguments: Bytes::from_static(b"arguments"),
    };
    let peers = vec![Peer::new(Rank(0), Incarnation::new("a"), Ipv4Addr::LOCALHOST.into())];
    let orders = [
        TaskOrder::Start(Box::new(start)),
        TaskOrder::Peers(Roster { epoch: Epoch(1), number: 3, mode: Mode::Cluster, peers }),
        run,
        TaskOrder::More,
        TaskOrder::Given { index: 1, items: Bytes::from_static(b"\0\0\0\x01x") },
        TaskOrder::Closed { index: 1, fault: Some(Fault::Undecodable("why".to_owned())) },
    ];
    let orders: Vec<_> = orders.into_iter().flat_map(order_bytes).collect();
    let crash = Crash { signal: None, code: Some(3), output: vec!["why".to_owned()] };
    let reports = [
        TaskReport::Ready,
        TaskReport::Started,
        TaskReport::Said { task: Some(TaskId(3)), text: "INFO hello".to_owned(), missed: 2 },
        TaskReport::Wants { index: 1 },
        TaskReport::LetsGo { index: 1 },
        TaskReport::Made(Bytes::from_static(b"\0\0\0\x01x")),
        TaskReport::Ended(Outcome::Returned("value".into())),
        TaskReport::Ended(Outcome::Crashed(crash)),
    ];
    let reports: Vec<_> = reports.into_iter().flat_map(report_bytes).collect();
    vec![[&[0][..], &orders].concat(), [&[1][..], &reports].concat()]
}

/// The order that starts a worker, or its answer; the first byte says which.
pub(crate) fn worker(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    if which % 2 == 0 {
        let Ok(start) = WorkerStart::read(rest) else { return };
        let once = read(start.encode());
        let again = read(WorkerStart::read(&*once));
        assert_eq!(read(again.encode()), once, "it means something else when it is read again");
        let shown = format!("{again:?}");
        let cookie = again.cookie.reveal();
        assert!(cookie.len() < 8 || !shown.contains(cookie.as_str()) || shown.len() < 8 + cookie.len());
    } else {
        let Ok(Some(up)) = WorkerUp::decode(rest) else { return };
        let mut written = b"chatter\n".to_vec();
        read(up.write(&mut written));
        assert_eq!(read(WorkerUp::decode(&written)), Some(up));
    }
}

pub(crate) fn worker_seeds() -> Vec<Vec<u8>> {
    let start = WorkerStart {
        pool: PoolId::new("p1"),
        rank: Rank(3),
        incarnation: Incarnation::new("p1-3-1"),
        epoch: Epoch(1),
        listen: Ipv4Addr::LOCALHOST.into(),
        identity: Identity { certificate: vec![1; 5], key: Secret::new(vec![2; 3]), authority: vec![] },
        cookie: Secret::new("cookie".into()),
        lease: Duration::from_secs(60),
        end: End::Command { shell: "sudo shutdown -h now".into() },
        notice: Notice::None,
        slots: 4,
        executor: Executor::Process,
        reuse: true,
        kill: Duration::from_secs(1),
        detect: Duration::from_secs(12),
        drain: Duration::from_secs(5),
        inputs: Duration::from_secs(30),
        retention: Retention::default(),
        accelerators: vec![Accelerator::custom("A100").count(2)],
        secrets: [("TOKEN".to_owned(), Secret::new("hush".to_owned()))].into(),
    };
    let mut up = vec![1];
    read(WorkerUp::Listening { port: 4242, tcp: 4243, pid: 17 }.write(&mut up));
    let mut failed = b"\x01\nrunning 1 test\n".to_vec();
    read(WorkerUp::Failed("no port".into()).write(&mut failed));
    vec![[&[0][..], &read(start.encode())].concat(), up, failed]
}
