//! Arguments travel.

#[skyward::function]
fn count(words: &str, path: &Path, more: Vec<&'static str>, numbers: &[u8]) -> usize {
    words.len() + numbers.len()
}

fn main() {}
