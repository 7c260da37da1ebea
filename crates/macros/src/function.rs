//! `#[skyward::function]`. A function `f` becomes a function `f` that returns a `Call`, with these
//! inside it: the original body, how each argument and the outcome are encoded, how a worker starts it,
//! and its entry in the registry.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, ItemFn, Pat, PatType, ReturnType, Type};

use crate::check;
use crate::stream::{self, Given, Way};

/// Expands `#[skyward::function]`.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    check::no_attribute_arguments("function", &arguments)?;
    let function: ItemFn = syn::parse2(item)?;
    check::signature(&function.sig)?;
    let arguments: Vec<Argument> = function
        .sig
        .inputs
        .iter()
        .filter_map(|it| match it {
            FnArg::Typed(it) => Some(it),
            FnArg::Receiver(_) => None,
        })
        .enumerate()
        .map(|(index, it)| Argument::new(index, it))
        .collect();

    let (outer, inner): (Vec<&Attribute>, Vec<&Attribute>) =
        function.attrs.iter().partition(|it| belongs_outside(it));
    let (visibility, name, block) = (&function.vis, &function.sig.ident, &function.block);
    let (asyncness, inputs, written) = (&function.sig.asyncness, &function.sig.inputs, &function.sig.output);
    let given = stream::given(written);
    let outcome = Outcome::new(written, given.as_ref());
    let names = arguments.iter().map(|it| &it.name);
    let types = arguments.iter().map(|it| it.ty);
    let codecs = arguments.iter().map(Argument::codec);
    let (values, streams) = split(&arguments);
    let (count, encode) = (values.len(), values.iter().map(|it| it.encode()));
    let definition = definition(&function, &arguments, given.as_ref());
    let outcome_items = outcome.items();
    let (mut ty, mut call) = outcome.call(given.is_some());
    if !streams.is_empty() {
        let give = streams.iter().map(|it| it.give());
        ty = quote!(::skyward::Fed<#ty>);
        call = quote!(::skyward::__private::fed(#call, ::std::vec![#(#give),*]));
    }

    Ok(quote! {
        #(#outer)*
        #visibility fn #name(#(#names: #types),*) -> #ty {
            #(#inner)*
            #asyncness fn __skyward_body(#inputs) #written #block
            #(#codecs)*
            #outcome_items
            #definition
            #[allow(unused_mut)]
            let mut __skyward_arguments = ::skyward::__private::Encoder::new(#count);
            #(#encode)*
            #call
        }
    })
}

/// The arguments that travel before the call runs, and those that are streams.
fn split<'a, 'b>(arguments: &'b [Argument<'a>]) -> (Vec<&'b Argument<'a>>, Vec<&'b Argument<'a>>) {
    arguments.iter().partition(|it| !it.is_stream)
}

/// How a worker starts the function, and its entry in the registry.
fn definition(function: &ItemFn, arguments: &[Argument], given: Option<&Given>) -> TokenStream {
    let name = &function.sig.ident;
    let (values, streams) = split(arguments);
    let (count, inputs) = (values.len(), streams.len());
    let decode = arguments.iter().map(Argument::decode);
    let names: Vec<_> = arguments.iter().map(|it| &it.name).collect();
    let run = quote!(__skyward_body(#(#names),*));
    let is_async = function.sig.asyncness.is_some();
    let body = match given.map(|it| it.way) {
        None if inputs == 0 && is_async => Start::Async(quote!(#run.await)),
        None if inputs == 0 => Start::Blocking(run),
        // The value is the one item.
        None if is_async => Start::Stream(quote!(::skyward::__private::once(#run))),
        None => Start::Iterator(quote!(::core::iter::once_with(move || #run))),
        Some(Way::Stream) if is_async => Start::Stream(quote!(#run.await)),
        Some(Way::Stream) => Start::Stream(run),
        Some(Way::Iterator) => Start::Iterator(run),
    };
    let take = quote! {
        #[allow(unused_mut)]
        let mut __skyward_decoder = ::skyward::__private::Decoder::new(&__skyward_arguments, #count)?;
        #(#decode)*
    };
    let start = body.function(name, &take);
    let body = body.entry(inputs);
    let signature = signature(function, arguments);
    quote! {
        #start
        const __SKYWARD_DEFINITION: ::skyward::__private::Function = ::skyward::__private::Function {
            name: ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
            place: ::core::concat!(::core::file!(), ":", ::core::line!(), ":", ::core::column!()),
            signature: #signature,
            body: ::skyward::__private::Body::#body,
        };
        static __SKYWARD_FUNCTION: ::skyward::__private::Function = __SKYWARD_DEFINITION;
        ::skyward::__private::inventory::submit! { __SKYWARD_DEFINITION }
    }
}

/// The types as written, for the registry's hash.
fn signature(function: &ItemFn, arguments: &[Argument]) -> String {
    let asyncness = if function.sig.asyncness.is_some() { "async " } else { "" };
    let types: Vec<String> = arguments.iter().map(|it| it.ty.to_token_stream().to_string()).collect();
    let output = function.sig.output.to_token_stream();
    format!("{asyncness}fn({}) {output}", types.join(", ")).trim_end().to_owned()
}

/// Whether an attribute speaks of the function's place in its module (documentation, conditional
/// compilation, lint levels) rather than of its body.
fn belongs_outside(attribute: &Attribute) -> bool {
    const OUTSIDE: &[&str] =
        &["allow", "cfg", "cfg_attr", "deny", "deprecated", "doc", "expect", "forbid", "must_use", "warn"];
    OUTSIDE.iter().any(|it| attribute.path().is_ident(it))
}

struct Argument<'a> {
    name: Ident,
    codec: Ident,
    ty: &'a Type,
    is_stream: bool,
}

impl<'a> Argument<'a> {
    fn new(index: usize, argument: &'a PatType) -> Self {
        let name = match &*argument.pat {
            Pat::Ident(it) if it.by_ref.is_none() && it.subpat.is_none() => it.ident.clone(),
            _ => format_ident!("argument_{index}", span = argument.pat.span()),
        };
        let (ty, is_stream) = (&*argument.ty, stream::is_streaming(&argument.ty));
        Self { name, codec: format_ident!("__SKYWARD_ARGUMENT_{index}"), ty, is_stream }
    }

    /// How its values are encoded; also where the compiler complains about its type.
    fn codec(&self) -> TokenStream {
        let Self { codec, ty, is_stream, .. } = self;
        let value = match is_stream {
            true => quote_spanned!(ty.span()=> <#ty as ::skyward::__private::Taken>::Item),
            false => ty.to_token_stream(),
        };
        let made = quote_spanned!(ty.span()=> ::skyward::__private::argument::<#value>());
        quote!(const #codec: ::skyward::__private::Codec<#value> = #made;)
    }

    fn encode(&self) -> TokenStream {
        let Self { name, codec, .. } = self;
        quote!(__skyward_arguments.add(::core::stringify!(#name), &#codec, &#name);)
    }

    /// At the caller, a stream as what is sent.
    fn give(&self) -> TokenStream {
        let Self { name, codec, .. } = self;
        quote!(::skyward::__private::give(#name, &#codec))
    }

    fn decode(&self) -> TokenStream {
        let Self { name, codec, ty, is_stream } = self;
        if *is_stream {
            return quote!(let #name: #ty = ::skyward::__private::take(&mut __skyward_inputs, &#codec)?;);
        }
        quote!(let #name: #ty = __skyward_decoder.take(::core::stringify!(#name), &#codec)?;)
    }
}

/// How a worker runs the function, each with the expression that does.
enum Start {
    /// Of its outcome.
    Async(TokenStream),
    Blocking(TokenStream),
    /// Of a stream or iterator of its items.
    Stream(TokenStream),
    Iterator(TokenStream),
}

impl Start {
    /// The function that the registry's entry names, after `take` took its arguments.
    fn function(&self, name: &Ident, take: &TokenStream) -> TokenStream {
        match self {
            Self::Async(run) => {
                let boxed = boxed(name);
                quote! {
                    fn __skyward_start(
                        __skyward_arguments: ::skyward::__private::Bytes,
                    ) -> ::core::result::Result<
                        ::skyward::__private::BoxFuture<'static, ::skyward::__private::Answer>,
                        ::std::string::String,
                    > {
                        #take
                        let __skyward_future = async move { __SKYWARD_OUTCOME.answer(#run) };
                        ::core::result::Result::Ok(#boxed)
                    }
                }
            }
            Self::Blocking(run) => quote! {
                fn __skyward_start(
                    __skyward_arguments: ::skyward::__private::Bytes,
                ) -> ::core::result::Result<::skyward::__private::Answer, ::std::string::String> {
                    #take
                    ::core::result::Result::Ok(__SKYWARD_OUTCOME.answer(#run))
                }
            },
            Self::Stream(items) => {
                let boxed = boxed(name);
                quote! {
                    #[allow(unused_mut, unused_variables)]
                    fn __skyward_start(
                        __skyward_arguments: ::skyward::__private::Bytes,
                        mut __skyward_inputs: ::skyward::__private::Inputs,
                    ) -> ::core::result::Result<
                        ::skyward::__private::BoxFuture<'static, ::skyward::__private::BoxSource>,
                        ::std::string::String,
                    > {
                        #take
                        let __skyward_future = async move { __SKYWARD_OUTCOME.source(#items) };
                        ::core::result::Result::Ok(#boxed)
                    }
                }
            }
            Self::Iterator(items) => quote! {
                #[allow(unused_mut, unused_variables)]
                fn __skyward_start(
                    __skyward_arguments: ::skyward::__private::Bytes,
                    mut __skyward_inputs: ::skyward::__private::Inputs,
                    __skyward_outlet: &mut dyn ::skyward::__private::Outlet,
                ) -> ::core::result::Result<::skyward::__private::Ending, ::std::string::String> {
                    #take
                    ::core::result::Result::Ok(__SKYWARD_OUTCOME.drain(#items, __skyward_outlet))
                }
            },
        }
    }

    /// The variant of `Body`.
    fn entry(&self, inputs: usize) -> TokenStream {
        match self {
            Self::Async(_) => quote!(Async(__skyward_start)),
            Self::Blocking(_) => quote!(Blocking(__skyward_start)),
            Self::Stream(_) => quote!(Stream { inputs: #inputs, start: __skyward_start }),
            Self::Iterator(_) => quote!(Iterator { inputs: #inputs, run: __skyward_start }),
        }
    }
}

/// The span makes "this future is not Send" point to the function.
fn boxed(name: &Ident) -> TokenStream {
    quote_spanned!(name.span()=> ::skyward::__private::boxed(__skyward_future))
}

/// What comes back, once or as each item: a value, or a value or an error.
struct Outcome {
    written: TokenStream,
    value: TokenStream,
    error: TokenStream,
    fallible: bool,
}

impl Outcome {
    fn new(output: &ReturnType, given: Option<&Given>) -> Self {
        let ty = match (given, output) {
            (Some(given), _) => Some(given.item),
            (None, ReturnType::Type(_, ty)) => Some(&**ty),
            (None, ReturnType::Default) => None,
        };
        let written = ty.map_or_else(|| quote!(()), ToTokens::to_token_stream);
        if !ty.is_some_and(stream::is_result) {
            let never = quote!(::skyward::Never);
            return Self { value: written.clone(), error: never, written, fallible: false };
        }
        let part = |name: TokenStream| quote!(<#written as ::skyward::Fallible>::#name);
        Self { value: part(quote!(Ok)), error: part(quote!(Err)), written, fallible: true }
    }

    /// The type of a call, and how it is made.
    fn call(&self, is_stream: bool) -> (TokenStream, TokenStream) {
        let Self { value, error, .. } = self;
        let (ty, make) = match is_stream {
            true => (quote!(StreamCall), quote!(stream_call)),
            false => (quote!(Call), quote!(call)),
        };
        let call = quote! {
            ::skyward::__private::#make(
                &__SKYWARD_FUNCTION,
                __skyward_arguments.finish(),
                __SKYWARD_OUTCOME.decoding(),
            )
        };
        (quote!(::skyward::#ty<#value, #error>), call)
    }

    /// How outcomes are encoded, and for a function's own error how it is put into words; also where
    /// the compiler complains about the return type.
    fn items(&self) -> TokenStream {
        let Self { written, value, error, fallible } = self;
        let make = if *fallible { quote!(fallible) } else { quote!(plain) };
        let span = written.span();
        // Only the expression has the return type's span: linters should not take the type for the user's.
        let made = quote_spanned!(span=> ::skyward::__private::#make::<#written>());
        let outcome = quote! {
            const __SKYWARD_OUTCOME: ::skyward::__private::Outcome<#written, #value, #error> = #made;
        };
        let words = fallible.then(|| {
            quote! {
                const __SKYWARD_WORDS: ::skyward::__private::Words =
                    ::skyward::__private::Words::new(|__skyward_error| {
                        #[allow(unused_imports)]
                        use ::skyward::__private::words::{ByDebug as _, ByDisplay as _, ByError as _, ByNothing as _};
                        __skyward_error
                            .downcast_ref::<#error>()
                            .map(|it| (&&&&::skyward::__private::words::Of(it)).words())
                    });
                ::skyward::__private::inventory::submit! { __SKYWARD_WORDS }
            }
        });
        quote!(#outcome #words)
    }
}
