//! Whether the machine will be taken: follows the provider's [`Notice`], which is data, and tells the functions that
//! run here. The client hears it by a question that it has open.
//!
//! command succeeds, and says when → running functions → their processes → the client

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process_group};
use skyward_runtime::control::Taken;
use skyward_runtime::inside;
use skyward_runtime::model::Notice;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::watch;

use crate::home::home;

/// What is known of the machine's end.
#[derive(Debug)]
pub(crate) struct Fate {
    deadline: watch::Sender<Option<Instant>>,
}

impl Fate {
    pub(crate) fn new() -> Self {
        Self { deadline: watch::Sender::new(None) }
    }

    /// Follows the notice; over when it has come, and never where there is none.
    pub(crate) async fn follow(&self, notice: &Notice) {
        let Notice::Command { shell, every } = notice else { return std::future::pending().await };
        let within = loop {
            if let Some(within) = ask(shell).await {
                break within;
            }
            tokio::time::sleep(pause(*every)).await;
        };
        self.learn(within);
    }

    /// The machine will be taken in so long. What is said first counts.
    pub(crate) fn learn(&self, within: Duration) {
        let Some(deadline) = Instant::now().checked_add(within) else { return };
        if self.deadline.send_if_modified(|it| it.is_none() && it.replace(deadline).is_none()) {
            tracing::warn!(?within, "the machine will be taken");
            inside::declare_preemption(deadline);
        }
    }

    /// When the machine will be taken, as it becomes known.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Instant>> {
        self.deadline.subscribe()
    }

    /// That it will, if it becomes known within this time.
    pub(crate) async fn known(&self, within: Duration) -> Option<Taken> {
        let mut deadline = self.watch();
        let known = tokio::time::timeout(within, deadline.wait_for(Option::is_some)).await;
        let deadline = (*known.ok()?.ok()?)?;
        let within = deadline.saturating_duration_since(Instant::now());
        Some(Taken { within, reason: "its cloud gave notice".to_owned() })
    }
}

/// Runs the command once. A time that is over is one: now.
async fn ask(shell: &str) -> Option<Duration> {
    let said = tokio::time::timeout(PATIENCE, run(shell)).await.ok()??;
    let said = std::str::from_utf8(&said).ok()?;
    let within = within(said, SystemTime::now());
    if within.is_none() && !said.trim().is_empty() {
        tracing::debug!("the command that tells of notices said something else");
    }
    within
}

/// What the command says, when it succeeds. It sees nothing of the worker's environment but where programs and its
/// user's files are; whoever says more than it may is no longer listened to, which ends most programs. Dropped, it
/// takes along what it has started.
async fn run(shell: &str) -> Option<Vec<u8>> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(shell).process_group(0).kill_on_drop(true);
    command.env_clear().envs(std::env::var_os("PATH").map(|it| ("PATH", it)));
    command.envs(home().map(|it| ("HOME", it)));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let leader = child.id().and_then(|it| Pid::from_raw(it.try_into().ok()?))?;
    let mut group = Group(Some(leader));
    let mut said = Vec::new();
    child.stdout.take()?.take(MOST).read_to_end(&mut said).await.ok()?;
    let status = child.wait().await.ok()?;
    // Its number may be another's from here on.
    group.0 = None;
    status.success().then_some(said)
}

/// The processes of a command whose first one has not been waited for.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // They may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// In how long the first line says that it will be: seconds, or a moment in UTC.
fn within(said: &str, now: SystemTime) -> Option<Duration> {
    let line = said.lines().next()?.trim();
    if let Ok(seconds) = line.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = moment(line)?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(at).saturating_sub(now))
}

/// The seconds since 1970 of a moment like `2026-03-01T08:22:00Z`; a fraction of a second is left out.
fn moment(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time.split('.').next()?, ':')?;
    let is_real = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_real || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(DAYS_TO_1970)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between).map(|it| it.parse::<u64>().ok().filter(|_| it.len() <= 4));
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// How long it is until the next run.
fn pause(every: Duration) -> Duration {
    every.max(SHORTEST)
}

