//! `#[skyward::main]` and `#[skyward::test]`: the places where a program may turn into a worker.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn};

use crate::check;

/// Expands `#[skyward::main]`.
pub(crate) fn main(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    check::no_attribute_arguments("main", &arguments)?;
    let function = parse("main", item)?;
    let (attributes, visibility, output) = (&function.attrs, &function.vis, &function.sig.output);
    let (name, body, asyncness) = (&function.sig.ident, &function.block, &function.sig.asyncness);
    let run = if asyncness.is_some() { quote!(main_async) } else { quote!(main_blocking) };
    Ok(quote! {
        #(#attributes)*
        #visibility fn #name() #output {
            #asyncness fn __skyward_main() #output #body
            ::skyward::init();
            ::skyward::__private::#run(__skyward_main)
        }
    })
}

/// Expands `#[skyward::test]`.
pub(crate) fn test(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    check::no_attribute_arguments("test", &arguments)?;
    let function = parse("test", item)?;
    if function.sig.asyncness.is_none() {
        return Err(Error::new_spanned(
            function.sig.fn_token,
            "#[skyward::test] is for async functions; write `async fn`",
        ));
    }
    let (attributes, visibility, output) = (&function.attrs, &function.vis, &function.sig.output);
    let (name, body) = (&function.sig.ident, &function.block);
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attributes)*
        #visibility fn #name() #output {
            async fn __skyward_test() #output #body
            ::skyward::__private::init_test(::core::module_path!(), ::core::stringify!(#name));
            ::skyward::__private::test(__skyward_test)
        }
    })
}

fn parse(name: &str, item: TokenStream) -> syn::Result<ItemFn> {
    let function: ItemFn = syn::parse2(item)?;
    check::signature(&function.sig)?;
    if function.sig.inputs.is_empty() {
        return Ok(function);
    }
    let message = format!("a function with #[skyward::{name}] takes no arguments");
    Err(Error::new_spanned(&function.sig.inputs, message))
}
