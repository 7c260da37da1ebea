//! Control groups of one bed, of the version that this machine has: they are made for it, hold all that it runs, and are
//! removed when it has ended; those of a program that was killed are removed by the next.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Which control groups a bed has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Groups {
    /// Of version 1: one in each hierarchy of this machine.
    First,
    /// Of version 2: one.
    Second,
}

impl Groups {
    /// Those that this machine's own runtimes would have.
    pub(super) fn of_machine() -> Self {
        if hierarchies().is_empty() { Self::Second } else { Self::First }
    }

    /// Where those of version 2 are, which a machine may have beside the others.
    pub(super) fn second() -> Option<PathBuf> {
        let places = [PathBuf::from(GROUPS), Path::new(GROUPS).join("unified")];
        places.into_iter().find(|it| it.join("cgroup.controllers").exists())
    }
}

/// The control groups of one bed.
#[derive(Debug)]
pub(super) struct Group {
    folders: Vec<PathBuf>,
    kind: Groups,
}

impl Group {
    /// Makes them.
    pub(super) fn new(kind: Groups) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{GROUP}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        sweep();
        let roots = match kind {
            Groups::First => hierarchies(),
            Groups::Second => Groups::second().into_iter().collect(),
        };
        let _alone = alone();
        let mut folders = Vec::new();
        for root in roots {
            let own = root.join(&name);
            if std::fs::create_dir(&own).is_err() {
                continue;
            }
            match kind {
                Groups::First => {
                    for file in ["cpuset.cpus", "cpuset.mems"] {
                        if let Ok(all) = std::fs::read(root.join(file)) {
                            let _ = std::fs::write(own.join(file), all);
                        }
                    }
                }
                Groups::Second => give(&root),
            }
            folders.push(own);
        }
        Self { folders, kind }
    }

    /// Their folders, as words.
    pub(super) fn folders(&self) -> String {
        words(self.folders.iter().map(|it| it.display().to_string()))
    }

    /// The names of the hierarchies that they are in, as words; none where they are of version 2.
    pub(super) fn hierarchies(&self) -> String {
        let name = |it: &PathBuf| Some(it.parent()?.file_name()?.to_string_lossy().into_owned());
        let all = self.folders.iter().filter(|_| self.kind == Groups::First);
        words(all.filter_map(name))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.folders.iter().for_each(|it| remove(it));
        settle();
    }
}

/// The hierarchies of version 1 that this machine has.
pub(super) fn hierarchies() -> Vec<PathBuf> {
    // Version 2 has no such file.
    below(Path::new(GROUPS)).into_iter().filter(|it| it.join("cgroup.clone_children").exists()).collect()
}

/// Removes the control groups that programs which were killed had for their runtimes, and says how many are left.
pub fn sweep() -> usize {
    let stale = || all().into_iter().filter(|it| is_stale(it)).collect::<Vec<_>>();
    stale().iter().for_each(|it| remove(it));
    settle();
    stale().len()
}

/// How many processes there are in the runtimes of a program.
pub fn processes_of(program: u32) -> usize {
    let name = format!("{GROUP}{program}-");
    let is_its = |it: &&PathBuf| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with(&name));
    // Each process is in one group of every hierarchy that a bed has groups in.
    let in_each = all().iter().filter(is_its).map(|it| processes_in(it)).collect::<Vec<_>>();
    in_each.into_iter().max().unwrap_or_default()
}

fn processes_in(group: &Path) -> usize {
    let own = std::fs::read_to_string(group.join("cgroup.procs")).map_or(0, |it| it.lines().count());
    below(group).iter().map(|it| processes_in(it)).sum::<usize>() + own
}

/// The groups of beds, of this program and of others.
fn all() -> Vec<PathBuf> {
    let roots = hierarchies().into_iter().chain(Groups::second());
    let is_one = |it: &PathBuf| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with(GROUP));
    roots.flat_map(|it| below(&it)).filter(is_one).collect()
}

/// Has the groups below the root of version 2 be given what limits them, as the machine's own runtimes would. That it
/// was not so before is written down where everybody sees it, as an empty group.
fn give(root: &Path) {
    let words = |file: &str| {
        let read = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        read.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let given = words("cgroup.subtree_control");
    for controller in words("cgroup.controllers").into_iter().filter(|it| !given.contains(it)) {
        // Not in a group that has processes, unless it is the first of all.
        if std::fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")).is_ok() {
            let _ = std::fs::create_dir(root.join(format!("{GIVEN}{controller}")));
        }
    }
}

/// Takes back what was given, once no bed needs it.
fn settle() {
    let _alone = alone();
    let Some(root) = Groups::second().filter(|_| all().is_empty()) else { return };
    for mark in below(&root) {
        let name = mark.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(controller) = name.strip_prefix(GIVEN) {
            let _ = std::fs::remove_dir(&mark);
            let _ = std::fs::write(root.join("cgroup.subtree_control"), format!("-{controller}"));
        }
    }
}

/// Keeps other programs from making or removing groups, for as long as what it returns lives.
fn alone() -> Option<File> {
    let root = File::open(GROUPS).ok()?;
    root.lock().ok().map(|()| root)
}

/// Whether a group is that of a program that has ended.
fn is_stale(group: &Path) -> bool {
    let name = group.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    let owner = name.strip_prefix(GROUP).and_then(|it| it.split('-').next().map(str::to_owned));
    owner.is_some_and(|it| !Path::new("/proc").join(it).exists())
}

/// Removes a group and those in it; the kernel takes a moment to let go of what has just ended.
fn remove(group: &Path) {
    let gone = || {
        for inner in below(group) {
            remove(&inner);
        }
        let _ = std::fs::remove_dir(group);
        (!group.exists()).then_some(())
    };
    let _ = crate::until(Duration::from_secs(5), gone);
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|it| it.file_type().is_ok_and(|it| it.is_dir())).map(|it| it.path()).collect()
}

fn words(all: impl Iterator<Item = String>) -> String {
    all.collect::<Vec<_>>().join(" ")
}

/// Where control groups are, what the names of ours begin with, and those of the groups that say what was given.
pub(super) const GROUPS: &str = "/sys/fs/cgroup";
const GROUP: &str = "skyward-bed-";
const GIVEN: &str = "skyward-beds-gave-";
