//! What a function of streams is made of: what makes its items, what it takes items from, and where a
//! plain one puts them. Who runs functions drives these; the macro's expansion fills them in.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// Makes items, one after the other, each encoded.
pub trait Source: Send {
    /// Appends the next item to the buffer. Nothing may be asked for after the end.
    fn poll_put(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<Put>;
}

/// A source of whatever type.
pub type BoxSource = Box<dyn Source>;

/// What a source did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It appended one item.
    Item,
    /// It has ended.
    End(Ending),
}

/// How a row of items ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There are no more.
    Complete,
    /// With the function's own error, encoded.
    Failed(Bytes),
    /// With an item or error that cannot be encoded, in the encoder's words.
    Unencodable(String),
}

/// How an async function of streams is started, with its arguments.
pub type StartStream = fn(Bytes, Inputs) -> Result<BoxFuture<'static, BoxSource>, String>;

/// How a plain function of streams is run to its end, with its arguments.
pub type RunIterator = fn(Bytes, Inputs, &mut dyn Outlet) -> Result<Ending, String>;

/// Where a plain function's items go.
pub trait Outlet {
    /// Takes the next item, encoded; blocks while the reader is behind. `false`: nobody wants it, nor any
    /// that would follow.
    fn give(&mut self, item: &[u8]) -> bool;
}

/// Items that a function takes, each encoded. A fault is the last of them.
pub type Input = BoxStream<'static, Result<Bytes, Fault>>;

/// What is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// It could not be made or sent, in the words of where that was tried.
    Unencodable(String),
    /// It makes no sense here.
    Undecodable(String),
}

impl Fault {
    /// The same with at most so many bytes of its reason.
    #[must_use]
    pub fn cut(mut self, most: usize) -> Self {
        let (Self::Unencodable(reason) | Self::Undecodable(reason)) = &mut self;
        reason.truncate(reason.floor_char_boundary(most));
        self
    }
}

/// What a function takes items from, in the order of its arguments.
pub struct Inputs {
    streams: std::vec::IntoIter<Input>,
    trouble: Trouble,
}

impl Inputs {
    /// Inputs that complain to `trouble`.
    pub fn new(streams: Vec<Input>, trouble: Trouble) -> Self {
        Self { streams: streams.into_iter(), trouble }
    }

    /// The next of them, and where it complains.
    ///
    /// # Errors
    /// When there is none: the caller is of another program.
    pub fn take(&mut self) -> Result<(Input, Trouble), String> {
        let input = self.streams.next().ok_or_else(|| "a stream that it takes is missing".to_owned())?;
        Ok((input, self.trouble.clone()))
    }
}

impl std::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inputs({})", self.streams.len())
    }
}

/// Where an input says that it broke in the middle. A function cannot tell that from its end, so the
/// whole call fails instead. Clones are the same; the first complaint counts.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Complaint>);

#[derive(Debug, Default)]
struct Complaint {
    fault: OnceLock<Fault>,
    told: CancellationToken,
}

impl Trouble {
    /// Says what is wrong.
    pub fn tell(&self, fault: Fault) {
        let _ = self.0.fault.set(fault);
        self.0.told.cancel();
    }

    /// Resolves when something is wrong, with what it is.
    pub async fn told(&self) -> Fault {
        self.0.told.cancelled().await;
        // It is set before it is told.
        self.0.fault.get().cloned().unwrap_or_else(|| Fault::Undecodable(String::new()))
    }
}
