//! A real runtime of containers for tests: a Docker daemon or Podman of a test's own, in namespaces that end with the
//! test, with an image that needs no registry. Nothing of it is on this machine but control groups, which are empty
//! once it has ended, and go.
//!
//! ```text
//! a test of the harness ─within(Docker, "inside::calls")─→ namespaces, daemon, image ─→ that test, inside them
//! ```

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::groups::{GROUPS, Group, Groups, hierarchies};
use super::lab::{self, Lab, said};
use super::skipped;
use crate::output_within;

/// A runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Docker, with its daemon.
    Docker,
    /// Podman, which has none.
    Podman,
}

impl Engine {
    /// Its command.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// The one in whose namespaces this test runs; `None` outside any.
    pub fn here() -> Option<Self> {
        let named = std::env::var(HERE).ok()?;
        [Self::Docker, Self::Podman].into_iter().find(|it| it.command() == named)
    }

    /// Runs its command and returns what that says.
    ///
    /// # Panics
    /// When it ends badly.
    pub fn run(self, arguments: &[&str]) -> String {
        lab::done(Command::new(self.command()).args(arguments))
    }

    /// What it has now: containers, networks and images, a line for each.
    pub fn state(self) -> Vec<String> {
        let lists: [&[&str]; 3] = [
            &["ps", "-a", "--format", "container {{.Names}}"],
            &["network", "ls", "--format", "network {{.Name}}"],
            &["images", "--format", "image {{.Repository}}:{{.Tag}}"],
        ];
        let mut all: Vec<_> =
            lists.iter().flat_map(|it| self.run(it).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        all.sort();
        all
    }

    /// Why it cannot be had on this machine.
    fn missing(self) -> Option<String> {
        let (tools, packages): (&[&str], _) = match self {
            Self::Docker => (&["docker", "dockerd", "containerd", "runc", "iptables"], "docker.io iptables"),
            Self::Podman => {
                let tools = &["podman", "runc", "conmon", "iptables", "/usr/lib/podman/netavark"];
                (tools, "podman runc conmon netavark aardvark-dns iptables")
            }
        };
        let absent: Vec<_> = tools.iter().copied().filter(|it| !lab::is_there(it)).collect();
        let advice = format!("apt-get install -y --no-install-recommends {packages}");
        let absent =
            (!absent.is_empty()).then(|| format!("this machine has no {}; {advice}", absent.join(", ")));
        let groups = Path::new(GROUPS).join("cgroup.controllers").exists() || !hierarchies().is_empty();
        let groups = (!groups).then(|| format!("there are no control groups at {GROUPS}"));
        lab::missing().or(absent).or(groups)
    }

    /// Whether it can be had on this machine; where not, that is said, and fails where no test may be skipped
    /// (`SKYWARD_REQUIRE_ALL`).
    ///
    /// # Panics
    /// When no test may be skipped.
    pub fn can_be_had(self) -> bool {
        let missing = self.missing();
        missing.iter().for_each(|it| skipped(it));
        missing.is_none()
    }
}

/// Runs another test of this program in the namespaces of a runtime of its own. Where this machine cannot have one
/// that is said, and fails where no test may be skipped (`SKYWARD_REQUIRE_ALL`).
///
/// # Panics
/// When the runtime does not begin, or the test fails, with what it said.
pub fn within(engine: Engine, test: &str) {
    if engine.can_be_had() {
        Boxes::new(engine, Groups::of_machine()).run(test);
    }
}

/// As [`within`], with control groups of version 2, also where this machine has both; it may have no limits to give by
/// them then.
///
/// # Panics
/// As [`within`].
pub fn within_second(engine: Engine, test: &str) {
    if engine.can_be_had() && Groups::second().is_some() {
        Boxes::new(engine, Groups::Second).run(test);
    }
}

/// Whether the runtime in whose namespaces this test runs can limit memory. It cannot where the kernel gives the control
/// groups that a program may make no controllers: those of version 2 of a program that is in a container itself.
pub fn can_limit() -> bool {
    let given = std::fs::read_to_string(Path::new(GROUPS).join("cgroup.controllers"));
    given.is_ok_and(|it| it.contains("memory")) || Path::new(GROUPS).join("memory").is_dir()
}

/// A runtime in namespaces.
#[derive(Debug)]
struct Boxes {
    engine: Engine,
    server: Child,
    // They end before their groups are removed.
    lab: Lab,
    _group: Group,
}

impl Boxes {
    fn new(engine: Engine, groups: Groups) -> Self {
        let (lab, group) = (Lab::alone(), Group::new(groups));
        let own = std::env::current_exe().expect("this program");
        let mut server = lab.command("sh");
        // A group is entered before it becomes the root of all that is seen of groups.
        let enter = "script=$1 folders=$2; shift 2; for it in $folders; do echo 0 >\"$it/cgroup.procs\"; done; \
                     exec unshare --cgroup sh -c \"$script\" box \"$@\"";
        server.args(["-ec", enter, "enter", include_str!("sh/box.sh"), &group.folders()]);
        server.arg(engine.command()).arg(group.hierarchies()).arg(own);
        server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = server.spawn().expect("nsenter");
        said(&mut server, "up");
        Self { engine, server, lab, _group: group }
    }

    fn run(&self, test: &str) {
        let mut command = self.lab.command("sh");
        // What it starts is in the bed's groups, as what the daemon starts.
        let enter = "for it in $(cat /run/groups); do echo 0 >\"$it/cgroup.procs\"; done; \
                     exec nsenter \"--cgroup=/proc/$(cat /run/box)/ns/cgroup\" \"$@\"";
        command.args(["-ec", enter, "enter"]);
        command.arg(std::env::current_exe().expect("this program"));
        command.args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"]);
        command.env(HERE, self.engine.command()).env("DOCKER_HOST", "unix:///run/docker.sock");
        command
            .env("CONTAINERS_CONF", "/run/containers.conf")
            .env("CONTAINERS_STORAGE_CONF", "/run/storage.conf");
        let output = output_within(DEADLINE, &mut command);
        let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let log = self.lab.command("tail").args(["-n", "20", "/run/dockerd.log"]).output().expect("tail");
        let log = String::from_utf8_lossy(&log.stdout);
        assert!(output.status.success(), "{test} failed within {:?}: {said}{why}\n{log}", self.engine);
        assert!(said.contains("1 passed"), "there is no test {test}: {said}");
    }
}

impl Drop for Boxes {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What says which runtime a test runs within.
const HERE: &str = "SKYWARD_TEST_ENGINE";

/// How long a test within may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(400);
