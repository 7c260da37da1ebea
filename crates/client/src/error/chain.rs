//! A chain of causes as text: one line for `Display`, several for `Debug`, as people read it when
//! `main` returns an error.

use std::fmt;

/// The messages of an error and its sources, outermost first. A source that repeats the end of the
/// message above it is left out, because some errors print their source themselves.
pub(crate) fn messages(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |it| it.source()) {
        let message = error.to_string();
        if messages.last().is_none_or(|it| !it.ends_with(&message)) {
            messages.push(message);
        }
    }
    messages
}

/// Writes `outer: inner: innermost`.
pub(crate) fn line(messages: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&messages.join(": "))
}

/// Writes the outermost message and, below it, what it was caused by.
pub(crate) fn lines(messages: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some((first, causes)) = messages.split_first() else { return Ok(()) };
    f.write_str(first)?;
    if !causes.is_empty() {
        f.write_str("\n\nCaused by:")?;
    }
    causes.iter().enumerate().try_for_each(|(index, it)| write!(f, "\n    {index}: {it}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: {0}")]
    struct RepeatsItsSource(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct KeepsItsSource(#[source] std::io::Error);

    #[test]
    fn each_cause_is_said_once() {
        let io = || std::io::Error::other("the disk is full");
        assert_eq!(messages(&RepeatsItsSource(io())), ["outer: the disk is full"]);
        assert_eq!(messages(&KeepsItsSource(io())), ["outer", "the disk is full"]);
    }
}
