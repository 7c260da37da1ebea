//! A stream as an argument.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::Thread;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use skyward_runtime::inside::cancellation;
use skyward_runtime::registry::{BoxSource, Fault, Input, Inputs, Trouble};

use crate::codec::{self, Codec};

/// A stream that a `#[skyward::function]` takes as an argument: made of any stream or iterator by the
/// caller, and a stream again inside the function. Items travel as they are made, many at once while
/// the function is behind; when it is far behind, the caller's stream is not polled.
///
/// ```
/// use futures_util::StreamExt;
/// use skyward::Streaming;
///
/// #[skyward::function]
/// async fn mean(mut samples: Streaming<f64>) -> Option<f64> {
///     let (mut count, mut sum) = (0_u32, 0.0);
///     while let Some(sample) = samples.next().await {
///         (count, sum) = (count + 1, sum + sample);
///     }
///     (count > 0).then(|| sum / f64::from(count))
/// }
///
/// #[skyward::function]
/// fn longest(lines: Streaming<String>) -> usize {
///     lines.into_iter().map(|it| it.len()).max().unwrap_or_default() // a plain function blocks
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     assert_eq!(mean(Streaming::iter([1.0, 2.0, 6.0])).local().await?, Some(3.0));
///     let lines = futures_util::stream::iter(["one", "three"]).map(str::to_owned);
///     assert_eq!(longest(Streaming::new(lines)).local().await?, 5);
///     Ok(())
/// }
/// ```
///
/// It is named in the function's signature as it is here, by its own name and at the top: not inside of
/// another type, and not by an alias.
///
/// - **Its end** is the end of the caller's stream. A stream that can fail has items that say so, as in
///   `Streaming<Result<T, Failure>>`.
/// - **Dropping it** inside the function, before its end, drops the caller's stream. That is no error.
/// - **When it breaks** in the middle (an item cannot be encoded or decoded, the caller's stream panics),
///   the whole call fails and the function is cancelled where it waits for the next item, so it never takes a part
///   for the whole: an async one is dropped there, and a plain one unwinds from there like from a panic.
/// - The caller's stream is polled on Skyward's own runtime, in a task of its own.
pub struct Streaming<T> {
    side: Side<T>,
}

enum Side<T> {
    /// The caller's: what the stream is made of.
    Caller(BoxStream<'static, T>),
    /// The function's.
    Function {
        input: Input,
        codec: Codec<T>,
        trouble: Trouble,
    },
    Ended,
    Broken,
}

/// What a stream gives at one time.
enum Next<T> {
    Item(T),
    End,
    /// It broke. The call fails.
    Broken,
}

impl<T: Send + 'static> Streaming<T> {
    /// Of a stream.
    pub fn new(items: impl Stream<Item = T> + Send + 'static) -> Self {
        Self { side: Side::Caller(items.boxed()) }
    }

    /// Of what can be iterated over. The iterator is advanced where other tasks of Skyward run, so one
    /// that takes long for an item should be a stream instead.
    pub fn iter<I>(items: I) -> Self
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: Send + 'static,
    {
        Self::new(stream::iter(items))
    }

    /// The next item; `None` at the end. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<T> {
        StreamExt::next(self).await
    }

    /// As a call takes it.
    pub(crate) fn into_source(self, codec: Codec<T>) -> BoxSource {
        codec::taken(self, codec)
    }

    /// As a function takes it.
    pub(crate) fn take(inputs: &mut Inputs, codec: Codec<T>) -> Result<Self, String> {
        let (input, trouble) = inputs.take()?;
        Ok(Self { side: Side::Function { input, codec, trouble } })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Next<T>> {
        let (fault, trouble) = match &mut self.side {
            Side::Caller(items) => match ready!(items.poll_next_unpin(context)) {
                Some(item) => return Poll::Ready(Next::Item(item)),
                None => {
                    self.side = Side::Ended;
                    return Poll::Ready(Next::End);
                }
            },
            Side::Function { input, codec, trouble } => match ready!(input.poll_next_unpin(context)) {
                Some(Ok(bytes)) => match codec.decode(&bytes) {
                    Ok(item) => return Poll::Ready(Next::Item(item)),
                    Err(reason) => {
                        (Fault::Undecodable(format!("an item of a stream that it takes: {reason}")), trouble)
                    }
                },
                Some(Err(fault)) => (fault, trouble),
                None => {
                    self.side = Side::Ended;
                    return Poll::Ready(Next::End);
                }
            },
            Side::Ended => return Poll::Ready(Next::End),
            Side::Broken => return Poll::Ready(Next::Broken),
        };
        trouble.tell(fault);
        self.side = Side::Broken;
        Poll::Ready(Next::Broken)
    }
}

