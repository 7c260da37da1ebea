//! Who has a pool instead of a program that had it before.

use std::fmt;

use super::lock::Holder;

/// Who has a pool instead of a program that had it, and lost it: its lock was freed while it stood still.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Successor {
    /// This program, which lives.
    Known(Holder),
    /// Another program, of which nothing more is known here.
    Unknown,
    /// Nobody: another program has given it back.
    GaveBack,
}

impl fmt::Display for Successor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(holder) => write!(
                f,
                "was taken over by another program ({holder}): its machines are that program's now, and this one has \
                 left them alone; wait for it or end it, and run this program again to go on with them"
            ),
            Self::Unknown => f.write_str(
                "was taken over by another program: its machines are that program's now, and this one has left them \
                 alone; run this program again to go on with them",
            ),
            Self::GaveBack => f.write_str(
                "was given back by another program, which took this one for dead: run this program again to begin anew",
            ),
        }
    }
}

#[test]
fn who_lost_a_pool_is_told_to_whom_and_what_to_do() {
    let holder = Holder {
        pid: 7,
        host: "h".to_owned(),
        program: "/bin/p".to_owned(),
        since: std::time::SystemTime::now(),
    };
    let told = |it: Successor| it.to_string();
    let known = told(Successor::Known(holder));
    assert!(
        known.starts_with("was taken over by another program (process 7 on h (/bin/p), for 0 s)"),
        "{known}"
    );
    assert!(known.ends_with("run this program again to go on with them"), "{known}");
    assert!(told(Successor::Unknown).contains("left them alone; run this program again"));
    assert!(told(Successor::GaveBack).starts_with("was given back by another program"));
}
