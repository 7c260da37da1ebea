//! Puts a file that came compressed in its place on a machine, whole and verified.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

/// Unpacks these bytes to this file, which others see only when all of it is there and has this hash. Blocks.
///
/// # Errors
/// When it cannot be written, cannot be unpacked, or is something else.
pub fn unpack(bytes: &[u8], hash: &str, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let draft = to.with_extension(format!("{}.part", std::process::id()));
    let placed = write(bytes, hash, &draft).and_then(|()| fs::rename(&draft, to));
    if placed.is_err() {
        // What is written of it is of no use.
        let _ = fs::remove_file(&draft);
    }
    placed
}

fn write(bytes: &[u8], hash: &str, draft: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    let (mut unpacked, mut got, mut piece) = (GzDecoder::new(bytes), Sha256::new(), vec![0; PIECE]);
    loop {
        let length = unpacked.read(&mut piece)?;
        let piece = piece.get(..length).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        got.update(piece);
        file.write_all(piece)?;
    }
    let got = hex::encode(got.finalize());
    if got == hash {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("its sha256 is {got} and must be {hash}")))
}

/// How much is unpacked at once, in bytes.
const PIECE: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn a_file_is_in_its_place_whole_or_not_at_all() {
        let home = tempfile::tempdir().expect("a folder");
        let content = b"all of it".repeat(100_000);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&content).expect("packed");
        let packed = gzip.finish().expect("packed");
        let (hash, to) = (hex::encode(Sha256::digest(&content)), home.path().join("includes/x.tar"));
        for (bytes, hash) in
            [(&packed[..packed.len() / 2], hash.as_str()), (&packed, "00"), (&b"no"[..], &hash)]
        {
            assert!(unpack(bytes, hash, &to).is_err());
            assert_eq!(fs::read_dir(home.path().join("includes")).expect("listed").count(), 0);
        }
        unpack(&packed, &hash, &to).expect("unpacked");
        assert_eq!(fs::read(&to).expect("there"), content);
    }
}
