//! Ending machines for certain, and waiting for a cloud to be done with something.

use std::collections::BTreeSet;
use std::time::Duration;

use skyward_runtime::backoff::Backoff;
use skyward_runtime::model::{InstanceId, Leftover};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};
use tokio::time::{Instant, sleep};

/// Looks again and again until there is an answer; `None` when there is none within `deadline`. The last
/// look is at the deadline.
///
/// # Errors
/// The look's own.
pub(crate) async fn until<T, F>(
    deadline: Duration,
    pauses: Backoff,
    mut look: impl FnMut() -> F + Send,
) -> Result<Option<T>, ProviderError>
where
    F: Future<Output = Result<Option<T>, ProviderError>> + Send,
{
    let end = Instant::now() + deadline;
    for pause in pauses.delays() {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        sleep(pause.min(left)).await;
    }
    Ok(None)
}

/// A machine that is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rental {
    pub(crate) id: String,
    /// Its name, for people.
    pub(crate) name: String,
    /// It ends already, and need not be told again.
    pub(crate) ending: bool,
}

impl Rental {
    /// Those of these ids that can be ids at all. A list may not have them yet.
    pub(crate) fn known(ids: &[InstanceId]) -> Vec<Self> {
        let known = ids.iter().filter(|it| super::is_plain(it));
        known.map(|id| Self { id: id.to_string(), name: String::new(), ending: false }).collect()
    }
}

/// Ends what is known, then what is listed, until nothing is there any more; what is left after [`GONE`], and
/// why. `end` answers for each in its order; one that cannot be ended keeps no other, and is asked for again. So is one
/// that is `recent` and said not to be there, unless it was ended here.
///
/// # Errors
/// Those of the list.
pub(crate) async fn end_all<L, E>(
    pauses: Backoff,
    recent: &(dyn Fn(&str) -> bool + Send + Sync),
    known: Vec<Rental>,
    list: impl Fn() -> L + Send + Sync,
    end: impl Fn(Vec<Rental>) -> E + Send + Sync,
) -> Result<Vec<(Rental, String)>, ProviderError>
where
    L: Future<Output = Result<Vec<Rental>, ProviderError>> + Send,
    E: Future<Output = Vec<Result<(), ProviderError>>> + Send,
{
    let mut late = None;
    let mut ended_here = BTreeSet::new();
    let mut there = if known.is_empty() { list().await? } else { known };
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let mut left = Vec::new();
    for pause in pauses.delays() {
        let (ending, living): (Vec<_>, Vec<_>) = there.into_iter().partition(|it| it.ending);
        let ended = if living.is_empty() { Vec::new() } else { end(living.clone()).await };
        // To ask for many takes its time; how long they may take to end counts from when all have been asked for.
        let late = *late.get_or_insert_with(|| Instant::now() + GONE);
        let heard = living.iter().zip(&ended).filter(|(_, it)| it.is_ok());
        ended_here.extend(heard.map(|(rental, _)| rental.id.clone()));
        let told: Vec<_> = living
            .into_iter()
            .zip(ended.into_iter().map(Result::err))
            .chain(ending.into_iter().map(|it| (it, None)))
            .collect();
        let for_good =
            |it: &ProviderError| matches!(it.kind, ProviderErrorKind::Permission | ProviderErrorKind::Auth);
        let hopeless = !told.is_empty() && told.iter().all(|(_, it)| it.as_ref().is_some_and(for_good));
        // What was refused is asked for again, whether a list has it or not.
        let refused = |(rental, error): &&(Rental, Option<ProviderError>)| {
            let unheard = |id: &String| !ended_here.contains(id) && recent(id);
            error.as_ref().is_some_and(|it| it.kind != ProviderErrorKind::NotFound || unheard(&rental.id))
        };
        let again: Vec<_> = told.iter().filter(refused).map(|(it, _)| it.clone()).collect();
        left = told.into_iter().map(|(rental, error)| (rental, reason(error))).collect();
        let room = late.saturating_duration_since(Instant::now());
        if hopeless {
            return Ok(left);
        }
        sleep(pause.min(room)).await;
        there = list().await?;
        there.extend(again);
        let mut seen = BTreeSet::new();
        there.retain(|it| seen.insert(it.id.clone()));
        if there.is_empty() {
            return Ok(Vec::new());
        }
        if room.is_zero() {
            break;
        }
    }
    left.retain(|(rental, _)| there.iter().any(|it| it.id == rental.id));
    Ok(left)
}

/// Why something that was to end is there.
fn reason(error: Option<ProviderError>) -> String {
    use ProviderErrorKind::{Conflict, NotFound};
    match error.filter(|it| !matches!(it.kind, NotFound | Conflict)) {
        Some(error) => error.to_string(),
        None => format!("it is still there after {GONE:?}"),
    }
}

