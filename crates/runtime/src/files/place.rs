//! Where a path leads, seen from a folder that nothing may leave: not by `..`, not by a leading `/`, and
//! not by a symbolic link, whoever made it. A node must not be able to write where its client did not
//! ask for files, nor a mistake of the client's where no function would look.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::error::{FileError, FileTrouble};

/// A folder that nothing may leave, as the system knows it (without links).
#[derive(Clone, Debug)]
pub(super) struct Boundary(PathBuf);

impl Boundary {
    /// This folder, which exists.
    pub(super) fn new(folder: &Path) -> Result<Self, FileError> {
        let found = folder.canonicalize().map_err(|it| FileError::of(folder, &it))?;
        if found.is_dir() { Ok(Self(found)) } else { Err(FileError::new(folder, FileTrouble::NotAFolder)) }
    }

    /// Where this path is to be read, and that it is there.
    pub(super) fn existing(&self, path: &Path) -> Result<PathBuf, FileError> {
        let inner: PathBuf = parts(path)?.iter().collect();
        let found = self.0.join(inner).canonicalize().map_err(|it| FileError::of(path, &it))?;
        self.holds(found, path)
    }

    /// Where this path is to be written. Folders on the way there are made.
    pub(super) fn writable(&self, path: &Path) -> Result<PathBuf, FileError> {
        let parts = parts(path)?;
        let Some((name, parents)) = parts.split_last() else { return Ok(self.0.clone()) };
        let mut folder = self.0.clone();
        for parent in parents {
            folder = self.enter(folder.join(parent), path)?;
        }
        Ok(folder.join(name))
    }

    /// A folder, made when it is not there.
    pub(super) fn enter(&self, folder: PathBuf, told: &Path) -> Result<PathBuf, FileError> {
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(FileError::of(told, &error)),
        }
        let found = folder.canonicalize().map_err(|it| FileError::of(told, &it))?;
        let found = self.holds(found, told)?;
        if found.is_dir() { Ok(found) } else { Err(FileError::new(told, FileTrouble::NotAFolder)) }
    }

    fn holds(&self, found: PathBuf, told: &Path) -> Result<PathBuf, FileError> {
        if found.starts_with(&self.0) { Ok(found) } else { Err(FileError::new(told, FileTrouble::Outside)) }
    }
}

/// The names in a path that goes down and nowhere else.
fn parts(path: &Path) -> Result<Vec<&std::ffi::OsStr>, FileError> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(FileError::new(path, FileTrouble::Outside));
            }
        }
    }
    Ok(names)
}

/// Whether a link at `path` (below some folder) with this target stays in that folder, as far as its
/// text tells. What is written through it is checked again where it leads.
pub(crate) fn stays(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth = depth.saturating_add(1),
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_that_leaves_the_folder_is_refused_however_it_does_so() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("work");
        fs::create_dir_all(inner.join("data/deep")).unwrap();
        fs::create_dir(outer.path().join("else")).unwrap();
        fs::write(outer.path().join("else/secret"), "").unwrap();
        fs::write(inner.join("data/x"), "").unwrap();
        symlink("../else", inner.join("out")).unwrap();
        symlink("data/deep", inner.join("in")).unwrap();
        let boundary = Boundary::new(&inner).unwrap();
        let trouble = |it: Result<PathBuf, FileError>| it.map(|_| ()).map_err(|it| it.trouble);
        for (path, read, written) in [
            ("data/x", Ok(()), Ok(())),
            ("./data//x", Ok(()), Ok(())),
            ("in/../x", Err(FileTrouble::Outside), Err(FileTrouble::Outside)),
            ("in/new", Err(FileTrouble::Missing), Ok(())),
            (".", Ok(()), Ok(())),
            ("../else/secret", Err(FileTrouble::Outside), Err(FileTrouble::Outside)),
            ("/etc/passwd", Err(FileTrouble::Outside), Err(FileTrouble::Outside)),
            ("out/secret", Err(FileTrouble::Outside), Err(FileTrouble::Outside)),
            ("out/new/deep", Err(FileTrouble::Missing), Err(FileTrouble::Outside)),
            ("data/x/y", Err(FileTrouble::NotAFolder), Err(FileTrouble::NotAFolder)),
            ("new/y", Err(FileTrouble::Missing), Ok(())),
        ] {
            let path = Path::new(path);
            assert_eq!(trouble(boundary.existing(path)), read, "reading {path:?}");
            assert_eq!(trouble(boundary.writable(path)), written, "writing {path:?}");
        }
        assert!(inner.join("new").is_dir() && !outer.path().join("else/new").exists());
        assert_eq!(boundary.writable(Path::new("in/y")).unwrap(), boundary.0.join("data/deep/y"));
    }

    #[test]
    fn a_link_stays_when_its_text_says_so() {
        for (path, target, expected) in [
            ("a/b", "../c", true),
            ("a/b", "c", true),
            ("a/b", "../../c", false),
            ("b", "..", false),
            ("b", "/etc", false),
            ("b", "c/../d", true),
        ] {
            assert_eq!(stays(Path::new(path), Path::new(target)), expected, "{path} -> {target}");
        }
    }
}
