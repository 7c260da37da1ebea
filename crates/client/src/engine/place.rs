//! Lets futures that need Skyward's runtime (its timers, its sockets) be polled and dropped anywhere:
//! on another runtime, or on none.

use std::fmt;

use super::Engine;

/// Something that is only ever touched with the engine's runtime entered.
pub(crate) struct InPlace<F>(Option<F>);

impl<F> InPlace<F> {
    pub(crate) const fn new(inner: F) -> Self {
        Self(Some(inner))
    }

    /// One that was emptied already.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Does something with what is inside; `None` when it was emptied.
    pub(crate) fn with<R>(&mut self, act: impl FnOnce(&mut F) -> R) -> Option<R> {
        let _entered = Engine::get().ok().map(|it| it.handle().enter());
        self.0.as_mut().map(act)
    }

    /// Turns what is inside into something else.
    pub(crate) fn map<G>(mut self, change: impl FnOnce(F) -> G) -> InPlace<G> {
        InPlace(self.0.take().map(change))
    }

    /// Drops what is inside.
    pub(crate) fn empty(&mut self) {
        let _entered = Engine::get().ok().map(|it| it.handle().enter());
        self.0 = None;
    }
}

impl<F> Drop for InPlace<F> {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.empty();
        }
    }
}

impl<F> fmt::Debug for InPlace<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "InPlace" } else { "InPlace(empty)" })
    }
}
