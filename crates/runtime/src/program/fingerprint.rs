//! What two builds of one program have in common: the functions that can be called, and the version of what travels
//! between them. A program that is to run where ours cannot says it before it is trusted.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use crate::link::PROTOCOL;
use crate::registry::{DuplicateFunction, Registry};

/// What this program has in common with its other builds, as one word: its version of the protocol, and the SHA-256 of
/// its functions in hexadecimal.
///
/// # Errors
/// When two functions cannot be told apart.
pub fn fingerprint() -> Result<String, DuplicateFunction> {
    Ok(format!("{PROTOCOL}-{}", hex::encode(Registry::global()?.hash())))
}

/// Says it and ends. The program calls it when `Role::current()` is `Role::Fingerprint`.
pub fn say_fingerprint() -> ! {
    std::process::exit(i32::from(say().is_err()))
}

fn say() -> io::Result<()> {
    let own = fingerprint().map_err(io::Error::other)?;
    // Not the standard library's handle: a test program holds back what its tests say there.
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    output.write_all(format!("\n{FINGERPRINT_MARK}{own}\n").as_bytes())
}

/// What it says about itself, out of all that a program printed; `None` when it has said nothing.
pub fn read_fingerprint(said: &str) -> Option<&str> {
    said.lines().find_map(|it| it.strip_prefix(FINGERPRINT_MARK)).map(str::trim)
}

/// What the line begins with.
const FINGERPRINT_MARK: &str = "skyward-fingerprint ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_found_in_what_a_program_prints() {
        let own = fingerprint().expect("no function twice");
        assert!(own.starts_with(&format!("{PROTOCOL}-")) && !own.contains(char::is_whitespace), "{own}");
        let said = format!("\nrunning 1 test\ntest x ... \n{FINGERPRINT_MARK}{own}\nmore\n");
        assert_eq!(read_fingerprint(&said), Some(own.as_str()));
        assert_eq!(read_fingerprint("sh: 1: ./program: not found"), None);
    }
}
