//! Which lines are shown.

use std::fmt;
use std::sync::Arc;

use crate::model::{Line, Rank};

/// Which lines of output are shown to those who read them.
///
/// ```
/// use skyward_runtime::model::{Line, OutputStream, Rank};
/// use skyward_runtime::output::Show;
/// let line = |node| Line { node: Rank(node), task: None, stream: OutputStream::Stderr, text: "hi".into() };
/// let no_errors = Show::only(|line| line.stream != OutputStream::Stderr);
/// assert!(Show::All.shows(&line(1)) && Show::Head.shows(&line(0)));
/// assert!(!Show::Head.shows(&line(1)) && !Show::Nothing.shows(&line(0)) && !no_errors.shows(&line(0)));
/// ```
#[derive(Clone, Default)]
pub enum Show {
    /// Every line. The default.
    #[default]
    All,
    /// Those of node 0: where every node says the same, one is enough.
    Head,
    /// None.
    Nothing,
    /// Those that it says yes to; see [`Show::only`]. It is asked on a thread that takes in the lines of
    /// all nodes, so it must not wait.
    Only(Arc<dyn Fn(&Line) -> bool + Send + Sync>),
}

impl Show {
    /// The lines that this says yes to.
    pub fn only(is_shown: impl Fn(&Line) -> bool + Send + Sync + 'static) -> Self {
        Self::Only(Arc::new(is_shown))
    }

    /// Whether this line is shown.
    pub fn shows(&self, line: &Line) -> bool {
        match self {
            Self::All => true,
            Self::Head => line.node == Rank(0),
            Self::Nothing => false,
            Self::Only(is_shown) => is_shown(line),
        }
    }
}

impl fmt::Debug for Show {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::Head => "Head",
            Self::Nothing => "Nothing",
            Self::Only(_) => "Only(…)",
        })
    }
}
