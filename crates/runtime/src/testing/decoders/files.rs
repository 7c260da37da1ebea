//! What files and their names bring: parcels of a transfer, and the lines of ignore files.

use std::path::{Component, Path, PathBuf};

use super::{again, packed};
use crate::bootstrap::ignores::Ignores;
use crate::files::parcel::{Answer, Item, Request, Sum};
use crate::files::place::stays;
use crate::files::{FileError, Transferred};
use crate::model::Rank;

/// A part of a parcel, by its first byte which one.
pub(super) fn parcels(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    match which % 4 {
        0 => drop(again::<Request>(rest)),
        1 => drop(again::<Answer>(rest)),
        2 => drop(again::<Sum>(rest)),
        _ => {
            if let Some(Item::Link { path, target }) = again::<Item>(rest) {
                let (path, target) = (Path::new(&path), Path::new(&target));
                if path.components().all(|it| matches!(it, Component::Normal(_))) && stays(path, target) {
                    assert!(leads(path, target).is_some(), "{target:?} at {path:?} leads out of its folder");
                }
            }
        }
    }
}

/// Where a link leads, as its text says; `None` for out of its folder.
fn leads(path: &Path, target: &Path) -> Option<PathBuf> {
    let mut place = path.parent()?.to_owned();
    for part in target.components() {
        match part {
            Component::Normal(name) => place.push(name),
            Component::CurDir => {}
            Component::ParentDir => place.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(place)
}

pub(super) fn parcel_seeds() -> Vec<Vec<u8>> {
    let path = || "a/b".to_owned();
    let seed = |which: u8, encoded: Vec<Vec<u8>>| {
        encoded.into_iter().map(move |it| [&[which][..], &it].concat()).collect::<Vec<_>>()
    };
    let error = FileError::no_such_node(Rank(3), "a/b");
    let answers: [Answer; 2] = [Ok(Transferred::default()), Err(error.clone())];
    let items = [
        Item::Folder { path: String::new() },
        Item::Link { path: path(), target: "../c".to_owned() },
        Item::File { path: path(), executable: true },
        Item::End,
        Item::Fault(error.clone()),
    ];
    [
        seed(0, packed([Request::Put { to: path() }, Request::Get { from: path() }])),
        seed(1, packed(answers)),
        seed(2, packed([Sum::Sha256([3; 32]), Sum::Fault(error)])),
        seed(3, packed(items)),
    ]
    .concat()
}

/// Patterns, a line each, and behind a line that begins with a tab the path that they are asked about.
pub(super) fn ignores(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (paths, patterns): (Vec<_>, Vec<_>) = text.lines().partition(|it| it.starts_with('\t'));
    let patterns: Vec<_> = patterns.into_iter().map(str::to_owned).collect();
    let Ok(mut ignores) = Ignores::new(&patterns) else { return };
    for path in paths {
        let path = Path::new(path.trim_start_matches(['\t', '/']));
        let is_out = ignores.leave_out(path, path, false);
        assert_eq!(ignores.leave_out(path, path, false), is_out);
        ignores.leave_out(path, path, true);
    }
    let _ = ignores.notes();
}

pub(super) fn ignore_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "*.pyc\n!keep.pyc\n\ta/b.pyc\n\tkeep.pyc",
        "/data/\n**/x\n\tdata/x",
        "[a-\n\ta",
        "{a,b}/**\n\ta/.git",
    ];
    texts.map(|it| it.as_bytes().to_vec()).to_vec()
}
