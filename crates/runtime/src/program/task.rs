//! What a worker and the process of its tasks say to each other, over a socket of their own.
//!
//! ```text
//! worker:  Start                     Run           Run … (Peers whenever they change)
//! process:       Ready                   Started, Said …, Ended …
//!
//! worker:  Run  More    More …    Given …    Closed     a function of streams: each side sends what the
//! process:         Made …     Wants …   Wants …  Ended  other has asked for, and never waits to write
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::link::{BODY_LIMIT, Outcome, OutcomeKind, WireError, read_body, read_message, write_message};
use crate::model::{Accelerator, Attempt, FunctionId, Incarnation, PoolId, Rank, Roster, Secret, TaskId};
use crate::registry::Fault;

/// What a worker tells the process of its tasks.
#[derive(Clone, Debug)]
pub enum TaskOrder {
    /// Who it is. The first order, and once.
    Start(Box<TaskStart>),
    /// Run this. The next only comes when it has ended.
    Run {
        /// The task.
        task: TaskId,
        /// Which try of it this is.
        attempt: Attempt,
        /// The function.
        function: FunctionId,
        /// Its encoded arguments.
        arguments: Bytes,
    },
    /// Who is in the pool now.
    Peers(Roster),
    /// The machine will be taken in so long.
    Taken {
        /// From now.
        within: Duration,
    },
    /// One batch more of the items that its task makes is wanted.
    More,
    /// Items of a stream that its task takes, as records.
    Given {
        /// Which stream.
        index: u16,
        /// The items.
        items: Bytes,
    },
    /// That stream has ended.
    Closed {
        /// Which stream.
        index: u16,
        /// What is wrong with it, when it did not end by itself.
        fault: Option<Fault>,
    },
}

/// What the process of a worker's tasks must know before it runs any.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskStart {
    /// The pool.
    pub pool: PoolId,
    /// The node's rank.
    pub rank: Rank,
    /// The name of the worker's life.
    pub incarnation: Incarnation,
    /// The node's address.
    pub address: IpAddr,
    /// How many tasks run on the node at once.
    pub slots: u32,
    /// Which of the slots this process runs the tasks of.
    pub slot: u32,
    /// The accelerators that are this slot's.
    pub accelerators: Vec<Accelerator>,
    /// Which of the node's devices those are.
    pub devices: Vec<u32>,
    /// What functions may ask for by name.
    pub secrets: BTreeMap<String, Secret<String>>,
    /// Where values that calls share lie as files.
    pub commons: PathBuf,
}

/// What the process of a worker's tasks answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskReport {
    /// It takes tasks.
    Ready,
    /// The function is about to run: from here on it may have had effects.
    Started,
    /// It said something by `tracing`, and how many times before it could not be told.
    Said {
        /// The task; `None` for what says something between two.
        task: Option<TaskId>,
        /// The event as a line.
        text: String,
        /// How many lines are missing before this one.
        missed: u64,
    },
    /// Items that it made, as records; one batch for each [`TaskOrder::More`].
    Made(Bytes),
    /// It waits for items of a stream that it takes, and is given some, or the end.
    Wants {
        /// Which stream.
        index: u16,
    },
    /// It takes nothing more of a stream.
    LetsGo {
        /// Which stream.
        index: u16,
    },
    /// What became of it.
    Ended(Outcome),
}

#[derive(Serialize, Deserialize)]
enum OrderHeader {
    Start { length: u64 },
    Run { task: TaskId, attempt: Attempt, function: FunctionId, length: u64 },
    Peers { length: u64 },
    Taken { within: Duration },
    More,
    Given { index: u16, length: u64 },
    Closed { index: u16, fault: Option<Fault> },
}

#[derive(Serialize, Deserialize)]
enum ReportHeader {
    Ready,
    Started,
    Said { task: Option<TaskId>, text: String, missed: u64 },
    Made { length: u64 },
    Wants { index: u16 },
    LetsGo { index: u16 },
    Ended { kind: OutcomeKind, length: u64 },
}

