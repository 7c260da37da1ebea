//! Values that many calls share: in the process that runs functions on a node, those that it was given, until it
//! is told that nobody needs them any more; in the client, those that are alive. Each is told apart by its key.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::payload::CommonKey;

/// What there is of one value.
#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    /// The value itself, once somebody has decoded it.
    value: Option<Arc<dyn Any + Send + Sync>>,
}

static COMMONS: Mutex<BTreeMap<CommonKey, Entry>> = Mutex::new(BTreeMap::new());

/// Where those lie that this process is not given, but may read.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Values that are not here are looked for in this folder, under their [`common_name`]. The first call counts.
pub fn find_commons_in(folder: PathBuf) {
    let _ = FOLDER.set(folder);
}

/// What the file of a value is called.
pub fn common_name(key: &CommonKey) -> String {
    hex::encode(key)
}

/// Lets go of those whose files are gone. Functions that hold them go on.
pub fn forget_gone_commons() {
    let Some(folder) = FOLDER.get() else { return };
    let gone: Vec<_> =
        commons().keys().filter(|it| !folder.join(common_name(it)).exists()).copied().collect();
    gone.iter().for_each(forget_common);
}

/// Keeps a value's encoding.
pub fn keep_common(key: CommonKey, bytes: Bytes) {
    commons().entry(key).or_insert(Entry { bytes, value: None });
}

/// Lets go of a value. Functions that hold it go on.
pub fn forget_common(key: &CommonKey) {
    let forgotten = commons().remove(key);
    // Dropping a user's value may take long, or look for another.
    drop(forgotten);
}

/// The value of a key, decoded once for all who ask. `None` when it is not here or is of another type.
///
/// # Errors
/// What `decode` says.
pub fn common<T: Send + Sync + 'static>(
    key: &CommonKey,
    decode: impl FnOnce(&Bytes) -> Result<T, String>,
) -> Result<Option<Arc<T>>, String> {
    let kept = match commons().get(key) {
        None => None,
        Some(Entry { value: Some(value), .. }) => return Ok(Arc::clone(value).downcast().ok()),
        Some(Entry { bytes, value: None }) => Some(bytes.clone()),
    };
    let Some(bytes) = kept.or_else(|| found(key)) else { return Ok(None) };
    // Without the lock, because it may take long. When two do it at once the first one counts.
    let value = Arc::new(decode(&bytes)?);
    let mut commons = commons();
    let Some(entry) = commons.get_mut(key) else { return Ok(Some(value)) };
    let kept = entry.value.get_or_insert(value);
    Ok(Arc::clone(kept).downcast().ok())
}

/// A value that lies in a file, from now on kept.
fn found(key: &CommonKey) -> Option<Bytes> {
    let bytes = Bytes::from(std::fs::read(FOLDER.get()?.join(common_name(key))).ok()?);
    keep_common(*key, bytes.clone());
    Some(bytes)
}

fn commons() -> MutexGuard<'static, BTreeMap<CommonKey, Entry>> {
    COMMONS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_decoded_once_and_gone_when_it_is_forgotten() {
        let key = [7; 40];
        assert_eq!(common::<u8>(&key, |_| Ok(1)), Ok(None));
        keep_common(key, Bytes::from_static(b"x"));
        assert_eq!(common::<u8>(&key, |_| Err("cut off".to_owned())), Err("cut off".to_owned()));
        assert_eq!(common(&key, |it| Ok(it.len())), Ok(Some(Arc::new(1))));
        assert_eq!(common::<usize>(&key, |_| Err("again".to_owned())), Ok(Some(Arc::new(1))));
        assert_eq!(common::<u8>(&key, |_| Ok(1)), Ok(None));
        forget_common(&key);
        assert_eq!(common::<usize>(&key, |_| Ok(1)), Ok(None));
    }
}
