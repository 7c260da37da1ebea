//! The machine's home: where its lease and everything else of Skyward's is, whatever home the image names for programs.

use std::ffi::OsString;
use std::path::PathBuf;

/// The home that the worker was started in; `None` when nothing says.
pub(crate) fn home() -> Option<PathBuf> {
    of(std::env::var_os(SKYWARD), std::env::var_os("HOME"))
}

/// The folder below it that is Skyward's own, as whoever starts a worker in an image's environment says.
const SKYWARD: &str = "SKYWARD_HOME";

fn of(skyward: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let above = skyward.and_then(|it| Some(PathBuf::from(it).parent()?.to_owned()));
    above.or_else(|| home.map(PathBuf::from))
}

#[test]
fn the_home_of_a_worker_is_not_what_the_image_says() {
    let of = |skyward: Option<&str>| of(skyward.map(Into::into), Some("/image".into()));
    assert_eq!(of(Some("/machine/.skyward")), Some("/machine".into()));
    assert_eq!(of(None), Some("/image".into()));
}
