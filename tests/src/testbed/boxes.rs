//! A real runtime of containers for tests: a Docker daemon or Podman of a test's own, in namespaces that end with the
//! test, with an image that needs no registry. Nothing of it is on this machine but control groups, which are empty
//! once it has ended, and go.
//!
//! ```text
//! a test of the harness ─within(Docker, "inside::calls")─→ namespaces, daemon, image ─→ that test, inside them
//! ```

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

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
        // Of the second kind of control groups a bed cannot have a hierarchy of its own here, and would leave groups.
        let is_second = Path::new(GROUPS).join("cgroup.controllers").exists();
        let groups = is_second
            .then(|| "its control groups are of version 2; the runtimes of tests want version 1".to_owned());
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
        Boxes::new(engine).run(test);
    }
}

/// Removes the control groups that programs which were killed had for their runtimes, and says how many are left.
pub fn sweep() -> usize {
    let stale = || {
        below(Path::new(GROUPS)).iter().flat_map(|it| below(it)).filter(|it| is_stale(it)).collect::<Vec<_>>()
    };
    for group in stale() {
        remove(&group);
    }
    stale().len()
}

/// How many processes there are in the runtimes of a program.
pub fn processes_of(program: u32) -> usize {
    let name = format!("{GROUP}{program}-");
    let is_its = |it: &PathBuf| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with(&name));
    let groups = below(&Path::new(GROUPS).join("memory")).into_iter().filter(is_its);
    groups.map(|it| processes_in(&it)).sum()
}

fn processes_in(group: &Path) -> usize {
    let own = std::fs::read_to_string(group.join("cgroup.procs")).map_or(0, |it| it.lines().count());
    below(group).iter().map(|it| processes_in(it)).sum::<usize>() + own
}

/// A runtime in namespaces.
#[derive(Debug)]
struct Boxes {
    engine: Engine,
    server: Child,
    // They end before their groups are removed.
    lab: Lab,
    group: Group,
}

impl Boxes {
    fn new(engine: Engine) -> Self {
        let (lab, group) = (Lab::alone(), Group::new());
        let own = std::env::current_exe().expect("this program");
        let mut server = lab.command("sh");
        // A group is entered before it becomes the root of all that is seen of groups.
        let enter = "script=$1; shift; for it in $3; do echo 0 >\"/sys/fs/cgroup/$it/$2/cgroup.procs\"; done; \
                     exec unshare --cgroup sh -c \"$script\" box \"$@\"";
        server.args(["-ec", enter, "enter", include_str!("sh/box.sh"), engine.command(), &group.name]);
        server.arg(group.hierarchies.join(" ")).arg(own);
        server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = server.spawn().expect("nsenter");
        said(&mut server, "up");
        Self { engine, server, lab, group }
    }

    fn run(&self, test: &str) {
        let mut command = self.lab.command("sh");
        // What it starts is in the bed's groups, as what the daemon starts.
        let enter = "for it in $0; do echo 0 >\"/sys/fs/cgroup/$it/cgroup.procs\"; done; exec unshare --cgroup \"$@\"";
        command.args(["-ec", enter, &self.group.hierarchies.join(" ")]);
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

/// Control groups of one bed, one in each hierarchy of this machine.
#[derive(Debug)]
struct Group {
    name: String,
    hierarchies: Vec<String>,
}

impl Group {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{GROUP}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut hierarchies = Vec::new();
        sweep();
        for folder in below(Path::new(GROUPS)) {
            let own = folder.join(&name);
            // Of the two kinds of control groups only the first has a folder for each hierarchy.
            if folder.join("cgroup.clone_children").exists() && std::fs::create_dir(&own).is_ok() {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    if let Ok(all) = std::fs::read(folder.join(file)) {
                        let _ = std::fs::write(own.join(file), all);
                    }
                }
                hierarchies.extend(folder.file_name().map(|it| it.to_string_lossy().into_owned()));
            }
        }
        Self { name, hierarchies }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for hierarchy in &self.hierarchies {
            remove(&Path::new(GROUPS).join(hierarchy).join(&self.name));
        }
    }
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

/// What says which runtime a test runs within.
const HERE: &str = "SKYWARD_TEST_ENGINE";

/// Where control groups are, and what the names of ours begin with.
const GROUPS: &str = "/sys/fs/cgroup";
const GROUP: &str = "skyward-bed-";

/// How long a test within may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(400);
