//! A program that has a test bed and does nothing with it, to be killed by the test of what is left then.

#![expect(clippy::print_stdout, reason = "it tells the test what it has")]

use skyward_tests::testbed::Bed;

fn main() {
    let Some(bed) = Bed::wired(2) else { return };
    println!("{} {}", bed.device(), bed.folder().display());
    let _ = std::io::stdin().read_line(&mut String::new());
}