/// No item is ever pinned.
impl<T> Unpin for Streaming<T> {}

impl<T: Send + 'static> Stream for Streaming<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        match ready!(self.get_mut().poll(context)) {
            Next::Item(item) => Poll::Ready(Some(item)),
            Next::End => Poll::Ready(None),
            // Whoever runs the function drops it.
            Next::Broken => Poll::Pending,
        }
    }
}

impl<T: Send + 'static> IntoIterator for Streaming<T> {
    type Item = T;
    type IntoIter = Blocking<T>;

    fn into_iter(self) -> Blocking<T> {
        let cancellation = cancellation();
        let cancelled = Box::pin(async move { cancellation.cancelled().await });
        Blocking { streaming: self, cancelled: Some(cancelled) }
    }
}

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.side {
            Side::Caller(_) => "Streaming(to be sent)",
            Side::Function { .. } => "Streaming",
            Side::Ended => "Streaming(ended)",
            Side::Broken => "Streaming(broken)",
        })
    }
}

/// The items of a [`Streaming`] for a plain function: it blocks the thread until there is one. Also ends
/// when nobody waits for the function any more; [`cancelled`](crate::cancelled) is true then.
///
/// # Panics
/// When the stream breaks in the middle, in [`next`](Iterator::next): nothing of what the function would do with a
/// part of it is done. No panic hook is run, and the call's outcome says what broke.
pub struct Blocking<T> {
    streaming: Streaming<T>,
    /// Until it has resolved.
    cancelled: Option<BoxFuture<'static, ()>>,
}

/// What a plain function unwinds with when a stream that it takes breaks.
const BROKEN: &str = "a stream that it takes broke";

impl<T: Send + 'static> Iterator for Blocking<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let Self { streaming, cancelled } = self;
        let mut poll_cancelled = |context: &mut Context<'_>| {
            if let Some(waits) = cancelled {
                ready!(waits.as_mut().poll(context));
                *cancelled = None;
            }
            Poll::Ready(())
        };
        let next = wait(|context| match streaming.poll(context) {
            // Whoever runs the function has heard of it, and says so before the function ends.
            Poll::Ready(Next::Broken) => poll_cancelled(context).map(|()| Next::Broken),
            Poll::Ready(next) => Poll::Ready(next),
            Poll::Pending => poll_cancelled(context).map(|()| Next::End),
        });
        match next {
            Next::Item(item) => Some(item),
            Next::End => None,
            Next::Broken => std::panic::resume_unwind(Box::new(BROKEN)),
        }
    }
}

impl<T> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

/// Blocks this thread until something is ready.
fn wait<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(it) = poll(&mut context) {
            return it;
        }
        std::thread::park();
    }
}

/// What the macro knows of an argument that is spelled `Streaming`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `skyward::Streaming`",
    label = "an argument type that is called `Streaming` is taken for a stream that the function takes",
    note = "give a type of your own another name than `Streaming`"
)]
pub trait Taken {
    /// Of what it is a stream.
    type Item;
}

impl<T> Taken for Streaming<T> {
    type Item = T;
}

/// What the expansion of `#[skyward::function]` does with an argument that is a stream, at the caller.
pub fn give<T: Send + 'static>(streaming: Streaming<T>, codec: &Codec<T>) -> BoxSource {
    streaming.into_source(*codec)
}

/// The same, on the node.
pub fn take<T: Send + 'static>(inputs: &mut Inputs, codec: &Codec<T>) -> Result<Streaming<T>, String> {
    Streaming::take(inputs, *codec)
}
