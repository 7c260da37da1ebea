//! Reads what the bootstrap script says. Pure: bytes in, facts out, whatever the bytes are.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::plan::Plan;

/// How a bootstrap comes along. Steps are named as in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another bootstrap runs on the same machine and is waited for.
    Waiting,
    /// A step began.
    Started {
        /// Which.
        step: String,
    },
    /// A step was done before.
    Skipped {
        /// Which.
        step: String,
    },
    /// A step printed a line, on either stream.
    Output {
        /// Which.
        step: String,
        /// The line, without control characters and cut after 4 KiB.
        line: String,
    },
    /// A step ended well.
    Finished {
        /// Which.
        step: String,
        /// How long it ran.
        took: Duration,
    },
}

/// One fact out of the script's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Waiting,
    Started { step: String },
    Skipped { step: String },
    Output { step: String, line: String },
    Finished { step: String },
    Failed { step: String, code: i32 },
    Ended,
}

/// Puts the pieces of an output together to lines, and tells the script's own lines from its steps'.
///
/// ```text
/// between steps --start--> in a step --done--> between steps … --end--> over
///                          in a step --fail--> over
/// ```
#[derive(Debug)]
pub(crate) struct Reader {
    nonce: String,
    names: BTreeMap<String, String>,
    step: Option<String>,
    line: Vec<u8>,
    last: VecDeque<String>,
    over: bool,
}

impl Reader {
    pub(crate) fn new(nonce: String, plan: &Plan) -> Self {
        let names = plan.steps().iter().map(|it| (it.key.clone(), it.name.clone())).collect();
        Self { nonce, names, step: None, line: Vec::new(), last: VecDeque::new(), over: false }
    }

