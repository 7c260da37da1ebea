//! Where machines live on the disk: `<base>/<pool>/<machine>`. The lock on a machine's log tells
//! whether it lives, so that what a power cut of everything left behind is swept by the next pool.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Signal, geteuid};
use skyward_runtime::model::{InstanceId, PoolId};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};

use super::config::LOG;
use super::process::marked;

/// The directories of one provider's machines.
#[derive(Clone, Debug)]
pub(super) struct Place {
    base: PathBuf,
    /// The base is ours to remove when it is empty, marked or not: it was not there before.
    ours: bool,
}

/// A machine's directory, fresh and locked.
pub(super) struct Plot {
    pub(super) id: InstanceId,
    pub(super) directory: PathBuf,
    /// The log, whose lock is held for as long as any copy of this file is open.
    pub(super) log: File,
}

impl Place {
    /// The place to use: `asked`, or a folder of this user in the system's temporary directory.
    pub(super) fn new(asked: Option<&Path>) -> Self {
        match asked {
            Some(base) => Self { base: base.to_owned(), ours: !base.exists() },
            None => {
                let name = format!("skyward-{}", geteuid().as_raw());
                Self { base: std::env::temp_dir().join(name), ours: true }
            }
        }
    }

    /// A pool's directory.
    pub(super) fn pool(&self, pool: &PoolId) -> Result<PathBuf, ProviderError> {
        Ok(self.base.join(plain(pool.as_str())?))
    }

    /// A machine's directory.
    pub(super) fn machine(&self, pool: &PoolId, id: &InstanceId) -> Result<PathBuf, ProviderError> {
        Ok(self.pool(pool)?.join(plain(id.as_str())?))
    }

    /// What is to be removed with the last machine of a pool when it is empty, innermost first.
    pub(super) fn above(&self, pool: &PoolId) -> Result<Vec<PathBuf>, ProviderError> {
        let mut above = vec![self.pool(pool)?];
        if self.ours || is_marked(&self.base) {
            above.push(self.base.clone());
        }
        Ok(above)
    }

