//! What arguments, values and errors must be to travel, with the words that the compiler uses when
//! they are not.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What an argument of a function must be. Implemented for everything that qualifies.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a skyward function",
    label = "has to be `Serialize + Deserialize`, `Send` and `'static`",
    note = "arguments travel to another machine: derive `serde::Serialize` and `serde::Deserialize` for `{Self}`"
)]
pub trait Argument: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Argument for T {}

/// What a function's value must be. Implemented for everything that qualifies.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from a skyward function",
    label = "has to be `Serialize + Deserialize`, `Send` and `'static`",
    note = "values travel back from another machine: derive `serde::Serialize` and `serde::Deserialize` for `{Self}`"
)]
pub trait TaskValue: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> TaskValue for T {}

/// What a function's own error must be. Implemented for everything that qualifies.
///
/// It is `Sync` too, so that [`Error`](crate::Error), which may hold it, is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a skyward function",
    label = "has to be `Serialize + Deserialize`, `Send`, `Sync` and `'static`",
    note = "return Result<T, skyward::Failure>, into which `?` turns every other error",
    note = "or use an error type of your own that derives `serde::Serialize` and `serde::Deserialize`"
)]
pub trait TaskFailure: Serialize + DeserializeOwned + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> TaskFailure for T {}

/// A return type that is spelled `Result`: the macro takes it apart by this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `std::result::Result`",
    label = "a return type that is called `Result` is taken apart into a value and an error",
    note = "give a type of your own another name than `Result`"
)]
pub trait Fallible {
    /// The value.
    type Ok;
    /// The error.
    type Err;

    #[doc(hidden)]
    fn into_result(self) -> Result<Self::Ok, Self::Err>;
}

impl<T, E> Fallible for Result<T, E> {
    type Ok = T;
    type Err = E;

    fn into_result(self) -> Self {
        self
    }
}
