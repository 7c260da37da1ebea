//! Storage that outlives the machines on which it is mounted.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::InvalidRequest;

/// A bucket, or a part of one, that every machine sees as a folder. Only providers whose
/// [`Capabilities`](super::Capabilities) say so can mount one; a spec that asks another is refused. None of those that
/// come with Skyward can: volumes are for a provider of your own.
///
/// ```
/// use skyward_runtime::model::Volume;
/// let data = Volume::new("training-data", "/data").prefix("2026/");
/// assert!(data.read_only);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The bucket, or the provider's name of the storage.
    pub bucket: String,
    /// Where it is mounted: an absolute path that is not the system's own.
    pub mount: PathBuf,
    /// The part of the bucket that is seen. Default all of it.
    #[serde(default)]
    pub prefix: String,
    /// Whether functions can only read it. Default yes.
    pub read_only: bool,
}

impl Volume {
    /// A bucket to be read at this path.
    pub fn new(bucket: impl Into<String>, mount: impl Into<PathBuf>) -> Self {
        Self { bucket: bucket.into(), mount: mount.into(), prefix: String::new(), read_only: true }
    }

    /// Only what is below this prefix.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Lets functions write.
    #[must_use]
    pub fn writable(self) -> Self {
        Self { read_only: false, ..self }
    }

    /// Checks that it has a bucket and a place of its own.
    ///
    /// # Errors
    /// Which of the two is wrong.
    pub fn validated(&self) -> Result<(), InvalidRequest> {
        if self.bucket.is_empty() {
            return Err(InvalidRequest::new("volume.bucket", "empty", "must be the name of a bucket"));
        }
        let plain = self.mount.components().all(|it| matches!(it, Component::RootDir | Component::Normal(_)));
        if !self.mount.is_absolute() || !plain || TAKEN.iter().any(|it| self.mount == Path::new(it)) {
            let allowed = format!("must be an absolute path, without `..`, and none of {}", TAKEN.join(" "));
            return Err(InvalidRequest::new("volume.mount", self.mount.display(), allowed));
        }
        Ok(())
    }
}

/// What a mount would hide that the machine needs.
const TAKEN: [&str; 5] = ["/", "/opt", "/opt/skyward", "/root", "/tmp"];

#[test]
fn a_volume_has_a_bucket_and_a_place_of_its_own() {
    assert_eq!(Volume::new("b", "/data").validated(), Ok(()));
    assert_eq!(Volume::new("", "/data").validated().expect_err("no bucket").field, "volume.bucket");
    for mount in ["/", "/tmp", "/opt/skyward", "data", "/data/../tmp", "/root/"] {
        assert_eq!(Volume::new("b", mount).validated().expect_err(mount).field, "volume.mount");
    }
}
