//! A Rust file as a flat list of tokens that know their line, whether they belong to tests, and how
//! deep in inline modules they are. Comments and strings are gone, macros' insides are there.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// One token.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// An identifier, a bracket, a literal, `::`, or one sign.
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
    /// Whether it is below `#[cfg(test)]` or `#[test]`.
    pub(crate) test: bool,
    /// How many inline modules it is in.
    pub(crate) depth: usize,
}

/// The tokens of a file.
///
/// # Errors
/// When the text is no Rust.
pub(crate) fn read(text: &str) -> Result<Vec<Token>, String> {
    let stream: TokenStream = text.parse().map_err(|error| format!("cannot be read: {error}"))?;
    let mut tokens = Vec::new();
    flatten(stream, false, 0, &mut tokens);
    Ok(tokens)
}

fn flatten(stream: TokenStream, inherited: bool, depth: usize, into: &mut Vec<Token>) {
    let mut test = inherited;
    let mut first_colon = false;
    let mut last_words = [String::new(), String::new()];
    for tree in stream {
        let line = tree.span().start().line;
        let mut push = |text: String, test| into.push(Token { text, line, test, depth });
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::None => ("", ""),
                };
                let is_attribute = group.delimiter() == Delimiter::Bracket && last_words[1] == "#";
                test |= is_attribute && marks_test(&group.stream().to_string());
                let is_body = group.delimiter() == Delimiter::Brace;
                let inner = depth + usize::from(is_body && last_words[0] == "mod");
                push(open.to_owned(), test);
                flatten(group.stream(), test, inner, into);
                let line = group.span_close().start().line;
                into.push(Token { text: close.to_owned(), line, test, depth });
                if is_body {
                    test = inherited;
                }
                remember(&mut last_words, close);
            }
            TokenTree::Punct(sign) if sign.as_char() == ':' && sign.spacing() == Spacing::Joint => {
                first_colon = true;
            }
            TokenTree::Punct(sign) => {
                let text = if first_colon { "::".to_owned() } else { sign.to_string() };
                remember(&mut last_words, &text);
                first_colon = false;
                let ends_item = text == ";";
                push(text, test);
                if ends_item {
                    test = inherited;
                }
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                let text = tree.to_string();
                remember(&mut last_words, &text);
                push(text, test);
            }
        }
    }
}

fn remember(words: &mut [String; 2], text: &str) {
    words.swap(0, 1);
    text.clone_into(&mut words[1]);
}

fn marks_test(attribute: &str) -> bool {
    let attribute: String = attribute.split_whitespace().collect();
    attribute == "test" || attribute == "cfg(test)" || attribute.starts_with("cfg(all(test,")
}

#[test]
fn comments_and_strings_are_not_tokens_and_tests_are_known() {
    let text = "// crate::a\nfn f() { g(\"crate::b\") }\n#[cfg(test)]\nmod tests {\n    use x::y;\n}\nstatic Z: u8 = 1;\n";
    let tokens = read(text).expect("is Rust");
    let of = |text: &str| {
        let token = tokens.iter().find(|it| it.text == text).expect("is there");
        (token.line, token.test, token.depth)
    };
    assert_eq!((of("f"), of("y"), of("Z")), ((2, false, 0), (5, true, 1), (7, false, 0)));
    assert!(!tokens.iter().any(|it| it.text == "crate"));
}
