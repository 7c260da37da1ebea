//! What reads bytes from outside on a node, as functions of those bytes that assert what must hold; for
//! `tests/fuzz`. What a worker is told over its link is read in the runtime.

use skyward_runtime::testing::Decoder;

use crate::output::Lines;
use crate::output::lines::LONGEST;

/// Those of this crate.
pub const DECODERS: &[Decoder] = &[Decoder { name: "output-lines", check: lines, seeds: line_seeds }];

/// What a task writes, in pieces of a size that the first byte says.
fn lines(bytes: &[u8]) {
    let Some((piece, rest)) = bytes.split_first() else { return };
    let in_pieces = read(rest.chunks(usize::from(*piece) + 1));
    let whole = read(std::iter::once(rest));
    assert_eq!(in_pieces, whole, "where it is cut does not matter");
    // A byte that is no character is shown as one of three bytes.
    assert!(whole.iter().all(|it| it.len() <= LONGEST * 3), "a line is longer than the longest");
    if let Ok(text) = std::str::from_utf8(rest) {
        let shown: String = whole.concat();
        let written = text.chars().filter(|it| *it != '\n' && *it != '\r');
        assert!(shown.chars().filter(|it| *it != '\r').eq(written), "what was written is shown");
    }
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut lines, mut seen) = (Lines::default(), Vec::new());
    pieces.for_each(|it| lines.take(it, |line| seen.push(line)));
    lines.finish(|line| seen.push(line));
    seen
}

fn line_seeds() -> Vec<Vec<u8>> {
    let cut = format!("\u{7f}{}\u{e9}{}", "x".repeat(LONGEST - 1), "y\r\n");
    let texts = ["\0one\ntwo\r\n\n", "\u{2}caf\u{e9} \u{1f980}\nno end", &cut];
    texts.iter().map(|it| it.as_bytes().to_vec()).chain([vec![3, 0xc3, 0xff, b'\n', 0x80, 0xf0]]).collect()
}
