//! What is written down around one request to a cloud, and when nothing is asked because that cannot be. Pure; whoever
//! asks drives it.
//!
//! ```text
//! intent --written--> asked --answered--> a note of the answer
//!    |- could not be written: nothing is rented, but what there is may be given back
//!    '- the pool has another owner: nothing is asked
//! ```

use super::error::JournalError;
use super::state::DeedKind;
use crate::model::InstanceId;
use crate::provider::{ProviderError, ProviderErrorKind};

/// One request to a cloud, which may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    /// The number of its intent, if that was written.
    deed: Option<i64>,
}

/// What is written down of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// It came, and nothing is known of machines by it.
    Ended { deed: i64, result: String },
    /// These machines came of it; `is_over` when no more can.
    Rented { deed: i64, instances: Vec<InstanceId>, is_over: bool },
    /// These machines are certainly gone.
    Gone { deed: i64, instances: Vec<InstanceId> },
}

impl Asking {
    /// Goes on once the intent was written, or could not be.
    pub(crate) fn begin(
        kind: DeedKind,
        provider: &str,
        intent: Result<i64, JournalError>,
    ) -> Result<Self, ProviderError> {
        let local = |message| ProviderError::new(ProviderErrorKind::Local, message);
        match intent {
            Ok(deed) => Ok(Self { deed: Some(deed) }),
            Err(error @ JournalError::Superseded { .. }) => Err(local(error.to_string())),
            Err(error) if kind.makes() => Err(local(format!(
                "nothing was asked of {provider}, because it cannot be written down: {error}"
            ))),
            // What costs money is given back all the same.
            Err(_) => Ok(Self { deed: None }),
        }
    }

    /// Whether the intent could not be written.
    pub(crate) const fn is_unwritten(self) -> bool {
        self.deed.is_none()
    }

    /// It was done, or failed with these words.
    pub(crate) fn ended(self, failure: Option<String>) -> Option<Note> {
        let result = failure.unwrap_or_else(|| "done".to_owned());
        self.deed.map(|deed| Note::Ended { deed, result })
    }

    /// Machines were rented; `is_over` when no more can come of it.
    pub(crate) fn rented(self, instances: Vec<InstanceId>, is_over: bool) -> Option<Note> {
        self.deed.map(|deed| Note::Rented { deed, instances, is_over })
    }

    /// No machines were rented. A request that was broken off, or never answered, may have brought some: it stays
    /// without an end.
    pub(crate) fn refused(self, is_over: bool, reason: String) -> Option<Note> {
        self.ended(Some(reason)).filter(|_| is_over)
    }

    /// Machines were given back.
    pub(crate) fn gone(self, instances: Vec<InstanceId>) -> Option<Note> {
        self.deed.map(|deed| Note::Gone { deed, instances })
    }
}

#[test]
fn a_request_that_may_have_brought_machines_stays_without_an_end() {
    let asking = Asking::begin(DeedKind::Provision, "c", Ok(7)).expect("asked");
    assert_eq!(asking.refused(false, "late".into()), None);
    assert!(asking.refused(true, "sold out".into()).is_some());
    for is_over in [true, false] {
        let note = Note::Rented { deed: 7, instances: Vec::new(), is_over };
        assert_eq!(asking.rented(Vec::new(), is_over), Some(note));
    }
}

#[test]
fn what_cannot_be_written_is_not_rented_and_given_back_only_by_its_owner() {
    use super::Successor;
    use crate::model::Epoch;
    let full = || Err(JournalError::Full { folder: "/s".into() });
    let by = Successor::Unknown;
    let superseded = || Err(JournalError::Superseded { pool: "p".into(), epoch: Epoch(1), by: by.clone() });
    for kind in DeedKind::ALL {
        let is_asked = |intent| Asking::begin(kind, "c", intent).is_ok();
        assert!(is_asked(Ok(1)), "{kind:?}");
        assert_eq!(is_asked(full()), !kind.makes(), "{kind:?}");
        assert!(!is_asked(superseded()), "{kind:?}");
    }
    let unwritten = Asking::begin(DeedKind::Terminate, "c", full()).expect("asked");
    assert!(unwritten.is_unwritten() && unwritten.gone(Vec::new()).is_none());
    let asked = Asking::begin(DeedKind::Prepare, "c", Ok(7)).expect("asked");
    assert_eq!(asked.ended(None), Some(Note::Ended { deed: 7, result: "done".into() }));
}
