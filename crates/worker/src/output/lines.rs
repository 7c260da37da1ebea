//! Bytes as lines: cut where they are too long, lossy where they are no UTF-8.

/// The most bytes of one line. What is longer comes as several, so that a program that writes no line
/// ends costs no more memory than one that does.
pub(crate) const LONGEST: usize = 8 << 10;

/// What has come of a line so far.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes in bytes and gives each line that is whole.
    pub(crate) fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(String)) {
        while !bytes.is_empty() {
            let room = LONGEST.saturating_sub(self.partial.len());
            let near = bytes.get(..room.min(bytes.len())).unwrap_or_default();
            let end = near.iter().position(|it| *it == b'\n');
            self.partial.extend_from_slice(near.get(..end.unwrap_or(near.len())).unwrap_or_default());
            bytes = bytes.get(end.map_or(near.len(), |it| it + 1)..).unwrap_or_default();
            if end.is_some() {
                each(self.whole());
            } else if self.partial.len() >= LONGEST {
                // A character that is cut in two goes to the next line as a whole.
                let kept = whole_characters(&self.partial);
                let rest = self.partial.split_off(kept);
                each(self.whole());
                self.partial = rest;
            }
        }
    }

    /// Gives what has come of a line that nobody ended.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(String)) {
        if !self.partial.is_empty() {
            each(self.whole());
        }
    }

    fn whole(&mut self) -> String {
        let bytes = std::mem::take(&mut self.partial);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(&bytes);
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// How many of the bytes do not end in the middle of a character. Only the last three can be the start
/// of one.
fn whole_characters(bytes: &[u8]) -> usize {
    let length = bytes.len();
    let starts = (1..=3.min(length)).map(|back| length - back);
    for at in starts {
        match bytes.get(at) {
            // The middle of a character: look further back.
            Some(byte) if byte & 0b1100_0000 == 0b1000_0000 => {}
            Some(byte) if byte & 0b1100_0000 == 0b1100_0000 => {
                let wanted = byte.leading_ones() as usize;
                return if length - at < wanted { at } else { length };
            }
            _ => return length,
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        pieces.iter().for_each(|it| lines.take(it, |line| seen.push(line)));
        lines.finish(|line| seen.push(line));
        seen
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        for (pieces, expected) in [
            (&[&b"one\ntwo\n"[..]][..], &["one", "two"][..]),
            (&[b"o", b"ne\r\nt", b"wo"], &["one", "two"]),
            (&[b"\n\n"], &["", ""]),
            (&[b""], &[]),
            (&[b"caf\xc3", b"\xa9 \xff!"], &["caf\u{e9} \u{fffd}!"]),
        ] {
            assert_eq!(read(pieces), expected);
        }
    }

    #[test]
    fn a_long_line_is_cut_and_no_character_with_it() {
        let text = format!("{}\u{e9}{}", "x".repeat(LONGEST - 1), "y".repeat(10));
        let seen = read(&[text.as_bytes(), b"\nnext\n"]);
        assert_eq!(seen, ["x".repeat(LONGEST - 1), format!("\u{e9}{}", "y".repeat(10)), "next".to_owned()]);
        let endless = vec![0x80; 3 * LONGEST];
        assert!(read(&[&endless]).len() >= 3);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0_usize..400) {
            let (one, other) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(read(&[one, other]), read(&[&bytes]));
        }
    }
}