    /// Takes the next piece of output, cut anywhere.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(at) = bytes.iter().position(|it| *it == b'\n') {
            let (line, rest) = bytes.split_at(at);
            self.hold(line);
            told.extend(self.end_line());
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.hold(bytes);
        told
    }

    /// The output is over: what is left of it is its last line.
    pub(crate) fn finish(&mut self) -> Option<Told> {
        self.end_line()
    }

    /// The step that runs, or that failed.
    pub(super) fn step(&self) -> Option<&str> {
        self.step.as_deref()
    }

    /// The last lines of that step, oldest first; before the first step, of the machine's shell.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    /// Keeps as much of a line as is shown.
    fn hold(&mut self, bytes: &[u8]) {
        let room = LINE_LIMIT.saturating_sub(self.line.len());
        self.line.extend(bytes.iter().take(room));
    }

    fn end_line(&mut self) -> Option<Told> {
        let line = std::mem::take(&mut self.line);
        if self.over {
            return None;
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(said) = text.strip_prefix(&self.nonce).and_then(|it| it.strip_prefix(' ')) {
            return self.hear(said);
        }
        // A progress bar rewrites its line: what was written last is what is seen.
        let seen = text.trim_end().rsplit('\r').next().unwrap_or_default();
        let line: String = seen.chars().filter(|it| *it == '\t' || !it.is_control()).collect();
        if line.is_empty() {
            return None;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        self.step.clone().map(|step| Told::Output { step, line })
    }

    fn hear(&mut self, said: &str) -> Option<Told> {
        let mut words = said.split_ascii_whitespace();
        let what = words.next()?;
        let name = words.next().and_then(|key| self.names.get(key)).cloned();
        match (what, name) {
            ("wait", None) => Some(Told::Waiting),
            ("skip", Some(step)) => Some(Told::Skipped { step }),
            ("start", Some(step)) => {
                self.last.clear();
                self.step = Some(step.clone());
                Some(Told::Started { step })
            }
            ("done", Some(step)) => {
                self.step = None;
                Some(Told::Finished { step })
            }
            ("fail", Some(step)) => {
                self.over = true;
                Some(Told::Failed { step, code: words.next()?.parse().ok()? })
            }
            ("end", None) => {
                self.over = true;
                Some(Told::Ended)
            }
            _ => None,
        }
    }
}

/// How many of a step's last lines an error repeats: enough for a compiler's or pip's message.
const LAST_LINES: usize = 20;

/// Bytes of one line that are kept. A longer one is cut, so that a step cannot fill our memory.
const LINE_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::plan::plan;
    use crate::model::{Capabilities, Image};

    /// A plan of two steps, `one` and `two`.
    fn sample() -> Plan {
        let can = Capabilities { root: true, ends_itself: true, udp: true, ..Capabilities::NONE };
        plan(&Image::new().shell("one").shell("two"), &can).unwrap()
    }

    /// What a reader makes of a text in which `N` stands for the nonce, `K1` and `K2` for the keys.
    fn told(text: &str, piece: usize) -> (Vec<Told>, Reader) {
        let plan = sample();
        let text = text.replace("K1", &plan.steps()[0].key).replace("K2", &plan.steps()[1].key);
        let mut reader = Reader::new("N".into(), &plan);
        let mut told: Vec<_> = text.as_bytes().chunks(piece).flat_map(|it| reader.read(it)).collect();
        told.extend(reader.finish());
        (told, reader)
    }

    fn step(number: u32) -> String {
        format!("shell {number}: {}", ["one", "two"][number as usize - 1])
    }

    #[test]
    fn facts_are_read_however_the_output_is_cut() {
        let output = |line: &str| Told::Output { step: step(2), line: line.into() };
        for (text, expected) in [
            ("", vec![]),
            ("\nN wait\n", vec![Told::Waiting]),
            ("\nN skip K1\n", vec![Told::Skipped { step: step(1) }]),
            (
                "\nN start K2\nhello\n\nN done K2\n",
                vec![Told::Started { step: step(2) }, output("hello"), Told::Finished { step: step(2) }],
            ),
            (
                "\nN start K2\nno line end\nN fail K2 7\nlater\n",
                vec![
                    Told::Started { step: step(2) },
                    output("no line end"),
                    Told::Failed { step: step(2), code: 7 },
                ],
            ),
            (
                "\nN start K2\n 1%\r 50%\r 99%\r\n\x1b[1mbold\x07\tx\n",
                vec![Told::Started { step: step(2) }, output(" 99%"), output("[1mbold\tx")],
            ),
            ("\nN start K2\ncut off", vec![Told::Started { step: step(2) }, output("cut off")]),
            ("a banner of the shell\n\nN end\nN wait\n", vec![Told::Ended]),
        ] {
            for piece in [1, 3, 4096] {
                assert_eq!(told(text, piece).0, expected, "{text:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn lines_that_only_look_like_ours_are_a_steps_output() {
        let forged = ["start K1", "M end", " N end", "xN end", "NN end", "N\tend"];
        for line in forged {
            let (told, _) = told(&format!("\nN start K2\n{line}\n"), 5);
            assert!(matches!(&told[..], [_, Told::Output { .. }]), "{line:?}: {told:?}");
        }
    }

    #[test]
    fn what_the_script_cannot_have_said_is_ignored() {
        for line in ["N", "N ", "N start", "N start K9", "N fail K1", "N fail K1 x", "N end K1", "N fly K1"] {
            let told = told(&format!("\n{line}\n"), 5).0;
            assert_eq!(told, [], "{line:?}");
        }
    }

    #[test]
    fn the_last_lines_are_those_of_the_step_that_failed() {
        let many: String = (0..50).map(|it| format!("line {it}\n")).collect();
        let (_, reader) =
            told(&format!("\nN start K1\nold\n\nN done K1\n\nN start K2\n{many}\nN fail K2 1\n"), 64);
        let expected: Vec<_> = (30..50).map(|it| format!("line {it}")).collect();
        assert_eq!(reader.last_lines(), expected);
        assert_eq!(reader.step(), Some("shell 2: two"));
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut reader = Reader::new("N".into(), &sample());
        for _ in 0..100 {
            assert_eq!(reader.read(&[b'x'; 10_000]), []);
        }
        assert_eq!(reader.line.len(), LINE_LIMIT);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut reader = Reader::new("N".into(), &sample());
            reader.read(&bytes);
            reader.finish();
        }
    }
}
