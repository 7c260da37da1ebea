//! Calls of different functions, side by side: two to eight of them.

use std::ops::BitAnd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{MaybeDone, maybe_done};

use super::call::Decoded;
use super::{Call, Dispatch, Route, Work, sealed};
use crate::bounds::TaskFailure;
use crate::error::{CallError, Error};

/// Calls that run at the same time: `(a & b) >> &compute` gives a tuple of their values, and the first
/// error cancels the rest. The parentheses are needed, because `>>` binds tighter than `&`.
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

impl<T1, E1, T2, E2> BitAnd<Call<T2, E2>> for Call<T1, E1> {
    type Output = Group<(Self, Call<T2, E2>)>;

    fn bitand(self, other: Call<T2, E2>) -> Self::Output {
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
    ($($T:ident $E:ident $at:tt),+) => {
        impl<$($T: Send + 'static, $E: TaskFailure),+> sealed::Start for Group<($(Call<$T, $E>,)+)> {
            type Output = Result<($($T,)+), Error>;
            type Future = Together<($(MaybeDone<Decoded<$T, $E>>,)+)>;

            fn start(self, route: &Route) -> Self::Future {
                let Self { calls, timeout } = self;
                Together {
                    names: vec![$(calls.$at.name()),+],
                    runs: ($(maybe_done(sealed::Start::start(calls.$at.within(timeout), route)),)+),
                }
            }
        }

        impl<$($T: Send + 'static, $E: TaskFailure),+> sealed::Start for Settled<($(Call<$T, $E>,)+)> {
            type Output = ($(Result<$T, CallError<$E>>,)+);
            type Future = TogetherSettled<($(MaybeDone<Decoded<$T, $E>>,)+)>;

            fn start(self, route: &Route) -> Self::Future {
                sealed::Start::start(self.0, route).into()
            }
        }

        #[allow(non_snake_case)]
        impl<$($T, $E: TaskFailure),+> Future for Together<($(MaybeDone<Decoded<$T, $E>>,)+)> {
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
        impl<$($T, $E),+> Future for TogetherSettled<($(MaybeDone<Decoded<$T, $E>>,)+)> {
            type Output = ($(Result<$T, CallError<$E>>,)+);

            fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                let Together { runs, .. } = &mut self.get_mut().0;
                let mut pending = false;
                $(pending |= Pin::new(&mut runs.$at).poll(context).is_pending();)+
                if pending {
                    return Poll::Pending;
                }
                match ($(Pin::new(&mut runs.$at).take_output(),)+) {
                    ($(Some($T),)+) => Poll::Ready(($($T,)+)),
                    _ => Poll::Pending,
                }
            }
        }
    };
}

macro_rules! grow {
    ($($T:ident $E:ident $at:tt),+; $T2:ident $E2:ident) => {
        impl<$($T, $E,)+ $T2, $E2> BitAnd<Call<$T2, $E2>> for Group<($(Call<$T, $E>,)+)> {
            type Output = Group<($(Call<$T, $E>,)+ Call<$T2, $E2>)>;

            fn bitand(self, other: Call<$T2, $E2>) -> Self::Output {
                Group { calls: ($(self.calls.$at,)+ other), timeout: self.timeout }
            }
        }

        impl<$($T, $E),+> Group<($(Call<$T, $E>,)+)> {
            /// The group with one call more, like `self & other`. A time that the group was given is
            /// for that call too.
            pub fn and<$T2, $E2>(self, other: Call<$T2, $E2>) -> Group<($(Call<$T, $E>,)+ Call<$T2, $E2>)> {
                self & other
            }
        }
    };
}

groups!(A EA 0, B EB 1);
groups!(A EA 0, B EB 1, C EC 2);
groups!(A EA 0, B EB 1, C EC 2, D ED 3);
groups!(A EA 0, B EB 1, C EC 2, D ED 3, F EF 4);
groups!(A EA 0, B EB 1, C EC 2, D ED 3, F EF 4, G EG 5);
groups!(A EA 0, B EB 1, C EC 2, D ED 3, F EF 4, G EG 5, H EH 6);
groups!(A EA 0, B EB 1, C EC 2, D ED 3, F EF 4, G EG 5, H EH 6, I EI 7);

grow!(A EA 0, B EB 1; C EC);
grow!(A EA 0, B EB 1, C EC 2; D ED);
grow!(A EA 0, B EB 1, C EC 2, D ED 3; F EF);
grow!(A EA 0, B EB 1, C EC 2, D ED 3, F EF 4; G EG);
grow!(A EA 0, B EB 1, C EC 2, D ED 3, F EF 4, G EG 5; H EH);
grow!(A EA 0, B EB 1, C EC 2, D ED 3, F EF 4, G EG 5, H EH 6; I EI);
