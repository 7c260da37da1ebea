//! `#[skyward::function]`. A function `f` becomes a function `f` that returns a `Call`, with these
//! inside it: the original body, how each argument and the outcome are encoded, how a worker starts it,
//! and its entry in the registry.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, ItemFn, Pat, PatType, ReturnType, Type};

use crate::check;

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
    let outcome = Outcome::new(written);
    let (value, error) = (&outcome.value, &outcome.error);
    let names = arguments.iter().map(|it| &it.name);
    let types = arguments.iter().map(|it| it.ty);
    let (codecs, encode) = (arguments.iter().map(Argument::codec), arguments.iter().map(Argument::encode));
    let definition = definition(&function, &arguments);
    let outcome_items = outcome.items();
    let count = arguments.len();

    Ok(quote! {
        #(#outer)*
        #visibility fn #name(#(#names: #types),*) -> ::skyward::Call<#value, #error> {
            #(#inner)*
            #asyncness fn __skyward_body(#inputs) #written #block
            #(#codecs)*
            #outcome_items
            #definition
            #[allow(unused_mut)]
            let mut __skyward_arguments = ::skyward::__private::Encoder::new(#count);
            #(#encode)*
            ::skyward::__private::call(
                &__SKYWARD_FUNCTION,
                __skyward_arguments.finish(),
                __SKYWARD_OUTCOME.decoding(),
            )
        }
    })
}

/// How a worker starts the function, and its entry in the registry.
fn definition(function: &ItemFn, arguments: &[Argument]) -> TokenStream {
    let name = &function.sig.ident;
    let count = arguments.len();
    let decode = arguments.iter().map(Argument::decode);
    let names: Vec<_> = arguments.iter().map(|it| &it.name).collect();
    let take = quote! {
        #[allow(unused_mut)]
        let mut __skyward_decoder = ::skyward::__private::Decoder::new(&__skyward_arguments, #count)?;
        #(#decode)*
    };
    let (variant, start) = if function.sig.asyncness.is_some() {
        // The span makes "this future is not Send" point to the function.
        let boxed = quote_spanned!(name.span()=> ::skyward::__private::boxed(__skyward_answer));
        let start = quote! {
            fn __skyward_start(
                __skyward_arguments: ::skyward::__private::Bytes,
            ) -> ::core::result::Result<
                ::skyward::__private::BoxFuture<'static, ::skyward::__private::Answer>,
                ::std::string::String,
            > {
                #take
                let __skyward_answer =
                    async move { __SKYWARD_OUTCOME.answer(__skyward_body(#(#names),*).await) };
                ::core::result::Result::Ok(#boxed)
            }
        };
        (quote!(Async), start)
    } else {
        let start = quote! {
            fn __skyward_start(
                __skyward_arguments: ::skyward::__private::Bytes,
            ) -> ::core::result::Result<::skyward::__private::Answer, ::std::string::String> {
                #take
                ::core::result::Result::Ok(__SKYWARD_OUTCOME.answer(__skyward_body(#(#names),*)))
            }
        };
        (quote!(Blocking), start)
    };
    let signature = signature(function, arguments);
    quote! {
        #start
        const __SKYWARD_DEFINITION: ::skyward::__private::Function = ::skyward::__private::Function {
            name: ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
            place: ::core::concat!(::core::file!(), ":", ::core::line!(), ":", ::core::column!()),
            signature: #signature,
            body: ::skyward::__private::Body::#variant(__skyward_start),
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
}

impl<'a> Argument<'a> {
    fn new(index: usize, argument: &'a PatType) -> Self {
        let name = match &*argument.pat {
            Pat::Ident(it) if it.by_ref.is_none() && it.subpat.is_none() => it.ident.clone(),
            _ => format_ident!("argument_{index}", span = argument.pat.span()),
        };
        Self { name, codec: format_ident!("__SKYWARD_ARGUMENT_{index}"), ty: &argument.ty }
    }

    /// How its values are encoded; also where the compiler complains about its type.
    fn codec(&self) -> TokenStream {
        let Self { codec, ty, .. } = self;
        let made = quote_spanned!(ty.span()=> ::skyward::__private::argument::<#ty>());
        quote!(const #codec: ::skyward::__private::Codec<#ty> = #made;)
    }

    fn encode(&self) -> TokenStream {
        let Self { name, codec, .. } = self;
        quote!(__skyward_arguments.add(::core::stringify!(#name), &#codec, &#name);)
    }

    fn decode(&self) -> TokenStream {
        let Self { name, codec, ty } = self;
        quote!(let #name: #ty = __skyward_decoder.take(::core::stringify!(#name), &#codec)?;)
    }
}

/// What comes back: a value, or a value or an error.
struct Outcome {
    written: TokenStream,
    value: TokenStream,
    error: TokenStream,
    fallible: bool,
}

impl Outcome {
    fn new(output: &ReturnType) -> Self {
        let written = match output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, ty) => ty.to_token_stream(),
        };
        if !ends_in_result(output) {
            let never = quote!(::skyward::Never);
            return Self { value: written.clone(), error: never, written, fallible: false };
        }
        let part = |name: TokenStream| quote!(<#written as ::skyward::Fallible>::#name);
        Self { value: part(quote!(Ok)), error: part(quote!(Err)), written, fallible: true }
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

/// Whether the return type is spelled as some `Result`.
fn ends_in_result(output: &ReturnType) -> bool {
    let ReturnType::Type(_, ty) = output else { return false };
    let mut ty = &**ty;
    while let Type::Paren(syn::TypeParen { elem, .. }) | Type::Group(syn::TypeGroup { elem, .. }) = ty {
        ty = elem;
    }
    match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|it| it.ident == "Result"),
        _ => false,
    }
}
