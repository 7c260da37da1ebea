//! The machine's lease while the worker runs: renewals write its file, and the worker watches on its
//! own clock whether they still come.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use skyward_runtime::control::{LeaseState, Renewal};
use skyward_runtime::lease::{Guard, LEASE_FILE, Renewals, awake, kept_for};

use crate::seat::Seat;

/// What the file says when the lease has lapsed, for good.
const LAPSED: &str = "lapsed";

/// The lease.
#[derive(Debug)]
pub(crate) struct Lease {
    path: PathBuf,
    length: Duration,
    renewals: Mutex<Renewals>,
    /// Who writes the file. Nobody writes what was decided before something else was written.
    writing: tokio::sync::Mutex<()>,
}

impl Lease {
    /// The lease of the machine with this home; `None` when it has lapsed before.
    pub(crate) fn open(home: &Path, length: Duration) -> Option<Self> {
        let path = home.join(LEASE_FILE);
        let content = std::fs::read_to_string(&path).unwrap_or_default();
        let content = content.trim();
        // It goes on from what the client has written, so that the number keeps growing.
        let renewals = Mutex::new(Renewals::from(content.parse().unwrap_or(0)));
        (content != LAPSED).then(|| Self { path, length, renewals, writing: tokio::sync::Mutex::default() })
    }

    /// Renews, if the one who asks may.
    pub(crate) async fn renew(&self, renewal: Renewal, seat: &Seat) -> LeaseState {
        if let Err(owner) = seat.claim(renewal.epoch) {
            return LeaseState::NotOwner { owner };
        }
        let _writing = self.writing.lock().await;
        let Some(count) = self.with(|it| it.renew(renewal.epoch, renewal.number)) else {
            return LeaseState::Lapsed;
        };
        self.write(&count.to_string()).await;
        LeaseState::Held
    }

    /// Whether the lease has lapsed.
    pub(crate) fn has_lapsed(&self) -> bool {
        self.with(|it| it.has_lapsed())
    }

    /// Resolves when the lease has lapsed and that is written down.
    pub(crate) async fn lapsed(&self) {
        let mut guard = Guard::new(self.length, awake());
        let first = self.with(|it| it.count());
        loop {
            tokio::time::sleep(guard.pause()).await;
            // The client keeps a machine over SSH, where it failed to link this worker.
            let kept = tokio::fs::read(&self.path).await.ok().filter(|it| kept_for(it).is_some());
            let now = awake();
            let holds = self.with(|it| {
                // A number that was there before the guard is no renewal.
                let content = (it.count() != first).then(|| it.count().to_be_bytes());
                let content = kept.as_deref().or(content.as_ref().map(<[u8; 8]>::as_slice));
                let holds = guard.look(content, now);
                if !holds {
                    it.lapse();
                }
                holds
            });
            if !holds {
                // A renewal that was taken before may be writing its number still.
                let _writing = self.writing.lock().await;
                self.write(LAPSED).await;
                return;
            }
        }
    }

    /// Writes the file, whole or not at all. A failure is logged: the worker's own watch goes by what
    /// it was told, and whoever else watches the file will see it grow old.
    async fn write(&self, content: &str) {
        let draft = self.path.with_extension("draft");
        let written = async {
            tokio::fs::write(&draft, content).await?;
            tokio::fs::rename(&draft, &self.path).await
        };
        if let Err(error) = written.await {
            tracing::warn!(path = %self.path.display(), %error, "the lease cannot be written down");
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Renewals) -> T) -> T {
        act(&mut self.renewals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use skyward_runtime::model::Epoch;

    use super::*;

    #[tokio::test]
    async fn a_machine_that_is_kept_outlives_its_lease_by_what_the_file_says() {
        let home = tempfile::tempdir().expect("made");
        std::fs::create_dir(home.path().join(".skyward")).expect("made");
        let lease = Lease::open(home.path(), Duration::from_millis(40)).expect("held");
        let keep = skyward_runtime::lease::keep(Duration::from_millis(400));
        std::fs::write(home.path().join(LEASE_FILE), keep).expect("written");
        let before = awake();
        lease.lapsed().await;
        assert!(awake().saturating_sub(before) >= Duration::from_millis(400));
    }

    #[tokio::test]
    async fn a_lapse_is_written_down_and_for_good() {
        let home = tempfile::tempdir().expect("made");
        std::fs::create_dir(home.path().join(".skyward")).expect("made");
        std::fs::write(home.path().join(LEASE_FILE), "41\n").expect("written");
        let lease = Lease::open(home.path(), Duration::from_millis(80)).expect("held");
        let seat = Seat::new(Epoch(1));
        let renewal = |number| Renewal { epoch: Epoch(1), number };
        assert_eq!(lease.renew(renewal(1), &seat).await, LeaseState::Held);
        assert_eq!(std::fs::read_to_string(home.path().join(LEASE_FILE)).expect("read"), "42");
        lease.lapsed().await;
        assert_eq!(lease.renew(renewal(2), &seat).await, LeaseState::Lapsed);
        assert_eq!(std::fs::read_to_string(home.path().join(LEASE_FILE)).expect("read"), "lapsed");
        assert!(Lease::open(home.path(), Duration::from_secs(1)).is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_renewal_is_written_over_a_lapse() {
        for _ in 0..50 {
            let home = tempfile::tempdir().expect("made");
            std::fs::create_dir(home.path().join(".skyward")).expect("made");
            let lease = Lease::open(home.path(), Duration::from_millis(4)).expect("held");
            let seat = Seat::new(Epoch(1));
            let renewing = async {
                for number in 1.. {
                    if lease.renew(Renewal { epoch: Epoch(1), number }, &seat).await == LeaseState::Lapsed {
                        break;
                    }
                    // Late enough, sometimes, for the lease to lapse meanwhile.
                    tokio::time::sleep(Duration::from_millis(number % 7)).await;
                }
            };
            futures_util::future::join(renewing, lease.lapsed()).await;
            assert_eq!(std::fs::read_to_string(home.path().join(LEASE_FILE)).expect("read"), LAPSED);
        }
    }
}
