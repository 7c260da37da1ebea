//! The processes that run on this machine because of us: those of our session.

use rustix::process::{Pid, Signal, getpid, kill_process};

/// Kills what our functions have started and left in our session, but not us. Does nothing when we are
/// not the session's leader: then it is somebody else's. What has made itself a session of its own is
/// not ours any more.
///
/// Linux only, where `/proc` lists them; elsewhere they end with the machine.
pub(crate) fn kill_session() {
    let own = getpid();
    if session_of(own) != Some(own.as_raw_pid()) {
        return;
    }
    for pid in members(own.as_raw_pid()).into_iter().filter(|it| *it != own) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn members(session: i32) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|it| it.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(|it| session_of(*it) == Some(session))
        .collect()
}

/// The session of a process. Not by `getsid`: it answers 0 where the session's leader is outside of a
/// container, and rustix does not expect that.
fn session_of(pid: Pid) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    session_in(&stat)
}

/// `pid (name) state parent group session …`, where the name may hold anything.
fn session_in(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_read_whatever_the_process_is_called() {
        for (stat, expected) in [
            ("12 (sh) S 1 12 7 0 -1", Some(7)),
            ("12 (a) b) (c) S 1 12 0 0 -1", Some(0)),
            ("12 (sh) S 1", None),
            ("", None),
        ] {
            assert_eq!(session_in(stat), expected, "{stat}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_session_has_its_members() {
        let session = session_of(getpid()).expect("every process has one");
        assert!(members(session).contains(&getpid()));
    }
}
