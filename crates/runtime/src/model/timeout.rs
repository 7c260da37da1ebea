//! A call that took too long, as an outcome.

use std::fmt;
use std::time::Duration;

use super::crash::last_output;

/// How a call ended whose time was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// What it was given.
    pub after: Duration,
    /// The last lines that it wrote to standard output and error, oldest first, within the bounds of
    /// [`Crash`](super::Crash): they tell where it was stuck. Empty where it had no process of its own, had not
    /// begun, or its node could not be asked any more.
    pub output: Vec<String>,
}

impl Timeout {
    /// That of a call of which nothing is known but that it did not end.
    pub const fn new(after: Duration) -> Self {
        Self { after, output: Vec::new() }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "did not finish in {:?}; give it longer with `.timeout(…)`", self.after)?;
        last_output(&self.output, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_says_how_long_it_was_given_and_what_was_said_last() {
        let silent = Timeout::new(Duration::from_secs(2));
        assert_eq!(silent.to_string(), "did not finish in 2s; give it longer with `.timeout(…)`");
        let talking = Timeout { output: vec!["epoch 1".to_owned()], ..silent };
        assert!(talking.to_string().ends_with("; its last output:\n  | epoch 1"));
    }
}
