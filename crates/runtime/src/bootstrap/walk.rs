//! Which files an image includes: a sorted list, the same for the same content. Called by the packer.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::ignores::Ignores;
use crate::model::Image;

/// Why the included files could not be packed. Trying again helps only when something was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IncludeError {
    /// Nothing is there.
    #[error("the image includes {path:?}, which does not exist (looked in {folder:?}): correct the path")]
    Missing {
        /// The path as given.
        path: PathBuf,
        /// The folder that it is relative to.
        folder: PathBuf,
    },
    /// The path has no name of its own.
    #[error("the image includes {path:?}, which ends in no name: name the folder itself, as in `../data`")]
    Nameless {
        /// The path as given.
        path: PathBuf,
    },
    /// A file or folder could not be read.
    #[error("failed to read {path:?} for the image's includes: {source}; exclude it or allow reading it")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A symbolic link that would point to nothing, or to something else, on the machine.
    #[error(
        "the symbolic link {path:?} points to {target:?}, outside the included folder: exclude it, or \
         include what it points to"
    )]
    LeavesFolder {
        /// The link.
        path: PathBuf,
        /// What it points to.
        target: PathBuf,
    },
    /// A socket, a pipe or a device.
    #[error("{path:?} is neither file, folder nor symbolic link: exclude it")]
    Special {
        /// Which.
        path: PathBuf,
    },
    /// A file that became shorter while it was read.
    #[error("{path:?} changed while it was packed: try again when nothing writes to it, or exclude it")]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// A pattern that cannot be understood.
    #[error("the image's exclude {pattern:?} is no gitignore pattern: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// One thing to pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it is on this computer.
    pub(super) from: PathBuf,
    /// Where it goes, below the worker's directory.
    pub(super) to: PathBuf,
    pub(super) kind: Kind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
    Link(PathBuf),
}

