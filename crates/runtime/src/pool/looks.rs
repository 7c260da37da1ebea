//! When a cloud is looked at after a request that nobody knows the end of. Pure; [`strays`](super::strays) does it.
//!
//! look → sure → the next of the two → … → none
//!  └ came to nothing → the same once more, later and later

use std::time::Duration;

use crate::backoff::Backoff;
use crate::journal::BRINGS;

/// The looks that are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looks {
    /// How long after each of them the next one is.
    rest: &'static [Duration],
    /// How many in a row came to nothing.
    failed: u32,
}

/// A look that came to nothing: the list could not be had, or what is a stray there could not be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl Looks {
    /// All of them: most of what such a request brings is listed by the first, and all of it by the last.
    pub(crate) const fn all() -> Self {
        Self { rest: &[SOON, BRINGS], failed: 0 }
    }

    /// What comes after a look, and when. One that came to nothing is repeated for as long as that takes, since what
    /// it would have found may be paid for as long as the pool lives.
    pub(crate) fn after(self, looked: Result<(), Failed>, again: Backoff) -> Option<(Duration, Self)> {
        match looked {
            Ok(()) => self.rest.split_first().map(|(after, rest)| (*after, Self { rest, failed: 0 })),
            Err(Failed) => {
                let failed = self.failed.saturating_add(1);
                Some((again.delay(self.failed), Self { failed, ..self }))
            }
        }
    }

    /// The first of them.
    pub(crate) fn begin(again: Backoff) -> Option<(Duration, Self)> {
        Self::all().after(Ok(()), again)
    }
}

const SOON: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Backoff =
        Backoff { first: Duration::from_secs(5), factor: 2, most: Duration::from_secs(600) };

    /// When it is looked, from the end of the look before, as long as looks come to this.
    fn waits(mut looks: Looks, came_to: &[Result<(), Failed>]) -> Vec<u64> {
        let mut waits = Vec::new();
        for looked in came_to {
            let Some((after, next)) = looks.after(*looked, AGAIN) else { break };
            waits.push(after.as_secs());
            looks = next;
        }
        waits
    }

    #[test]
    fn it_is_looked_twice_when_that_is_sure() {
        assert_eq!(waits(Looks::all(), &[Ok(()); 9]), [30, BRINGS.as_secs()]);
    }

    #[test]
    fn a_look_that_comes_to_nothing_is_repeated_later_and_later_and_takes_none_of_the_others_place() {
        let (_, first) = Looks::begin(AGAIN).expect("one");
        let came_to = [[Err(Failed); 9].as_slice(), &[Ok(())], &[Err(Failed); 2], &[Ok(()); 3]].concat();
        let expected = [5, 10, 20, 40, 80, 160, 320, 600, 600, BRINGS.as_secs(), 5, 10];
        assert_eq!(waits(first, &came_to), expected);
    }
}
