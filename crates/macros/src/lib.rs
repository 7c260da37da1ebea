//! The attributes of Skyward: `function`, `main` and `test`. Programs use them as
//! `#[skyward::function]`; what they expand to stands on `skyward::__private`.

mod check;
mod entry;
mod function;
mod stream;

use proc_macro::TokenStream;

/// Makes a function one that can run on another machine.
///
/// The function keeps its name, visibility, documentation and argument types, but calling it gives a
/// `skyward::Call<T, E>`: a value that says what to run. Nothing runs until the call is sent somewhere.
/// Where the function's return type is spelled `Result<T, E>`, that `T` and `E` are the call's;
/// otherwise `T` is the whole return type and `E` is `skyward::Never`.
///
/// Arguments must be `Serialize + DeserializeOwned + Send`, and so must what is returned. The function
/// may be async or not: an async one shares its node's threads with others, a plain one has a thread to
/// itself and may block.
///
/// A function that returns `impl Stream<Item = X>`, async or not, or a plain one that returns
/// `impl Iterator<Item = X>`, gives a `skyward::StreamCall`, whose items are sent as they are made; where
/// `X` is spelled `Result<T, E>`, an `E` ends the stream. An argument that is spelled `Streaming<T>` is a
/// stream that the function takes; the call is wrapped in a `skyward::Fed` then.
///
/// Generic functions, methods, references as arguments, any other `impl Trait`, and `unsafe`, `const` or `extern`
/// functions are refused, because the other side needs one concrete function with arguments of its own.
///
/// ```ignore
/// #[skyward::function]
/// async fn square(n: u64) -> u64 {
///     n * n
/// }
/// ```
#[proc_macro_attribute]
pub fn function(arguments: TokenStream, item: TokenStream) -> TokenStream {
    function::expand(arguments.into(), item.into()).unwrap_or_else(|it| it.into_compile_error()).into()
}

/// Makes `main` the main of a program that uses Skyward: it turns into a worker when it was started as
/// one, else runs the function, async or not, and gives every machine back before the process ends.
///
/// The async function runs on Skyward's own multi-threaded tokio runtime, so `tokio::spawn` and tokio's
/// timers work in it.
///
/// ```ignore
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    // With a main in its place the compiler does not say that there is none, too.
    let refused = |it: syn::Error| {
        let error = it.into_compile_error();
        quote::quote!(#error fn main() {})
    };
    entry::main(arguments.into(), item.into()).unwrap_or_else(refused).into()
}

/// Makes an async function a `#[test]` whose workers are this test program.
///
/// It may return whatever a `#[test]` may; attributes such as `#[ignore]` and `#[should_panic]` work as
/// they do there.
///
/// ```ignore
/// #[skyward::test]
/// async fn squares() -> skyward::Result<()> {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    entry::test(arguments.into(), item.into()).unwrap_or_else(|it| it.into_compile_error()).into()
}
