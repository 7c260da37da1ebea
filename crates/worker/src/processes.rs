//! The processes that run on this machine because of us: those of our session.

use rustix::process::{Pid, Signal, getpid, getsid, kill_process, kill_process_group};

/// Kills what our functions have started and left in our session, but not us. Does nothing when we are
/// not the session's leader: then it is somebody else's.
pub(crate) fn kill_session() {
    let own = getpid();
    if getsid(None) != Ok(own) {
        return;
    }
    let members = members(own);
    for pid in members.iter().copied().filter(|it| *it != own) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Kills our own process group, us included, where the session's processes cannot be listed.
pub(crate) fn kill_group() {
    let own = getpid();
    if cfg!(not(target_os = "linux")) && getsid(None) == Ok(own) {
        let _ = kill_process_group(own, Signal::KILL);
    }
}

fn members(session: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|it| it.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(|it| getsid(Some(*it)) == Ok(session))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_session_has_its_members() {
        let session = getsid(None).expect("every process has one");
        assert!(members(session).contains(&getpid()));
    }
}
