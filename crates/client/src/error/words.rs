//! How a function's own error is put into words when it becomes an [`Error`](crate::Error), where only
//! its serde bounds are known. The macro, which knows the type, leaves a [`Words`] for each error type,
//! which uses the best of what the type has: its source chain, `Display`, or `Debug`.

use std::any::Any;

use super::Failure;

/// Puts errors of one type into words.
#[derive(Debug)]
pub struct Words(fn(&dyn Any) -> Option<Vec<String>>);

inventory::collect!(Words);

impl Words {
    /// Words of the type that the function recognises.
    pub const fn new(words: fn(&dyn Any) -> Option<Vec<String>>) -> Self {
        Self(words)
    }

    /// The words of this error, outermost message first.
    pub(crate) fn of<E: 'static>(error: &E) -> Vec<String> {
        if let Some(failure) = (error as &dyn Any).downcast_ref::<Failure>() {
            return failure.chain().map(str::to_owned).collect();
        }
        inventory::iter::<Self>()
            .find_map(|it| (it.0)(error))
            .unwrap_or_else(|| vec![format!("a {}", std::any::type_name::<E>())])
    }
}

/// The choice between what a type has. Method lookup takes the first of these that applies to
/// `&&&&Of(error)`: the more references an implementation has, the earlier it is tried.
#[doc(hidden)]
pub mod tiers {
    use std::error::Error;
    use std::fmt::{Debug, Display};

    use crate::error::chain;

    #[derive(Debug)]
    pub struct Of<'a, E>(pub &'a E);

    pub trait ByError {
        fn words(&self) -> Vec<String>;
    }

    impl<E: Error + 'static> ByError for &&&Of<'_, E> {
        fn words(&self) -> Vec<String> {
            chain::messages(self.0)
        }
    }

    pub trait ByDisplay {
        fn words(&self) -> Vec<String>;
    }

    impl<E: Display> ByDisplay for &&Of<'_, E> {
        fn words(&self) -> Vec<String> {
            vec![self.0.to_string()]
        }
    }

    pub trait ByDebug {
        fn words(&self) -> Vec<String>;
    }

    impl<E: Debug> ByDebug for &Of<'_, E> {
        fn words(&self) -> Vec<String> {
            vec![format!("{:?}", self.0)]
        }
    }

    pub trait ByNothing {
        fn words(&self) -> Vec<String>;
    }

    impl<E> ByNothing for Of<'_, E> {
        fn words(&self) -> Vec<String> {
            vec![format!("a {}", std::any::type_name::<E>())]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tiers::{ByDebug as _, ByDisplay as _, ByError as _, ByNothing as _, Of};

    #[derive(Debug)]
    struct OnlyDebug;
    struct Nothing;

    #[test]
    #[expect(clippy::needless_borrow, reason = "the references choose the implementation")]
    fn the_best_that_a_type_has_is_used() {
        let io = std::io::Error::other("full");
        assert_eq!((&&&&Of(&io)).words(), ["full"]);
        assert_eq!((&&&&Of(&"text")).words(), ["text"]);
        assert_eq!((&&&&Of(&OnlyDebug)).words(), ["OnlyDebug"]);
        assert!((&&&&Of(&Nothing)).words().concat().ends_with("Nothing"));
    }
}