/// Everything that the image includes, parents before children, each folder sorted by name; and what a
/// person should know of what is left out.
pub(super) fn walk(image: &Image) -> Result<(Vec<Entry>, Vec<String>), IncludeError> {
    let mut ignores = Ignores::new(&image.exclude)?;
    let mut found = Vec::new();
    let mut roots: Vec<_> = image.include.iter().collect();
    roots.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    for path in roots {
        let Some(name) = path.file_name() else {
            return Err(IncludeError::Nameless { path: path.clone() });
        };
        // What is named is followed when it is a link; what is found below is not.
        let kind = match fs::metadata(path) {
            Ok(it) if it.is_dir() => Kind::Folder,
            Ok(it) if it.is_file() => Kind::File,
            Ok(_) => return Err(IncludeError::Special { path: path.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = std::env::current_dir().unwrap_or_default();
                return Err(IncludeError::Missing { path: path.clone(), folder });
            }
            Err(source) => return Err(IncludeError::Unreadable { path: path.clone(), source }),
        };
        let root = Entry { from: path.clone(), to: PathBuf::from(name), kind };
        descend(root, &mut ignores, &mut found)?;
    }
    Ok((found, ignores.notes()))
}

fn descend(entry: Entry, ignores: &mut Ignores, found: &mut Vec<Entry>) -> Result<(), IncludeError> {
    let unreadable = |source| IncludeError::Unreadable { path: entry.from.clone(), source };
    let mut children = Vec::new();
    if entry.kind == Kind::Folder {
        for child in fs::read_dir(&entry.from).map_err(unreadable)? {
            children.push(child.map_err(unreadable)?);
        }
    }
    children.sort_by_key(fs::DirEntry::file_name);
    let (from, to) = (entry.from.clone(), entry.to.clone());
    let outside = ignores.enter(&from);
    found.push(entry);
    for child in children {
        let path = from.join(child.file_name());
        let to = to.join(child.file_name());
        let unreadable = |source| IncludeError::Unreadable { path: path.clone(), source };
        let class = child.file_type().map_err(unreadable)?;
        if ignores.leave_out(&path, &to, class.is_dir()) {
            continue;
        }
        let kind = if class.is_symlink() {
            Kind::Link(checked_link(&path, &to)?)
        } else if class.is_dir() {
            Kind::Folder
        } else if class.is_file() {
            Kind::File
        } else {
            return Err(IncludeError::Special { path });
        };
        descend(Entry { from: path, to, kind }, ignores, found)?;
    }
    ignores.leave(outside);
    Ok(())
}

/// A link's target, when it stays in the included folder (the first part of `to`).
fn checked_link(path: &Path, to: &Path) -> Result<PathBuf, IncludeError> {
    let target =
        fs::read_link(path).map_err(|source| IncludeError::Unreadable { path: path.to_owned(), source })?;
    let leaves = || IncludeError::LeavesFolder { path: path.to_owned(), target: target.clone() };
    // The link's own folder, counted in steps below the included one.
    let mut depth = to.components().count().saturating_sub(2);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth = depth.saturating_add(1),
            Component::CurDir => {}
            Component::ParentDir => depth = depth.checked_sub(1).ok_or_else(leaves)?,
            Component::RootDir | Component::Prefix(_) => return Err(leaves()),
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        fs::create_dir(&root).unwrap();
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        (folder, root)
    }

    fn listed(image: &Image) -> Vec<String> {
        walk(image).unwrap().0.iter().map(|it| it.to.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn folders_are_listed_in_order_under_their_last_component() {
        let (_folder, root) = tree(&["b.txt", "a/z.txt", "a/b.txt"]);
        assert_eq!(
            listed(&Image::new().include(&root)),
            ["data", "data/a", "data/a/b.txt", "data/a/z.txt", "data/b.txt"]
        );
        assert_eq!(listed(&Image::new().include(root.join("a/z.txt"))), ["z.txt"]);
    }

    #[test]
    fn excludes_are_gitignore_patterns_seen_from_the_workers_directory() {
        let (_folder, root) = tree(&["a.log", "keep.log", "tmp/x", "sub/tmp/x", "sub/b.log", "c.txt"]);
        let image = || Image::new().include(&root);
        for (patterns, expected) in [
            (vec!["*.log"], vec!["data/sub/tmp/x", "data/c.txt", "data/tmp/x"]),
            (vec!["*.log", "!keep.log", "tmp/"], vec!["data/c.txt", "data/keep.log"]),
            (vec!["/data/tmp", "data/sub", "*.log"], vec!["data/c.txt"]),
            (vec!["# a comment", "**/x", "*.log"], vec!["data/c.txt"]),
        ] {
            let image = patterns.iter().fold(image(), |image, it| image.exclude(*it));
            let mut files: Vec<_> = walk(&image).unwrap().0;
            files.retain(|it| it.kind == Kind::File);
            let mut files: Vec<_> = files.iter().map(|it| it.to.to_str().unwrap().to_owned()).collect();
            files.sort();
            let mut expected = expected;
            expected.sort_unstable();
            assert_eq!(files, expected, "{patterns:?}");
        }
    }

    #[test]
    fn ignore_files_in_the_folder_are_honoured_and_the_nearest_wins() {
        let (_folder, root) = tree(&[
            "a.log",
            "keep.log",
            "target/big",
            "sub/b.log",
            "sub/target/x",
            "sub/notes/y",
            ".git/config",
            "sub/.git",
            "huge.bin",
        ]);
        fs::write(root.join(".gitignore"), "*.log\n!keep.log\n/target/\n[broken\n").unwrap();
        fs::write(root.join(".skywardignore"), "# not for machines\nhuge.bin\n").unwrap();
        fs::write(root.join("sub/.gitignore"), "!b.log\nnotes/\n").unwrap();
        let image = Image::new().include(&root);
        let files = |image: &Image| {
            let found = walk(image).unwrap().0.into_iter().filter(|it| it.kind == Kind::File);
            found
                .map(|it| it.to.strip_prefix("data").unwrap().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let kept =
            [".gitignore", ".skywardignore", "keep.log", "sub/.gitignore", "sub/b.log", "sub/target/x"];
        assert_eq!(files(&image), kept);
        // A person is told.
        let notes = walk(&image).unwrap().1;
        let left = "ignore files leave out data/a.log, data/huge.bin, data/sub/notes, data/target; take";
        assert!(notes[0].starts_with(left) && notes[0].contains("`.exclude(\"!data/a.log\")`"), "{notes:?}");
        assert_eq!(walk(&Image::new().include(root.join("sub/target"))).unwrap().1, Vec::<String>::new());
        // The image has the last word, but for Git's own folder.
        let image = image.exclude("!a.log").exclude("!.git").exclude("sub").exclude(".*ignore");
        assert_eq!(files(&image), ["a.log", "keep.log"]);
        // An ignore file above the folder is none of its business.
        assert_eq!(listed(&Image::new().include(root.join("sub/target"))), ["target", "target/x"]);
        assert_eq!(listed(&Image::new().include(root.join(".git"))), [".git", ".git/config"]);
    }

    #[test]
    fn what_is_named_itself_is_not_excluded() {
        let (_folder, root) = tree(&["a.log"]);
        assert_eq!(listed(&Image::new().include(root.join("a.log")).exclude("*.log")), ["a.log"]);
    }

    #[test]
    fn links_inside_the_folder_are_kept_and_those_that_leave_it_are_refused() {
        let (_folder, root) = tree(&["sub/x"]);
        symlink("../sub/x", root.join("sub/fine")).unwrap();
        let entries = walk(&Image::new().include(&root)).unwrap();
        assert!(entries.0.iter().any(|it| it.kind == Kind::Link("../sub/x".into())));
        for target in ["../../elsewhere", "/etc/passwd", "../sub/../../x"] {
            let link = root.join("sub/bad");
            let _ = fs::remove_file(&link);
            symlink(target, &link).unwrap();
            let refused = walk(&Image::new().include(&root));
            assert!(matches!(refused, Err(IncludeError::LeavesFolder { .. })), "{target}: {refused:?}");
        }
        assert!(walk(&Image::new().include(&root).exclude("bad")).is_ok());
    }

    #[test]
    fn what_cannot_be_packed_is_named() {
        let (_folder, root) = tree(&["x"]);
        let missing = walk(&Image::new().include(root.join("nowhere"))).unwrap_err();
        assert!(missing.to_string().contains("nowhere"), "{missing}");
        assert!(matches!(walk(&Image::new().include("a/..")), Err(IncludeError::Nameless { .. })));
        let pattern = walk(&Image::new().include(&root).exclude("a{b")).unwrap_err();
        assert!(pattern.to_string().contains("a{b"), "{pattern}");
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let special = walk(&Image::new().include(&root)).unwrap_err();
        assert!(matches!(&special, IncludeError::Special { path } if path.ends_with("socket")), "{special}");
    }
}