    /// Makes the base and makes sure that nobody else could have put something into it.
    pub(super) fn open(&self) -> Result<(), ProviderError> {
        let refuse = |what: &str| {
            let base = self.base.display();
            let advice = "name another directory for the machines, or set TMPDIR";
            Err(ProviderError::new(
                ProviderErrorKind::Local,
                format!("refused to keep machines in {base}: {what}; {advice}"),
            ))
        };
        if let Some(parent) = self.base.parent()
            && let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(parent)
        {
            return refuse(&error.to_string());
        }
        match DirBuilder::new().mode(0o700 | MARK).create(&self.base) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return refuse(&error.to_string()),
            Ok(()) | Err(_) => {}
        }
        match fs::symlink_metadata(&self.base) {
            Err(error) => refuse(&error.to_string()),
            Ok(found) if found.is_symlink() => refuse("it is a symbolic link"),
            Ok(found) if found.uid() != geteuid().as_raw() => refuse("it belongs to somebody else"),
            Ok(found) if found.mode() & 0o022 != 0 => refuse("others may write to it"),
            Ok(_) => Ok(()),
        }
    }

    /// A directory for a new machine.
    pub(super) fn plot(&self, pool: &PoolId) -> Result<Plot, ProviderError> {
        let mut last = io::Error::other("no name is free");
        for _ in 0..TRIES {
            self.open()?;
            match self.try_plot(pool)? {
                Ok(plot) => return Ok(plot),
                // A machine that ends, or a sweep, removes empty directories; then try again.
                Err(error) if is_disturbance(&error) => last = error,
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        let pool = self.pool(pool)?;
        Err(local("failed to make a directory for a machine", &pool, last))
    }

    fn try_plot(&self, pool: &PoolId) -> Result<io::Result<Plot>, ProviderError> {
        let mut random = [0; 4];
        if let Err(error) = getrandom::fill(&mut random) {
            return Ok(Err(io::Error::other(error.to_string())));
        }
        let id = InstanceId::new(format!("m{:08x}", u32::from_be_bytes(random)));
        let directory = self.machine(pool, &id)?;
        let make = || {
            let parent = self.pool(pool).map_err(io::Error::other)?;
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            DirBuilder::new().mode(0o700).create(&directory)
        };
        let open = || {
            let log =
                OpenOptions::new().create_new(true).append(true).mode(0o600).open(directory.join(LOG))?;
            log.try_lock()?;
            // A sweep that came first has taken it for dead and removed it.
            if log.metadata()?.nlink() == 0 {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(log)
        };
        let made = make().and_then(|()| {
            open().inspect_err(|_| {
                // With a log in it, the next sweep has it.
                let _ = fs::remove_dir(&directory);
            })
        });
        Ok(made.map(|log| Plot { id, directory: directory.clone(), log }))
    }

    /// Removes what dead machines of any pool left behind, and empty directories.
    pub(super) fn sweep(&self) {
        for pool in directories(&self.base) {
            for machine in directories(&pool) {
                if dead(&machine) {
                    tracing::info!(directory = %machine.display(), "sweeping a dead machine");
                    clear(&machine);
                } else {
                    let _ = fs::remove_dir(&machine);
                }
            }
            let _ = fs::remove_dir(&pool);
        }
    }
}

/// Ends what still runs on a dead machine and removes its directory, waiting at most a fraction of a
/// second. Gone already is fine.
pub(super) fn clear(directory: &Path) {
    for _ in 0..TRIES {
        let strays = marked(directory);
        for stray in &strays {
            stray.signal(Signal::KILL);
        }
        // A process that is being killed may still write, then the removal fails and is tried again.
        let removed = fs::remove_dir_all(directory);
        let gone = removed.is_ok() || !directory.exists();
        if strays.is_empty() && gone {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Removes directories as far as they are empty.
pub(super) fn remove_empty(directories: &[PathBuf]) {
    for directory in directories {
        let _ = fs::remove_dir(directory);
    }
}

/// The directories in a directory; none when there is no such directory.
pub(super) fn list(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let directories = entries.flatten().filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(directories.map(|it| it.path()).collect())
}

/// As [`list`], for a sweep, which does what it can.
fn directories(parent: &Path) -> Vec<PathBuf> {
    list(parent).unwrap_or_default()
}

/// Whether a machine's directory has a log that nobody holds.
fn dead(machine: &Path) -> bool {
    match File::open(machine.join(LOG)) {
        Ok(log) => !matches!(log.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// A name that is one step of a path and no more.
fn plain(name: &str) -> Result<&str, ProviderError> {
    let fine = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    if !name.is_empty() && name.len() <= 100 && name.chars().all(fine) {
        return Ok(name);
    }
    let message = format!("{name:?} cannot be the name of a directory: use letters, digits, - and _");
    Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message))
}

/// Whether a directory was made by a program like this one, for machines alone.
fn is_marked(base: &Path) -> bool {
    fs::symlink_metadata(base).is_ok_and(|it| it.is_dir() && it.mode() & MARK != 0)
}

/// Whether something that another program did meanwhile can be the reason.
fn is_disturbance(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, NotFound, WouldBlock};
    matches!(error.kind(), AlreadyExists | NotFound | WouldBlock)
}

/// An error of this computer's.
pub(super) fn local(what: &str, path: &Path, source: io::Error) -> ProviderError {
    let message = format!("{what} ({}): {source}{}", path.display(), advice(&source));
    ProviderError::new(ProviderErrorKind::Local, message)
}

/// What a person can do about it, where that is known.
pub(super) fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => "; raise the limit of open files (`ulimit -n`)",
        Some(Errno::NOSPC | Errno::DQUOT) => {
            "; make room, name another directory for the machines, or set TMPDIR"
        }
        Some(Errno::AGAIN | Errno::NOMEM) => "; end other programs, or raise the limits (`ulimit -u`, `-v`)",
        _ => "",
    }
}

/// The sticky bit, which is given to a base directory in the moment that it is made, so that the last
/// of several programs that share one knows that it is not a person's.
const MARK: u32 = 0o1000;

/// How long a killed process is given to be gone before the next look.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// How often something that others may disturb is tried at once. It fails only when a removal and a
/// creation meet that often in a row.
const TRIES: u32 = 50;
