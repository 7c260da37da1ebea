//! The runtimes' command lines: which arguments each takes for the same thing. Nothing here asks anybody.

use std::time::Duration;

use skyward_runtime::model::PoolId;
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};

use super::config::Config;

/// A program that runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    Docker,
    Podman,
    Nerdctl,
    /// Apple's, which has a virtual machine for each container.
    Apple,
}

/// A container to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start<'a> {
    pub(super) name: &'a str,
    pub(super) labels: &'a [String],
    pub(super) network: &'a str,
    /// The port of this computer, on loopback, that leads to its SSH server.
    pub(super) port: u16,
    /// What its first process is told.
    pub(super) words: &'a [String],
}

impl Runtime {
    /// In the order in which they are looked for.
    pub(super) const ALL: [Self; 4] = [Self::Docker, Self::Podman, Self::Nerdctl, Self::Apple];

    /// The name of its command.
    pub(super) const fn command(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Nerdctl => "nerdctl",
            Self::Apple => "container",
        }
    }

    /// The one that a command is of, by its name; what is called otherwise is taken for Docker's.
    pub(super) fn of(binary: &str) -> Self {
        let name = binary.rsplit('/').next().unwrap_or(binary);
        let is = |it: &Self| name == it.command() || name.starts_with(&format!("{}-", it.command()));
        Self::ALL.into_iter().find(is).unwrap_or(Self::Docker)
    }

    /// How it is started where it can be.
    pub(super) const fn start(self) -> &'static str {
        match self {
            Self::Docker => "start it (`sudo systemctl start docker`, or Docker Desktop), or set DOCKER_HOST",
            Self::Podman => "see `podman info`; where it runs in a virtual machine, `podman machine start`",
            Self::Nerdctl => {
                "start containerd (`sudo systemctl start containerd`, or `containerd-rootless-setuptool.sh install`)"
            }
            Self::Apple => "start it with `container system start`",
        }
    }

    /// Asks what it has, and whether it answers.
    pub(super) fn info(self) -> Vec<String> {
        match self {
            Self::Docker | Self::Podman | Self::Nerdctl => words(["info", "--format", "{{json .}}"]),
            Self::Apple => words(["system", "status"]),
        }
    }

    /// Runs a container that stays when its first process has ended, so that its last words can be read.
    pub(super) fn run(self, config: &Config, start: &Start<'_>) -> Result<Vec<String>, ProviderError> {
        let Start { name, labels, network, port, words: told } = start;
        let mut all = words(["run", "--detach", "--name", name]);
        all.extend(labels.iter().flat_map(|it| ["--label".to_owned(), it.clone()]));
        all.extend(words(["--network", network, "--publish"]));
        all.push(format!("127.0.0.1:{port}:{SSH_PORT}"));
        all.extend(words(["--user", &config.ssh_user, "--entrypoint", "sh"]));
        if self != Self::Apple {
            // What is not here was pulled before, in as much time as that takes.
            all.push("--pull=never".to_owned());
        }
        if let Some(cpus) = config.cpus {
            let cpus = if self == Self::Apple { cpus.ceil().max(1.0) } else { cpus };
            all.extend(["--cpus".to_owned(), cpus.to_string()]);
        }
        if let Some(memory) = config.memory_mb {
            let unit = if self == Self::Apple { 'M' } else { 'm' };
            all.extend(["--memory".to_owned(), format!("{memory}{unit}")]);
        }
        if self == Self::Apple && (!config.devices.is_empty() || config.gpus.is_some()) {
            let message = "Apple's `container` gives its containers no devices and no accelerators: leave out \
                           `devices` and `gpus`";
            return Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message));
        }
        all.extend(config.devices.iter().flat_map(|it| ["--device".to_owned(), it.clone()]));
        if let Some(gpus) = &config.gpus {
            all.extend(self.gpus(&Gpus::read(gpus)?));
        }
        all.push(config.image.clone());
        all.push("-c".to_owned());
        all.extend(told.iter().cloned());
        Ok(all)
    }

    fn gpus(self, gpus: &Gpus) -> Vec<String> {
        let one = |number: &String| ["--device".to_owned(), format!("nvidia.com/gpu={number}")];
        match (self, gpus) {
            (Self::Podman, Gpus::All) => one(&"all".to_owned()).into(),
            (Self::Podman, Gpus::Count(count)) => (0..*count).flat_map(|it| one(&it.to_string())).collect(),
            (Self::Podman, Gpus::These(these)) => these.iter().flat_map(one).collect(),
            (_, Gpus::All) => words(["--gpus", "all"]),
            (_, Gpus::Count(count)) => words(["--gpus", &count.to_string()]),
            // The quotes are read by the runtime, to which a comma ends a field.
            (_, Gpus::These(these)) => words(["--gpus", &format!("\"device={}\"", these.join(","))]),
        }
    }

    /// Runs a script in a container that has it read its standard input.
    pub(super) fn exec(self, name: &str, script: &str, arguments: &[String]) -> Vec<String> {
        let mut all = words(["exec", "--interactive", name, "sh", "-c", script, "skyward"]);
        all.extend_from_slice(arguments);
        all
    }

    /// Says what a container is like.
    pub(super) fn inspect(self, name: &str) -> Vec<String> {
        match self {
            Self::Docker | Self::Podman | Self::Nerdctl => words(["container", "inspect", name]),
            Self::Apple => words(["inspect", name]),
        }
    }

    /// The last lines that a container's first process wrote.
    pub(super) fn logs(self, name: &str) -> Vec<String> {
        match self {
            Self::Docker | Self::Podman | Self::Nerdctl => words(["logs", "--tail", LINES, name]),
            Self::Apple => words(["logs", "-n", LINES, name]),
        }
    }

    /// Lists containers with a label, those that have ended among them. Apple's lists all.
    pub(super) fn list(self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        match self {
            Self::Docker | Self::Nerdctl => {
                words(["ps", "-a", "--filter", &filter, "--format", "{{json .}}"])
            }
            Self::Podman => words(["ps", "-a", "--filter", &filter, "--format", "json"]),
            Self::Apple => words(["ls", "-a", "--format", "json"]),
        }
    }

    /// Lists the names of containers, one on each line.
    pub(super) fn names(self, pool: &PoolId, ended: bool) -> Vec<String> {
        let mut all = match self {
            Self::Docker | Self::Podman | Self::Nerdctl => {
                words(["ps", "--filter", &format!("label={POOL}={pool}"), "--format", "{{.Names}}"])
            }
            Self::Apple => words(["ls", "-q"]),
        };
        match self {
            _ if ended => all.push("-a".to_owned()),
            // One that stands still does not see that its lease is over.
            Self::Docker | Self::Podman | Self::Nerdctl => all.extend(words(["--filter", "status=running"])),
            Self::Apple => {}
        }
        all
    }

    /// Ends a container at once and removes it, with what it kept apart from its own files.
    pub(super) fn remove(self) -> Vec<String> {
        match self {
            Self::Docker | Self::Nerdctl => words(["rm", "-f", "-v"]),
            Self::Podman => words(["rm", "-f", "-v", "-t", "0"]),
            Self::Apple => words(["delete", "--force"]),
        }
    }

    pub(super) fn make_network(self, name: &str, labels: &[String]) -> Vec<String> {
        let mut all = words(["network", "create"]);
        all.extend(labels.iter().flat_map(|it| ["--label".to_owned(), it.clone()]));
        all.push(name.to_owned());
        all
    }

    /// Lists networks with a label. Apple's lists all.
    pub(super) fn networks(self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        match self {
            Self::Docker | Self::Nerdctl => {
                words(["network", "ls", "--filter", &filter, "--format", "{{json .}}"])
            }
            Self::Podman => words(["network", "ls", "--filter", &filter, "--format", "json"]),
            Self::Apple => words(["network", "ls", "--format", "json"]),
        }
    }

    pub(super) fn remove_network(self, name: &str) -> Vec<String> {
        match self {
            Self::Docker | Self::Podman | Self::Nerdctl => words(["network", "rm", name]),
            Self::Apple => words(["network", "delete", name]),
        }
    }

    /// Says whether an image is on this computer.
    pub(super) fn has_image(self, image: &str) -> Vec<String> {
        words(["image", "inspect", image])
    }

    pub(super) fn pull(self, image: &str) -> Vec<String> {
        match self {
            Self::Docker | Self::Podman | Self::Nerdctl => words(["pull", "--quiet", image]),
            Self::Apple => words(["image", "pull", image]),
        }
    }
}