impl TaskOrder {
    /// Writes the order.
    ///
    /// # Errors
    /// When it cannot be encoded, or the stream fails.
    pub async fn write<W: AsyncWrite + Unpin>(self, to: &mut W) -> Result<(), WireError> {
        let (header, body) = match self {
            Self::Start(start) => {
                let body = encode(&start)?;
                (OrderHeader::Start { length: length(&body) }, body)
            }
            Self::Run { task, attempt, function, arguments } => {
                (OrderHeader::Run { task, attempt, function, length: length(&arguments) }, arguments)
            }
            Self::Peers(roster) => {
                let body = encode(&roster)?;
                (OrderHeader::Peers { length: length(&body) }, body)
            }
            Self::Taken { within } => (OrderHeader::Taken { within }, Bytes::new()),
            Self::More => (OrderHeader::More, Bytes::new()),
            Self::Given { index, items } => (OrderHeader::Given { index, length: length(&items) }, items),
            Self::Closed { index, fault } => {
                (OrderHeader::Closed { index, fault: fault.map(|it| it.cut(MOST_REASON)) }, Bytes::new())
            }
        };
        write(to, &header, &body).await
    }

    /// Reads the next order.
    ///
    /// # Errors
    /// When the stream fails, ends or says something else.
    pub async fn read<R: AsyncRead + Unpin>(from: &mut R) -> Result<Self, WireError> {
        match read_message(from, "an order").await? {
            OrderHeader::Start { length } => {
                decode(&read_body(from, length, MOST_WORDS, "a start").await?, "a start")
                    .map(|it| Self::Start(Box::new(it)))
            }
            OrderHeader::Run { task, attempt, function, length } => {
                let arguments = read_body(from, length, BODY_LIMIT, "arguments").await?;
                Ok(Self::Run { task, attempt, function, arguments })
            }
            OrderHeader::Peers { length } => {
                decode(&read_body(from, length, MOST_WORDS, "peers").await?, "peers").map(Self::Peers)
            }
            OrderHeader::Taken { within } => Ok(Self::Taken { within }),
            OrderHeader::More => Ok(Self::More),
            OrderHeader::Given { index, length } => {
                let items = read_body(from, length, MOST_ITEMS, "items").await?;
                Ok(Self::Given { index, items })
            }
            OrderHeader::Closed { index, fault } => Ok(Self::Closed { index, fault }),
        }
    }
}

impl TaskReport {
    /// Writes the report. An outcome over the limit is reported as one that cannot be sent.
    ///
    /// # Errors
    /// When it cannot be encoded, or the stream fails.
    pub async fn write<W: AsyncWrite + Unpin>(self, to: &mut W) -> Result<(), WireError> {
        let (header, body) = match self {
            Self::Ready => (ReportHeader::Ready, Bytes::new()),
            Self::Started => (ReportHeader::Started, Bytes::new()),
            Self::Said { task, text, missed } => (ReportHeader::Said { task, text, missed }, Bytes::new()),
            Self::Made(items) => (ReportHeader::Made { length: length(&items) }, items),
            Self::Wants { index } => (ReportHeader::Wants { index }, Bytes::new()),
            Self::LetsGo { index } => (ReportHeader::LetsGo { index }, Bytes::new()),
            Self::Ended(outcome) => {
                let (mut kind, body) = outcome.split()?;
                let mut body = body.into_bytes();
                let size = length(&body);
                if size > BODY_LIMIT {
                    kind = OutcomeKind::Unencodable;
                    body = format!("an outcome of {size} bytes is over the limit of {BODY_LIMIT}").into();
                }
                (ReportHeader::Ended { kind, length: length(&body) }, body)
            }
        };
        write(to, &header, &body).await
    }

    /// Reads the next report.
    ///
    /// # Errors
    /// When the stream fails, ends or says something else.
    pub async fn read<R: AsyncRead + Unpin>(from: &mut R) -> Result<Self, WireError> {
        Ok(match read_message(from, "a report").await? {
            ReportHeader::Ready => Self::Ready,
            ReportHeader::Started => Self::Started,
            ReportHeader::Said { task, text, missed } => Self::Said { task, text, missed },
            ReportHeader::Made { length } => Self::Made(read_body(from, length, MOST_ITEMS, "items").await?),
            ReportHeader::Wants { index } => Self::Wants { index },
            ReportHeader::LetsGo { index } => Self::LetsGo { index },
            ReportHeader::Ended { kind, length } => {
                let body = read_body(from, length, BODY_LIMIT, "an outcome").await?;
                Self::Ended(Outcome::join(kind, body)?)
            }
        })
    }
}

