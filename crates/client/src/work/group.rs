//! Calls of different functions, side by side: two to eight of them.

use std::ops::BitAnd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{MaybeDone, maybe_done};

use super::{Call, Dispatch, Fed, Route, Work, sealed};
use crate::bounds::TaskFailure;
use crate::error::{CallError, Error};

/// Calls that run at the same time: `(a & b) >> &compute` gives a tuple of their values, and the first
/// error cancels the rest. The parentheses are needed, because `>>` binds tighter than `&`. Calls that take
/// streams ([`Fed`]) are among them; what gives streams is a [`StreamGroup`](super::StreamGroup).
#[derive(Clone, Debug)]
#[must_use = "a group does nothing until it is sent: `(a & b) >> &compute`"]
pub struct Group<C> {
    calls: C,
    timeout: Option<Duration>,
}

/// A [`Group`] of which every call is waited for, and gives its own `Result`. Made by
/// [`Group::settle`].
#[derive(Clone, Debug)]
#[must_use = "a group does nothing until it is sent: `(a & b).settle() >> &compute`"]
pub struct Settled<C>(Group<C>);

/// A group of a tuple of two to eight calls, like `a & b & …`.
///
/// ```
/// # use skyward::group;
/// #[skyward::function]
/// fn length(text: String) -> usize {
///     text.len()
/// }
/// #[skyward::function]
/// async fn double(n: f64) -> f64 {
///     n * 2.0
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     let pair = group((length("four".into()), double(1.5))).local().await?;
///     assert_eq!(pair, (4, 3.0));
///     Ok(())
/// }
/// ```
pub const fn group<C>(calls: C) -> Group<C> {
    Group { calls, timeout: None }
}

impl<C> Group<C> {
    /// Gives all calls together this long, counted from when the group is sent, waiting in the queue
    /// included: what has no outcome by then is cancelled, and ends with
    /// [`CallError::TimedOut`](crate::CallError::TimedOut). A call's own time-out counts if it is shorter.
    /// Default: none, each call has its own. [`Gather::timeout`](crate::Gather::timeout) means the same.
    ///
    /// ```no_run
    /// # use skyward::prelude::*;
    /// # use std::time::Duration;
    /// # #[skyward::function]
    /// # async fn train(epochs: u32) -> f64 { f64::from(epochs) }
    /// # async fn run(compute: &Compute) -> skyward::Result<()> {
    /// let both = (train(1) & train(2)).timeout(Duration::from_secs(60));
    /// // Whatever one of them comes to, the other keeps what it has.
    /// let (one, two) = (both >> compute).settle().await;
    /// # drop((one, two));
    /// # Ok(()) }
    /// ```
    pub const fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    /// Waits for every call, whatever becomes of the others, and gives each its own `Result` with its
    /// own error type.
    pub fn settle(self) -> Settled<C> {
        Settled(self)
    }

    /// Runs the calls in this process; see [`Call::local`].
    pub fn local(self) -> Dispatch<Self>
    where
        Self: Work,
    {
        Dispatch::new(self, Route::Here)
    }
}

/// What may be in a [`Group`]: a [`Call`], or one that takes streams. Skyward's own; nothing else can implement
/// it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no call that a group could have",
    note = "the parentheses are needed, because `>>` binds tighter than `&`: `(a & b) >> &compute`"
)]
pub trait GroupMember: sealed::Member {}

impl<M: sealed::Member> GroupMember for M {}

impl<T, E> sealed::Member for Call<T, E> {
    fn within(self, most: Option<Duration>) -> Self {
        self.at_most(most)
    }

    fn path(&self) -> &'static str {
        self.name()
    }
}

impl<T, E> sealed::Member for Fed<Call<T, E>> {
    fn within(self, most: Option<Duration>) -> Self {
        self.at_most(most)
    }

    fn path(&self) -> &'static str {
        self.name()
    }
}

impl<T, E, M: GroupMember> BitAnd<M> for Call<T, E> {
    type Output = Group<(Self, M)>;

    fn bitand(self, other: M) -> Self::Output {
        group((self, other))
    }
}

impl<T, E, M: GroupMember> BitAnd<M> for Fed<Call<T, E>> {
    type Output = Group<(Self, M)>;

    fn bitand(self, other: M) -> Self::Output {
        group((self, other))
    }
}

/// The calls of a group, running: `R` is a tuple of [`MaybeDone`].
pub struct Together<R> {
    names: Vec<&'static str>,
    runs: R,
}

/// The same, waited for to the last.
pub struct TogetherSettled<R>(Together<R>);

impl<R> From<Together<R>> for TogetherSettled<R> {
    fn from(together: Together<R>) -> Self {
        Self(together)
    }
}

/// Says which call of a group an error is of.
fn of_call<E: TaskFailure>(error: CallError<E>, name: &str) -> Error {
    Error::from(error).context(format_args!("`{name}` in a group of calls"))
}

