//! The end of a task's process as an outcome.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the process of a task ended before the task did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// The signal that ended it, such as 6 (SIGABRT), 9 (SIGKILL) or 11 (SIGSEGV).
    pub signal: Option<i32>,
    /// The code that it exited with.
    pub code: Option<i32>,
    /// The last lines that the task wrote to standard output and error, oldest first: at most
    /// [`Crash::LINES`], of at most [`Crash::BYTES`] together.
    pub output: Vec<String>,
}

impl Crash {
    /// The most lines of output that are kept.
    pub const LINES: usize = 20;

    /// The most bytes of output that are kept.
    pub const BYTES: usize = 8 << 10;

    /// The signal's name.
    pub const fn signal_name(&self) -> Option<&'static str> {
        Some(match self.signal {
            Some(1) => "SIGHUP",
            Some(2) => "SIGINT",
            Some(3) => "SIGQUIT",
            Some(4) => "SIGILL",
            Some(5) => "SIGTRAP",
            Some(6) => "SIGABRT",
            Some(7) => "SIGBUS",
            Some(8) => "SIGFPE",
            Some(9) => "SIGKILL",
            Some(11) => "SIGSEGV",
            Some(13) => "SIGPIPE",
            Some(14) => "SIGALRM",
            Some(15) => "SIGTERM",
            Some(24) => "SIGXCPU",
            Some(25) => "SIGXFSZ",
            Some(31) => "SIGSYS",
            _ => return None,
        })
    }

    /// What may have caused it and what to do, where the signal says so much.
    const fn advice(&self) -> &'static str {
        match (self.signal, self.code) {
            (Some(9), _) => {
                "a system kills so when memory runs out: run fewer at once, or choose a machine with more"
            }
            (Some(6), _) => "it aborted itself: see what it said last",
            (Some(4 | 7 | 8 | 11), _) => "look at its unsafe code and the libraries that it calls",
            (Some(_), _) => "see who sends it that signal",
            (None, _) => "a function should return instead of ending its process",
        }
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.signal, self.code, self.signal_name()) {
            (Some(signal), _, Some(name)) => write!(f, "was ended by signal {signal} ({name})")?,
            (Some(signal), _, None) => write!(f, "was ended by signal {signal}")?,
            (None, Some(code), _) => write!(f, "exited with code {code}")?,
            (None, None, _) => f.write_str("ended in a way that the system does not tell")?,
        }
        write!(f, "; {}", self.advice())?;
        last_output(&self.output, f)
    }
}

/// What a process said last, below what became of it.
pub(super) fn last_output(lines: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    f.write_str("; its last output:")?;
    lines.iter().try_for_each(|line| write!(f, "\n  | {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_names_its_signal_or_code_and_its_last_words() {
        let output = vec!["loading".to_owned(), "out of luck".to_owned()];
        for (crash, said) in [
            (Crash { signal: Some(11), ..Crash::default() }, "was ended by signal 11 (SIGSEGV); "),
            (Crash { signal: Some(40), ..Crash::default() }, "was ended by signal 40; "),
            (Crash { signal: Some(9), ..Crash::default() }, "was ended by signal 9 (SIGKILL); a system"),
            (Crash { code: Some(3), ..Crash::default() }, "exited with code 3; "),
        ] {
            assert!(crash.to_string().starts_with(said), "{crash}");
            assert!(!crash.to_string().contains('\n'), "{crash}");
            let talking = Crash { output: output.clone(), ..crash };
            assert!(talking.to_string().ends_with("; its last output:\n  | loading\n  | out of luck"));
        }
    }
}