/// How many bytes of what it says are read.
const MOST: u64 = 4096;

/// The least pause between two runs, whatever a provider says.
const SHORTEST: Duration = Duration::from_secs(1);

/// From the first of March of the year 0 to the first of January 1970.
const DAYS_TO_1970: u64 = 719_468;

/// How long one run may take: what it asks is on the machine, or next to it.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_seconds_or_a_moment_and_nothing_else() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_353_200);
        for (said, expected) in [
            ("120", Some(120)),
            ("0\n", Some(0)),
            (" 30 \nmore", Some(30)),
            ("2026-03-01T08:22:00Z", Some(120)),
            ("2026-03-01T08:22:00.123Z", Some(120)),
            ("2026-03-01T08:00:00Z", Some(0)),
            ("2028-02-29T08:20:00Z", Some(63_072_000)),
            ("", None),
            ("FALSE", None),
            ("-5", None),
            ("2026-13-01T08:22:00Z", None),
            ("2026-03-01 08:22:00", None),
            ("99999999999999999999", None),
            ("18446744073709551615-01-01T00:00:00Z", None),
            ("<html>404</html>", None),
        ] {
            assert_eq!(within(said, now), expected.map(Duration::from_secs), "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_command_that_fails_or_says_nothing_is_no_notice() {
        for (shell, expected) in
            [("echo 7", Some(7)), ("echo 7; false", None), ("true", None), ("cat /no/such/file", None)]
        {
            assert_eq!(ask(shell).await, expected.map(Duration::from_secs), "{shell}");
        }
    }

    #[tokio::test]
    async fn a_command_sees_only_where_programs_and_its_files_are_and_is_read_to_its_limit() {
        let foreign = "env | grep -c -v -E '^(PATH|HOME|PWD|OLDPWD|SHLVL|_)='; true";
        assert_eq!(ask(foreign).await, Some(Duration::ZERO));
        assert_eq!(ask("yes 7").await, None);
        let much = run("echo 7; yes | head -c 100000; true").await;
        assert_eq!(much.map(|it| it.len()), Some(4096));
        assert_eq!(pause(Duration::ZERO), Duration::from_secs(1));
        assert_eq!(pause(Duration::from_secs(5)), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_command_that_is_given_up_takes_along_what_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        let shell = format!("mkfifo '{0}'; sleep 60 > '{0}' & wait", fifo.display());
        let asked = tokio::spawn(async move { run(&shell).await });
        let deadline = Instant::now() + Duration::from_secs(30);
        while !fifo.exists() {
            assert!(Instant::now() < deadline, "the command has not begun");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Opened when the one that it started has it open, and over when nobody has.
        let mut reader = tokio::task::spawn_blocking(move || std::fs::File::open(fifo))
            .await
            .expect("a thread")
            .expect("a fifo");
        asked.abort();
        let read = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            std::io::Read::read_to_end(&mut reader, &mut Vec::new()).map(|_| begun.elapsed())
        });
        let lasted = read.await.expect("a thread").expect("its end");
        assert!(lasted < Duration::from_secs(50), "it ended by itself, after {lasted:?}");
    }

    #[tokio::test]
    async fn who_asks_hears_of_it_when_it_comes_and_that_it_did_not_in_time() {
        let fate = Fate::new();
        assert_eq!(fate.known(Duration::from_millis(1)).await, None);
        let notice = Notice::Command { shell: "echo 60".to_owned(), every: Duration::from_millis(1) };
        let (known, ()) = tokio::join!(fate.known(Duration::from_secs(60)), fate.follow(&notice));
        let within = known.map(|it| it.within.as_secs());
        assert!(within.is_some_and(|it| (50..=60).contains(&it)), "{within:?}");
    }
}