macro_rules! groups {
    ($($M:ident $T:ident $E:ident $at:tt),+) => {
        impl<$($M, $T: Send + 'static, $E: TaskFailure),+> sealed::Start for Group<($($M,)+)>
        where
            $($M: GroupMember + sealed::Start<Output = Result<$T, CallError<$E>>>,)+
            $($M::Future: Unpin,)+
        {
            type Output = Result<($($T,)+), Error>;
            type Future = Together<($(MaybeDone<$M::Future>,)+)>;

            fn start(self, route: &Route) -> Self::Future {
                let Self { calls, timeout } = self;
                Together {
                    names: vec![$(calls.$at.path()),+],
                    runs: ($(maybe_done(calls.$at.within(timeout).start(route)),)+),
                }
            }
        }

        impl<$($M, $T: Send + 'static, $E: TaskFailure),+> sealed::Start for Settled<($($M,)+)>
        where
            $($M: GroupMember + sealed::Start<Output = Result<$T, CallError<$E>>>,)+
            $($M::Future: Unpin,)+
        {
            type Output = ($($M::Output,)+);
            type Future = TogetherSettled<($(MaybeDone<$M::Future>,)+)>;

            fn start(self, route: &Route) -> Self::Future {
                sealed::Start::start(self.0, route).into()
            }
        }

        #[allow(non_snake_case)]
        impl<$($M, $T, $E: TaskFailure),+> Future for Together<($(MaybeDone<$M>,)+)>
        where
            $($M: Future<Output = Result<$T, CallError<$E>>> + Unpin,)+
        {
            type Output = Result<($($T,)+), Error>;

            fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                let Together { names, runs } = self.get_mut();
                let mut pending = false;
                $(
                    let mut run = Pin::new(&mut runs.$at);
                    pending |= run.as_mut().poll(context).is_pending();
                    if matches!(run.as_mut().output_mut(), Some(Err(_)))
                        && let Some(Err(error)) = run.take_output()
                    {
                        return Poll::Ready(Err(of_call(error, names.get($at).unwrap_or(&"a call"))));
                    }
                )+
                if pending {
                    return Poll::Pending;
                }
                match ($(Pin::new(&mut runs.$at).take_output(),)+) {
                    ($(Some(Ok($T)),)+) => Poll::Ready(Ok(($($T,)+))),
                    _ => Poll::Pending,
                }
            }
        }

        #[allow(non_snake_case)]
        impl<$($M: Future + Unpin),+> Future for TogetherSettled<($(MaybeDone<$M>,)+)> {
            type Output = ($($M::Output,)+);

            fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                let Together { runs, .. } = &mut self.get_mut().0;
                let mut pending = false;
                $(pending |= Pin::new(&mut runs.$at).poll(context).is_pending();)+
                if pending {
                    return Poll::Pending;
                }
                match ($(Pin::new(&mut runs.$at).take_output(),)+) {
                    ($(Some($M),)+) => Poll::Ready(($($M,)+)),
                    _ => Poll::Pending,
                }
            }
        }
    };
}

macro_rules! grow {
    ($($M:ident $at:tt),+) => {
        impl<$($M,)+ Next: GroupMember> BitAnd<Next> for Group<($($M,)+)> {
            type Output = Group<($($M,)+ Next)>;

            fn bitand(self, other: Next) -> Self::Output {
                Group { calls: ($(self.calls.$at,)+ other), timeout: self.timeout }
            }
        }

        impl<$($M),+> Group<($($M,)+)> {
            /// The group with one call more, like `self & other`. A time that the group was given is
            /// for that call too.
            pub fn and<Next: GroupMember>(self, other: Next) -> Group<($($M,)+ Next)> {
                self & other
            }
        }
    };
}

groups!(A TA EA 0, B TB EB 1);
groups!(A TA EA 0, B TB EB 1, C TC EC 2);
groups!(A TA EA 0, B TB EB 1, C TC EC 2, D TD ED 3);
groups!(A TA EA 0, B TB EB 1, C TC EC 2, D TD ED 3, F TF EF 4);
groups!(A TA EA 0, B TB EB 1, C TC EC 2, D TD ED 3, F TF EF 4, G TG EG 5);
groups!(A TA EA 0, B TB EB 1, C TC EC 2, D TD ED 3, F TF EF 4, G TG EG 5, H TH EH 6);
groups!(A TA EA 0, B TB EB 1, C TC EC 2, D TD ED 3, F TF EF 4, G TG EG 5, H TH EH 6, I TI EI 7);

grow!(A 0, B 1);
grow!(A 0, B 1, C 2);
grow!(A 0, B 1, C 2, D 3);
grow!(A 0, B 1, C 2, D 3, F 4);
grow!(A 0, B 1, C 2, D 3, F 4, G 5);
grow!(A 0, B 1, C 2, D 3, F 4, G 5, H 6);