async fn write<W: AsyncWrite + Unpin>(
    to: &mut W,
    header: &(impl Serialize + Sync),
    body: &Bytes,
) -> Result<(), WireError> {
    let mut buffer = Vec::new();
    write_message(&mut buffer, header).await?;
    let failed = |it: std::io::Error| WireError::Interrupted(it.to_string());
    if body.len() <= TOGETHER {
        buffer.extend_from_slice(body);
        to.write_all(&buffer).await.map_err(failed)
    } else {
        to.write_all(&buffer).await.map_err(failed)?;
        to.write_all(body).await.map_err(failed)
    }
}

fn encode(value: &impl Serialize) -> Result<Bytes, WireError> {
    rmp_serde::to_vec_named(value).map(Bytes::from).map_err(|it| WireError::Unencodable(it.to_string()))
}

fn decode<T: DeserializeOwned>(body: &Bytes, what: &'static str) -> Result<T, WireError> {
    rmp_serde::from_slice(body).map_err(|it| WireError::Undecodable { what, reason: it.to_string() })
}

const fn length(body: &Bytes) -> u64 {
    body.len() as u64
}

/// Bodies up to this size are written together with their header: one system call.
const TOGETHER: usize = 16 << 10;

/// The most bytes of a batch of items: the largest one behind a batch that was not full.
const MOST_ITEMS: u64 = BODY_LIMIT;

/// The most bytes of what is told of a stream that broke: it is in a header, and the caller's panic may say anything.
const MOST_REASON: usize = 16 << 10;

/// The most bytes of what is no call: the secrets of a pool, the nodes of one. Both are far below.
const MOST_WORDS: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Crash, Epoch, Mode, Peer};

    fn start() -> TaskStart {
        TaskStart {
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
        }
    }

    /// Reading and writing memory never waits.
    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("ready")
    }

    #[test]
    fn orders_and_reports_arrive_as_they_were_written() {
        let peers = vec![Peer::new(Rank(0), Incarnation::new("a"), Ipv4Addr::LOCALHOST.into())];
        let large = Bytes::from(vec![7; TOGETHER + 1]);
        let run = |arguments| TaskOrder::Run {
            task: TaskId(9),
            attempt: Attempt(1),
            function: FunctionId(4),
            arguments,
        };
        for order in [
            TaskOrder::Start(Box::new(start())),
            run(Bytes::new()),
            run(large.clone()),
            TaskOrder::Peers(Roster { epoch: Epoch(1), number: 3, mode: Mode::Cluster, peers }),
            TaskOrder::Taken { within: Duration::from_secs(30) },
            TaskOrder::More,
            TaskOrder::Given { index: 1, items: large.clone() },
            TaskOrder::Closed { index: 0, fault: None },
            TaskOrder::Closed { index: 2, fault: Some(Fault::Unencodable("why".to_owned())) },
        ] {
            let mut wire = Vec::new();
            now(order.clone().write(&mut wire)).expect("written");
            let read = now(TaskOrder::read(&mut &*wire)).expect("read");
            assert_eq!(format!("{read:?}"), format!("{order:?}"));
        }
        let long = TaskOrder::Closed { index: 0, fault: Some(Fault::Undecodable("ä".repeat(1 << 20))) };
        let mut wire = Vec::new();
        now(long.write(&mut wire)).expect("written, but for what is too much");
        match now(TaskOrder::read(&mut &*wire)).expect("read") {
            TaskOrder::Closed { fault: Some(Fault::Undecodable(reason)), .. } => {
                assert!(reason.starts_with("ää") && (MOST_REASON / 2..=MOST_REASON).contains(&reason.len()));
            }
            other => panic!("{other:?}"),
        }
        let crash = Crash { signal: Some(6), code: None, output: vec!["why".to_owned()] };
        for report in [
            TaskReport::Ready,
            TaskReport::Started,
            TaskReport::Said { task: Some(TaskId(3)), text: "INFO hello".to_owned(), missed: 2 },
            TaskReport::Made(large.clone()),
            TaskReport::Wants { index: 3 },
            TaskReport::Ended(Outcome::Returned(large.into())),
            TaskReport::Ended(Outcome::Crashed(crash)),
        ] {
            let mut wire = Vec::new();
            now(report.clone().write(&mut wire)).expect("written");
            assert_eq!(now(TaskReport::read(&mut &*wire)), Ok(report));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let framed = [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat();
            let _ = now(TaskOrder::read(&mut &*bytes));
            let _ = now(TaskOrder::read(&mut &*framed));
            let _ = now(TaskReport::read(&mut &*framed));
        }
    }
}
