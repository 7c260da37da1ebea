//! Quoting for a POSIX shell, so that no value of an image is ever read as a command. Used by
//! everything here that writes shell text.

use std::fmt::Write as _;

use crate::ssh::quote;

/// One word of a shell, as [`quote`] makes it, out of bytes that need not be text, such as a program's
/// arguments. What is not UTF-8 is written in octal, because a command line travels as text.
pub(super) fn quote_bytes(bytes: &[u8]) -> String {
    let mut word = String::new();
    for chunk in bytes.utf8_chunks() {
        if !chunk.valid().is_empty() {
            word.push_str(&quote(chunk.valid()));
        }
        if !chunk.invalid().is_empty() {
            word.push_str("\"$(printf '");
            for byte in chunk.invalid() {
                // Writing to a `String` cannot fail.
                let _ = write!(word, "\\{byte:03o}");
            }
            word.push_str("')\"");
        }
    }
    if word.is_empty() { "''".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn echoed(words: &str) -> Vec<u8> {
        let done = Command::new("sh").args(["-c", &format!("printf %s {words}")]).output().unwrap();
        assert!(done.status.success(), "{words}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    #[test]
    fn a_shell_reads_difficult_words_back() {
        for text in
            ["", " ", "'", "''", "it's", "$HOME `id` $(id)", "a\nb\n", "\\", "\\'", "*", "-n", "ü€", "!x"]
        {
            assert_eq!(echoed(&quote(text)), text.as_bytes(), "{text:?}");
            assert_eq!(echoed(&quote_bytes(text.as_bytes())), text.as_bytes(), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn a_shell_reads_any_text_back(text in "[^\0]{0,40}") {
            prop_assert_eq!(echoed(&quote(&text)), text.as_bytes());
        }

        #[test]
        fn a_shell_reads_any_bytes_back(bytes in proptest::collection::vec(1_u8.., 0..40)) {
            prop_assert_eq!(echoed(&quote_bytes(&bytes)), bytes);
        }
    }
}
