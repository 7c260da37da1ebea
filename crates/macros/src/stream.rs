//! What a signature says of streams: which arguments are some, and whether the function gives one.

use syn::{
    AssocType, GenericArgument, PathArguments, ReturnType, Type, TypeImplTrait, TypeParamBound, TypePath,
};

/// What a function gives, when it gives many things.
pub(crate) struct Given<'a> {
    pub(crate) way: Way,
    /// Of what.
    pub(crate) item: &'a Type,
}

/// In which way it gives them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Stream,
    Iterator,
}

/// What `impl Stream<Item = X>` or `impl Iterator<Item = X>`, as a whole return type, gives.
pub(crate) fn given(output: &ReturnType) -> Option<Given<'_>> {
    let ReturnType::Type(_, ty) = output else { return None };
    let Type::ImplTrait(TypeImplTrait { bounds, .. }) = bare(ty) else { return None };
    bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let last = bound.path.segments.last()?;
        let way = match last.ident.to_string().as_str() {
            "Stream" => Way::Stream,
            "Iterator" => Way::Iterator,
            _ => return None,
        };
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
        arguments.args.iter().find_map(|it| match it {
            GenericArgument::AssocType(AssocType { ident, ty, .. }) if ident == "Item" => {
                Some(Given { way, item: ty })
            }
            _ => None,
        })
    })
}

/// Whether an argument is spelled as some `Streaming`.
pub(crate) fn is_streaming(ty: &Type) -> bool {
    last_name(ty).is_some_and(|it| it == "Streaming")
}

/// Whether a type is spelled as some `Result`.
pub(crate) fn is_result(ty: &Type) -> bool {
    last_name(ty).is_some_and(|it| it == "Result")
}

fn last_name(ty: &Type) -> Option<&syn::Ident> {
    match bare(ty) {
        Type::Path(TypePath { path, .. }) => path.segments.last().map(|it| &it.ident),
        _ => None,
    }
}

/// Without the parentheses around it.
fn bare(mut ty: &Type) -> &Type {
    while let Type::Paren(syn::TypeParen { elem, .. }) | Type::Group(syn::TypeGroup { elem, .. }) = ty {
        ty = elem;
    }
    ty
}
