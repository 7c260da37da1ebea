//! A pool of local machines in a directory of its own, and questions about processes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skyward_providers::local::{Faults, Local};
use skyward_runtime::model::{
    Instance, InstanceId, InstanceState, InstanceType, Market, Offer, PoolId, Price, SshEndpoint,
};
use skyward_runtime::provider::{Provider, Request};
use skyward_runtime::ssh::{ClientKey, Output, Session};
use skyward_runtime::timing::Timing;
use skyward_runtime::usd;

pub(crate) struct Stage {
    pub(crate) local: Local,
    pub(crate) request: Request,
    pub(crate) key: ClientKey,
    /// Kept for its end: it holds everything.
    pub(crate) folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Faults::default(), Duration::from_secs(60))
    }

    pub(crate) fn with(faults: Faults, lease: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::default().directory(folder.path().join("base")).faults(faults);
        let key = ClientKey::generate().unwrap();
        let offer = Offer::of("local", InstanceType::named("local"), Price::on_demand(usd!(0)));
        let request = Request {
            pool: PoolId::new("pool1"),
            offer,
            market: Market::OnDemand,
            disk_gb: None,
            volumes: Vec::new(),
            ssh_key: key.public().to_owned(),
            lease,
        };
        Self { local, request, key, folder }
    }

    /// One machine, running.
    pub(crate) async fn machine(&self) -> Machine {
        self.local.prepare(&self.request).await.unwrap();
        let id = self.local.provision(&self.request, 1).await.unwrap().instances.remove(0).id;
        self.running(&id).await
    }

    /// Waits for a machine to run.
    pub(crate) async fn running(&self, id: &InstanceId) -> Machine {
        eventually("the machine runs", async || match self.describe(id).await.state {
            InstanceState::Running { ssh, end, .. } => {
                let skyward_runtime::model::End::Process { pid, directory } = end else { panic!("{end:?}") };
                Some(Machine { id: id.clone(), ssh, pid, directory })
            }
            InstanceState::Pending => None,
            InstanceState::Leaving { reason, .. } | InstanceState::Gone { reason, .. } => {
                panic!("gone: {reason}")
            }
        })
        .await
    }

    /// Waits for a machine to be gone; the reason.
    pub(crate) async fn gone(&self, id: &InstanceId) -> String {
        eventually("the machine is gone", async || match self.describe(id).await.state {
            InstanceState::Gone { reason, .. } => Some(reason),
            InstanceState::Pending | InstanceState::Running { .. } | InstanceState::Leaving { .. } => None,
        })
        .await
    }

    pub(crate) async fn describe(&self, id: &InstanceId) -> Instance {
        self.local.describe(&self.request, id).await.unwrap()
    }

    pub(crate) async fn session(&self, machine: &Machine) -> Session {
        Session::connect(&machine.ssh, &self.key, &Timing::short()).await.unwrap()
    }

    pub(crate) async fn end(&self, machine: &Machine) {
        self.local.terminate(&self.request, std::slice::from_ref(&machine.id)).await.unwrap();
    }

    /// Gives everything back and checks that nothing is left of it.
    pub(crate) async fn finish(self) {
        assert_eq!(self.local.teardown(&self.request).await.unwrap(), []);
        assert_eq!(self.local.teardown(&self.request).await.unwrap(), [], "twice is harmless");
        assert!(!self.base().exists(), "the base is left");
        assert_eq!(processes_of(&self.base()), Vec::<u32>::new());
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.folder.path().join("base")
    }
}

pub(crate) struct Machine {
    pub(crate) id: InstanceId,
    pub(crate) ssh: SshEndpoint,
    pub(crate) pid: u32,
    pub(crate) directory: PathBuf,
}

/// Runs a command that must succeed.
pub(crate) async fn run(session: &Session, command: &str) -> String {
    let output = output(session, command).await;
    assert_eq!(output.code, Some(0), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) async fn output(session: &Session, command: &str) -> Output {
    session.run(command, Bytes::new(), Duration::from_secs(20)).await.unwrap()
}

/// Waits until there is something to return.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process lives, not counting one that only waits to be reaped.
pub(crate) fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|it| !it.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

/// The processes whose working directory or home is below a directory.
pub(crate) fn processes_of(directory: &Path) -> Vec<u32> {
    let text = directory.as_os_str().as_encoded_bytes();
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|it| it == text);
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|it| it.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| *pid != std::process::id() && lives(*pid))
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            holds(&environment) || cwd.starts_with(directory)
        })
        .collect()
}
