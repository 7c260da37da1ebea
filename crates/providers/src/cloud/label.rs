//! What everything that is made at a cloud is called, so that it is found again by its name alone; and how old it is.
//!
//! `skyward-<pool>-<seven letters: when><four letters: its lease><eight letters that no other has>`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skyward_runtime::model::{InstanceId, PoolId};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind, Request, Sighting};
use skyward_runtime::random;

/// The tag of all that is ours, whichever pool it is of.
pub(crate) const SKYWARD: &str = "skyward";

/// The name of what a pool has one of: its tag, its key, its firewall.
pub(crate) fn pool_name(pool: &PoolId) -> String {
    format!("{SKYWARD}-{pool}")
}

/// A name that no other machine has, so that one whose creation was not answered can be looked for. It says when, and
/// for how long without its client.
///
/// # Errors
/// `Local`, when this computer has no random numbers.
pub(crate) fn machine_name(request: &Request) -> Result<String, ProviderError> {
    let random = random::text(8).map_err(|error| {
        let message = format!("failed to name a machine: {error}");
        ProviderError::new(ProviderErrorKind::Local, message)
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (now, lease) = (letters(now.as_secs(), WHEN), letters(request.lease.as_secs(), LEASE));
    Ok(format!("{}-{now}{lease}{random}", pool_name(&request.pool)))
}

/// What a machine's name says; nothing if it is none of ours.
pub(crate) fn sighting(id: impl Into<String>, name: &str) -> Option<Sighting> {
    let (pool, rest) = name.strip_prefix(SKYWARD)?.strip_prefix('-')?.split_once('-')?;
    let ours =
        |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    if !ours(pool) || !ours(rest) {
        return None;
    }
    let said = |from: usize, to: usize| seconds(rest.get(from..to)?);
    let known = (said(0, WHEN), said(WHEN, WHEN + LEASE));
    let (since, lease) = match known {
        (Some(since), Some(lease)) if rest.len() > WHEN + LEASE => (Some(since), Some(lease)),
        _ => (None, None),
    };
    let (pool, instance) = (PoolId::new(pool), InstanceId::new(id));
    Some(Sighting { pool, instance, region: None, since, lease })
}

/// Whether an id can be a step of a path: what is not, no cloud gave us.
pub(crate) fn is_plain(id: &InstanceId) -> bool {
    let id = id.as_str();
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
}

/// A number of seconds as so many letters, five bits each; one that is too large as the largest.
fn letters(seconds: u64, length: usize) -> String {
    let most = (1_u64 << (length * 5)) - 1;
    let seconds = seconds.min(most);
    let letter = |at: usize| {
        let index = usize::try_from((seconds >> (at * 5)) & 31).unwrap_or(0);
        LETTERS.get(index).copied().map_or('0', char::from)
    };
    (0..length).rev().map(letter).collect()
}

fn seconds(letters: &str) -> Option<Duration> {
    let value = |sum: u64, letter: u8| {
        let index = LETTERS.iter().position(|it| *it == letter)?;
        sum.checked_mul(32)?.checked_add(u64::try_from(index).ok()?)
    };
    letters.bytes().try_fold(0, value).map(Duration::from_secs)
}

/// Letters of the second since 1970: enough for a thousand years.
const WHEN: usize = 7;

/// Letters of a lease: enough for twelve days, of the seven that one may have.
const LEASE: usize = 4;

/// In the order of their values.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_and_how_old_a_machine_is_and_other_names_are_none_of_ours() {
        let name = format!("skyward-pool1-{}{}abcdefgh", letters(1_795_334_400, WHEN), letters(600, LEASE));
        let told = sighting("i-1", &name).expect("ours");
        let (since, lease) = (Duration::from_secs(1_795_334_400), Duration::from_secs(600));
        assert_eq!((told.pool.as_str(), told.instance.as_str()), ("pool1", "i-1"));
        assert_eq!((told.since, told.lease), (Some(since), Some(lease)));
        assert_eq!(name.len(), "skyward-pool1-".len() + 19);
        let unknown = sighting("i-1", "skyward-pool1-abcdefgh").expect("ours");
        assert_eq!((unknown.since, unknown.lease), (None, None));
        for other in [
            "",
            "skyward",
            "skyward-pool1",
            "skyward-pool1-",
            "skyward--x",
            "web-1",
            "skyward-Pool-x",
            "skyward-p-x-y",
        ] {
            assert_eq!(sighting("i-1", other), None, "{other}");
        }
    }

    #[test]
    fn what_does_not_fit_is_the_largest_that_does() {
        for (number, length) in [(0, 4), (31, 1), (604_800, LEASE), (u64::from(u32::MAX), WHEN)] {
            assert_eq!(seconds(&letters(number, length)), Some(Duration::from_secs(number)));
        }
        assert_eq!(letters(1 << 40, LEASE), "zzzz");
        assert_eq!(seconds("il"), None);
    }
}