/// What is left of a pool's machines, for its teardown.
pub(crate) fn leftovers(what: &str, left: Vec<(Rental, String)>) -> Vec<Leftover> {
    let each = |(Rental { id, name, .. }, reason)| Leftover { what: format!("{what} {id} ({name})"), reason };
    left.into_iter().map(each).collect()
}

/// # Errors
/// When anything is left.
pub(crate) fn none_left(left: Vec<(Rental, String)>) -> Result<(), ProviderError> {
    if left.is_empty() {
        return Ok(());
    }
    let each: Vec<_> = left.into_iter().map(|(it, reason)| format!("{}: {reason}", it.id)).collect();
    let message = format!("failed to give back {}", each.join("; "));
    Err(ProviderError::new(ProviderErrorKind::Transient, message))
}

/// How long machines may take to end. It takes some seconds; a provider's call has two minutes in all.
pub(crate) const GONE: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const PAUSES: Backoff =
        Backoff { first: Duration::from_millis(1), factor: 1, most: Duration::from_millis(1) };

    fn rental(id: &str) -> Rental {
        Rental { id: id.to_owned(), name: id.to_owned(), ending: false }
    }

    /// Ends these; `hidden` is in no list, and the first `busy` requests are refused with this.
    async fn end(
        known: &[&str],
        hidden: &str,
        refuse: impl Fn(&str, u32) -> Option<ProviderErrorKind> + Send + Sync,
    ) -> (Vec<(Rental, String)>, BTreeSet<String>) {
        let there: Mutex<BTreeSet<String>> = Mutex::new(["a", "b", "c"].map(str::to_owned).into());
        let asked = Mutex::new(0);
        let list = || async {
            let there = there.lock().expect("there");
            Ok(there.iter().filter(|it| *it != hidden).map(|it| rental(it)).collect())
        };
        let (all, asked) = (&there, &asked);
        let refuse = &refuse;
        let end = |them: Vec<Rental>| async move {
            *asked.lock().expect("asked") += 1;
            let tried = *asked.lock().expect("asked");
            let one = |it: Rental| match refuse(&it.id, tried) {
                Some(kind) => Err(ProviderError::new(kind, "no")),
                None => {
                    all.lock().expect("there").remove(&it.id);
                    Ok(())
                }
            };
            them.into_iter().map(one).collect()
        };
        let known = known.iter().map(|it| rental(it)).collect();
        let left = end_all(PAUSES, &|it| it == "new", known, list, end).await;
        (left.expect("a list"), there.lock().expect("there").clone())
    }

    #[tokio::test]
    async fn one_that_is_new_is_not_believed_to_be_gone() {
        // It is heard of at the third try, and not twice.
        let there = Mutex::new(BTreeSet::from(["new".to_owned()]));
        let (there, asked) = (&there, &Mutex::new(Vec::new()));
        let end = |them: Vec<Rental>| async move {
            let mut asked = asked.lock().expect("asked");
            let one = |it: Rental| {
                asked.push(it.id.clone());
                let unheard = asked.len() < 3 || !there.lock().expect("there").remove(&it.id);
                if unheard {
                    Err(ProviderError::new(ProviderErrorKind::NotFound, "no such machine"))
                } else {
                    Ok(())
                }
            };
            them.into_iter().map(one).collect()
        };
        let empty = || async { Ok(Vec::new()) };
        let left = end_all(PAUSES, &|it| it == "new", vec![rental("new")], empty, end).await.expect("a list");
        assert_eq!((left, there.lock().expect("there").len()), (vec![], 0));
        assert_eq!(asked.lock().expect("asked").len(), 3);
        // An older one is gone if its cloud says so.
        let left = end_all(PAUSES, &|it| it == "new", vec![rental("old")], empty, end).await.expect("a list");
        assert_eq!((left, asked.lock().expect("asked").len()), (vec![], 4));
    }

    #[tokio::test]
    async fn what_is_known_ends_whether_it_is_listed_or_not() {
        assert_eq!(end(&["a", "b", "c"], "b", |_, _| None).await, (vec![], BTreeSet::new()));
        // And though it could not be ended at first.
        let busy = |_: &str, tried| (tried < 4).then_some(ProviderErrorKind::Conflict);
        assert_eq!(end(&["a", "b", "c"], "b", busy).await, (vec![], BTreeSet::new()));
    }

    #[tokio::test]
    async fn one_that_refuses_keeps_no_other_and_says_why() {
        let refuse = |id: &str, _| (id == "b").then_some(ProviderErrorKind::Permission);
        let (left, there) = end(&[], "", refuse).await;
        assert_eq!((left.len(), left[0].0.id.as_str(), left[0].1.as_str()), (1, "b", "no"));
        assert_eq!(there, BTreeSet::from(["b".to_owned()]));
        assert!(none_left(left).is_err());
    }
}
