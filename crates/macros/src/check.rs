//! What a function that runs elsewhere must not be, each with a message that says what to do instead.
//! All complaints about one function are reported together.

use crate::stream::{self, Way};
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{
    Error, FnArg, GenericParam, PatType, ReturnType, Signature, Type, TypeBareFn, TypeImplTrait,
    TypeReference,
};

/// Refuses arguments of the attribute itself.
pub(crate) fn no_attribute_arguments(name: &str, arguments: &TokenStream) -> syn::Result<()> {
    if arguments.is_empty() {
        return Ok(());
    }
    let message = format!("#[skyward::{name}] takes no arguments; write it as `#[skyward::{name}]`");
    Err(Error::new_spanned(arguments, message))
}

/// Refuses signatures that cannot be called from another machine.
pub(crate) fn signature(signature: &Signature) -> syn::Result<()> {
    let mut found = Complaints::default();
    qualifiers(signature, &mut found);
    let mut parameters = signature.generics.params.iter();
    if !signature.generics.params.is_empty() && parameters.all(|it| matches!(it, GenericParam::Lifetime(_))) {
        found.add(
            &signature.generics,
            "a skyward function cannot have lifetimes, because its arguments travel to another machine; take \
             owned arguments",
        );
    } else if !signature.generics.params.is_empty() {
        found.add(
            &signature.generics,
            "a skyward function cannot be generic, because the worker has to know which function to run; \
             write one function for each type",
        );
    } else if let Some(clause) = &signature.generics.where_clause {
        found.add(clause, "a skyward function cannot have a where clause; remove it");
    }
    for input in &signature.inputs {
        match input {
            FnArg::Receiver(receiver) => found.add(
                receiver,
                "a skyward function cannot be a method; make it a free function that takes the value as an \
                 argument",
            ),
            FnArg::Typed(argument) => self::argument(argument, &mut found),
        }
    }
    if let ReturnType::Type(_, output) = &signature.output {
        self::output(signature, output, &mut found);
    }
    found.into_result()
}

fn output(signature: &Signature, output: &Type, found: &mut Complaints) {
    let given = stream::given(&signature.output);
    if signature.asyncness.is_some() && given.as_ref().is_some_and(|it| it.way == Way::Iterator) {
        found.add(
            output,
            "an async skyward function gives its items as `impl Stream`; a plain one may return `impl Iterator`",
        );
    }
    let mut search = Search::default();
    search.visit_type(given.map_or(output, |it| it.item));
    if let Some(it) = search.impl_trait {
        found.add(
            it,
            "a skyward function cannot return `impl Trait`, other than `impl Stream<Item = X>` and \
             `impl Iterator<Item = X>`; name the type that it returns",
        );
    }
}

fn qualifiers(signature: &Signature, found: &mut Complaints) {
    if let Some(it) = &signature.constness {
        found.add(it, "a skyward function cannot be const; remove `const`");
    }
    if let Some(it) = &signature.unsafety {
        found.add(it, "a skyward function cannot be unsafe; wrap the unsafe part in a safe function");
    }
    if let Some(it) = &signature.abi {
        found.add(it, "a skyward function cannot be extern; remove the ABI");
    }
    if let Some(it) = &signature.variadic {
        found.add(it, "a skyward function cannot be variadic; take a Vec");
    }
}

fn argument(argument: &PatType, found: &mut Complaints) {
    if let Some(attribute) = argument.attrs.first() {
        found.add(attribute, "attributes on the arguments of a skyward function are not supported");
    }
    let mut search = Search::default();
    search.visit_type(&argument.ty);
    if let Some(it) = search.impl_trait {
        found.add(it, "a skyward function cannot take `impl Trait`; name the type of the argument");
    }
    if let Some(it) = search.reference {
        found.add(it, &owned_instead(it));
    }
}

/// What to write instead of a reference.
fn owned_instead(reference: &TypeReference) -> String {
    let inner = reference.elem.to_token_stream().to_string();
    let owned = match &*reference.elem {
        Type::Slice(slice) => format!("Vec<{}>", slice.elem.to_token_stream()),
        Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
        Type::Path(path) if path.path.is_ident("Path") => "PathBuf".to_owned(),
        _ => inner.clone(),
    };
    format!(
        "an argument of a skyward function travels to another machine and cannot be a reference; take \
         `{owned}` instead of `&{inner}`"
    )
}

/// The first of each kind of type that is not allowed where it stands.
#[derive(Default)]
struct Search<'a> {
    reference: Option<&'a TypeReference>,
    impl_trait: Option<&'a TypeImplTrait>,
}

impl<'a> Visit<'a> for Search<'a> {
    fn visit_type_reference(&mut self, it: &'a TypeReference) {
        self.reference.get_or_insert(it);
        visit::visit_type_reference(self, it);
    }

    fn visit_type_impl_trait(&mut self, it: &'a TypeImplTrait) {
        self.impl_trait.get_or_insert(it);
    }

    /// The references in `fn(&str)` are not part of the value.
    fn visit_type_bare_fn(&mut self, _: &'a TypeBareFn) {}
}

#[derive(Default)]
struct Complaints(Option<Error>);

impl Complaints {
    fn add(&mut self, tokens: impl ToTokens, message: &str) {
        let error = Error::new_spanned(tokens, message);
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn into_result(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
