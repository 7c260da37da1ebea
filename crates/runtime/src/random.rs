//! Random names and secrets, from the operating system.

/// Text of `length` lower-case letters and digits that nobody can guess: five bits each.
///
/// # Errors
/// When the operating system has no random numbers to give, which on the systems that we run on
/// happens only before they have booted.
pub fn text(length: usize) -> Result<String, getrandom::Error> {
    // Without i, l, o and u: nobody mistakes one for another, and no words come out.
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)?;
    let letter = |byte: &u8| LETTERS.get(usize::from(byte % 32)).copied().map_or('0', char::from);
    Ok(bytes.iter().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_length_and_differ() {
        let (one, other) = (text(16).expect("random"), text(16).expect("random"));
        assert_eq!(one.len(), 16);
        assert_ne!(one, other);
        assert!(one.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit()));
    }
}
