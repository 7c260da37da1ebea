//! What processes use, as `/proc` tells it: processor time and memory. Linux only.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// In what `/proc` counts processor time. Linux tells user space 100 on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processor time that this process has used.
pub(crate) fn own_time() -> skyward::Result<Duration> {
    let stat = Stat::parse(&fs::read_to_string("/proc/self/stat")?).ok_or("/proc tells something else")?;
    Ok(time(stat.ticks))
}

/// Processor time.
pub(crate) struct Times {
    /// Of this process.
    pub(crate) own: Duration,
    /// Of those that descend from it.
    pub(crate) below: Duration,
}

/// The processor time that this process and its descendants have used.
pub(crate) fn times() -> skyward::Result<Times> {
    // What this process uses in between counts as nobody's.
    let (own, all) = (own_time()?, Tree::below(std::process::id())?);
    let below = time(all.ticks).saturating_sub(own_time()?);
    Ok(Times { own, below })
}

/// Ticks as time.
pub(crate) fn time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
}

/// The memory that this process has now, in bytes.
pub(crate) fn resident() -> skyward::Result<u64> {
    kibibytes("VmRSS:")
}

/// The most memory that this process has had since [`forget_peak`], in bytes.
pub(crate) fn peak() -> skyward::Result<u64> {
    kibibytes("VmHWM:")
}

/// Has [`peak`] begin anew.
pub(crate) fn forget_peak() -> skyward::Result<()> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

fn kibibytes(name: &str) -> skyward::Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|it| it.strip_prefix(name)).ok_or("/proc tells something else")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// A process and its descendants.
pub(crate) struct Tree {
    pub(crate) processes: usize,
    pub(crate) ticks: u64,
}

/// What `/proc/PID/stat` says of one process.
struct Stat {
    parent: u32,
    ticks: u64,
}

impl Tree {
    pub(crate) fn below(root: u32) -> std::io::Result<Self> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            // A process may end between being listed and being read.
            if let Some(pid) = name.to_str().and_then(|it| it.parse::<u32>().ok())
                && let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat"))
                && let Some(stat) = Stat::parse(&text)
            {
                all.insert(pid, stat);
            }
        }
        let mut tree = Self { processes: 0, ticks: 0 };
        let mut waiting = vec![root];
        while let Some(pid) = waiting.pop() {
            tree.processes += 1;
            tree.ticks += all.get(&pid).map_or(0, |it| it.ticks);
            waiting.extend(all.iter().filter(|(_, it)| it.parent == pid).map(|(pid, _)| *pid));
        }
        Ok(tree)
    }
}

impl Stat {
    /// After the name, which stands in parentheses and may hold anything: state, parent, nine numbers that
    /// we leave, then user and system time.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let (user, system): (u64, u64) = (fields.nth(9)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { parent, ticks: user + system })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_named_like_a_field_does_not_confuse_the_reader() {
        let text = "77 (a) S 1 (b)) R 42 77 77 0 -1 4194304 10 0 0 0 150 25 0 0 20 0 1 0 100";
        let stat = Stat::parse(text).expect("a line of the kernel's");
        assert_eq!((stat.parent, stat.ticks), (42, 175));
    }

    #[test]
    fn this_process_is_in_its_own_tree_and_has_memory() {
        assert!(Tree::below(std::process::id()).expect("Linux has /proc").processes >= 1);
        assert!(resident().expect("told") > 0 && peak().expect("told") > 0);
    }
}