/// Accelerators, as they stand in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gpus {
    All,
    Count(u32),
    These(Vec<String>),
}

impl Gpus {
    pub(super) fn read(text: &str) -> Result<Self, ProviderError> {
        let these = text.strip_prefix("device=").map(|it| it.split(',').map(str::to_owned).collect());
        let plain = |all: &Vec<String>| {
            all.iter()
                .all(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-'))
        };
        match (text, text.parse(), these.filter(plain)) {
            ("all", _, _) => Ok(Self::All),
            (_, Ok(count @ 1..), _) => Ok(Self::Count(count)),
            (_, _, Some(these)) => Ok(Self::These(these)),
            _ => {
                let message = format!("`gpus` is {text:?}: it must be \"all\", a number, or \"device=0,2\"");
                Err(ProviderError::new(ProviderErrorKind::InvalidRequest, message))
            }
        }
    }
}

/// The labels of what is made for a pool: whose it is, and after when nobody misses it unless it runs.
pub(super) fn labels(pool: &PoolId, now: Duration, lease: Duration) -> [String; 2] {
    let until = now.as_secs().saturating_add(lease.max(SHORTEST).as_secs());
    [format!("{POOL}={pool}"), format!("{EXPIRES}={until}")]
}

fn words<const N: usize>(all: [&str; N]) -> Vec<String> {
    all.map(str::to_owned).into()
}

/// The port of the SSH server inside: no user needs to be root for it, and no image listens there by itself.
pub(super) const SSH_PORT: u16 = 2222;

/// The label that says whose a container or a network is.
pub(super) const POOL: &str = "skyward.pool";

/// The label that says after when it is nobody's unless it runs, in seconds since 1970.
pub(super) const EXPIRES: &str = "skyward.expires";

/// How many lines of a log are shown.
const LINES: &str = "12";

/// How long what is made for a pool is nobody else's at least, whatever the lease: its containers may be long in coming.
const SHORTEST: Duration = Duration::from_secs(300);

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
