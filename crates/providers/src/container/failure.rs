//! What a runtime means when it refuses: the class of the failure, and what a person can do about it.

use skyward_runtime::provider::{ProviderError, ProviderErrorKind};

use super::command::Runtime;
use super::config::Config;

/// What is wrong, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its daemon does not answer.
    Down,
    /// This user may not talk to it.
    Permission,
    /// There is no such image, here or where it would be pulled from.
    NoImage,
    /// The registry wants to know who asks.
    Refused,
    /// The registry cannot be reached.
    Unreachable,
    /// The name is another's.
    NameTaken,
    /// The port of this computer is another's.
    PortTaken,
    /// There is nothing that gives accelerators to containers.
    NoGpus,
    /// No net is free for another network.
    NoNet,
    /// There is no such network.
    NoNetwork,
    /// The image has no shell.
    NoShell,
    /// The image has no such user.
    NoUser,
    /// There is no such device.
    NoDevice,
    /// The disk is full.
    DiskFull,
    /// There is no such container.
    NoContainer,
    /// Something else.
    Other,
}

impl Failure {
    /// What it is, by what the runtime said. The first that fits counts: what is said of a port or an image may hold
    /// the words of a later one.
    pub(super) fn of(said: &str) -> Self {
        let said = said.to_lowercase();
        // The name stands in the middle: `network x not found`.
        if said.split("network ").skip(1).any(|it| it.split_whitespace().nth(1) == Some("not")) {
            return Self::NoNetwork;
        }
        let is = |words: &&(&[&str], Self)| words.0.iter().any(|it| said.contains(it));
        SAID.iter().find(is).map_or(Self::Other, |it| it.1)
    }

    /// Whether what was said is that there is no such container as this one.
    pub(super) fn is_gone(said: &str, name: &str) -> bool {
        said.contains(name) && Self::of(said) == Self::NoContainer
    }

    const fn kind(self) -> ProviderErrorKind {
        match self {
            Self::Permission | Self::Refused => ProviderErrorKind::Permission,
            Self::NameTaken | Self::PortTaken | Self::NoNetwork => ProviderErrorKind::Conflict,
            Self::NoImage | Self::NoShell | Self::NoUser | Self::NoDevice => {
                ProviderErrorKind::InvalidRequest
            }
            Self::NoContainer => ProviderErrorKind::NotFound,
            Self::Down | Self::Unreachable | Self::NoGpus | Self::NoNet | Self::DiskFull | Self::Other => {
                ProviderErrorKind::Local
            }
        }
    }

    fn cure(self, runtime: Runtime, config: &Config) -> String {
        let Config { image, ssh_user, .. } = config;
        let command = runtime.command();
        match self {
            Self::Down => format!("its daemon does not answer: {}", runtime.start()),
            Self::Permission => match runtime {
                Runtime::Docker => {
                    "this user may not talk to its daemon: join the group (`sudo usermod -aG docker $USER`, then log \
                     in anew), or set up Docker without root"
                        .to_owned()
                }
                _ => format!("this user may not do that: run this program as root, or set up {command} without root"),
            },
            Self::NoImage => format!(
                "there is no image {image:?}, neither on this computer nor where it would come from: build it, load \
                 it, or name another as `image`; `{command} images` lists those that are here"
            ),
            Self::Refused => format!(
                "the registry does not give {image:?} to this user, or has no such image: log in (`{command} login`), \
                 or name another as `image`"
            ),
            Self::Unreachable => format!(
                "the registry of {image:?} cannot be reached: see whether this computer is online, or name an image \
                 that is here as `image`; `{command} images` lists those"
            ),
            Self::NameTaken => "another has the name: remove it, or set another `container_prefix`".to_owned(),
            Self::PortTaken => "another program has taken the port meanwhile; try again".to_owned(),
            Self::NoGpus => "nothing here gives accelerators to containers: install the NVIDIA Container Toolkit and \
                             set this runtime up for it (`sudo nvidia-ctk runtime configure`; for Podman, `sudo \
                             nvidia-ctk cdi generate`), or leave out `gpus`"
                .to_owned(),
            Self::NoNet => format!(
                "there is no room for another network: remove some (`{command} network prune`), or name one that is \
                 there as `network`"
            ),
            Self::NoNetwork => "the network is not there any more; try again, or see `network`".to_owned(),
            Self::NoShell => format!("{image:?} has no shell (`sh`), which is needed: name another as `image`"),
            Self::NoUser => format!("{image:?} has no user {ssh_user:?}: set `ssh_user`"),
            Self::NoDevice => "this computer does not have one of the `devices`".to_owned(),
            Self::DiskFull => format!("the disk is full: make room (`{command} system prune`)"),
            Self::NoContainer => "it was removed".to_owned(),
            Self::Other => format!("see whether `{command} run` works by hand"),
        }
    }

    /// As an error of the provider's.
    pub(super) fn error(self, what: &str, said: &str, runtime: Runtime, config: &Config) -> ProviderError {
        let (said, cure) = (last(said), self.cure(runtime, config));
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        ProviderError::new(self.kind(), format!("failed to {what} with {}: {cure}{said}", runtime.command()))
    }
}

/// The last of what was said, as one line.
pub(super) fn last(said: &str) -> String {
    let lines: Vec<_> = said.lines().map(str::trim).filter(|it| !it.is_empty() && !is_advice(it)).collect();
    let said = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" | ");
    let from = said.char_indices().rev().nth(MOST).map_or(0, |(at, _)| at);
    said.get(from..).unwrap_or_default().to_owned()
}

/// Docker adds a line to each refusal of a run that says nothing.
fn is_advice(line: &str) -> bool {
    line.starts_with("See '") || line.starts_with("Run '") || line.starts_with("Using default tag")
}

/// How many characters of what a runtime said are shown.
const MOST: usize = 600;

/// What runtimes say, in lower case.
const SAID: &[(&[&str], Failure)] = &[
    (
        &[
            "permission denied while trying to connect",
            "got permission denied",
            "permission denied: must be root",
            "rootless containerd not running",
            "dial unix /var/run/docker.sock: connect: permission denied",
        ],
        Failure::Permission,
    ),
    (
        &[
            "cannot connect to the docker daemon",
            "is the docker daemon running",
            "cannot connect to podman",
            "unable to connect to podman",
            "failed to connect to the docker api",
            "cannot access containerd socket",
            "error during connect",
            "apiserver is not running",
            "xpc connection error",
            "system service has been",
        ],
        Failure::Down,
    ),
    (
        &[
            "could not select device driver",
            "nvidia-container-cli",
            "unresolvable cdi devices",
            "--gpus",
            "failed to inject cdi",
            "nvidia.com/gpu",
            "gpu driver",
        ],
        Failure::NoGpus,
    ),
    (
        &[
            "port is already allocated",
            "address already in use",
            "port is already in use",
            "bind for 127.0.0.1",
            "ports are not available",
            "failed to bind host port",
            "failed to expose ports",
        ],
        Failure::PortTaken,
    ),
    (
        &[
            "is already in use by",
            "name is already used",
            "the container name",
            "name-store error",
            "already exists",
        ],
        Failure::NameTaken,
    ),
    (
        &[
            "pull access denied",
            "unauthorized",
            "authentication required",
            "denied: requested access",
            "access forbidden",
            "403 forbidden",
            "no basic auth credentials",
        ],
        Failure::Refused,
    ),
    (
        &[
            "dial tcp",
            "no such host",
            "i/o timeout",
            "tls handshake",
            "network is unreachable",
            "connection refused",
            "temporary failure in name resolution",
            "client.timeout",
            "context deadline exceeded",
            "pinging container registry",
            "server misbehaving",
            "connection reset",
            "proxyconnect",
        ],
        Failure::Unreachable,
    ),
    (
        &[
            "no such image",
            "image not known",
            "unable to find image",
            "manifest unknown",
            "manifest for",
            "repository does not exist",
            "name unknown",
            "invalid reference format",
            "did not resolve to an alias",
            "image not found",
            "not found: image",
            "failed to resolve reference",
        ],
        Failure::NoImage,
    ),
    (
        &["non-overlapping", "could not find an available", "fully subnetted", "no free network", "subnet"],
        Failure::NoNet,
    ),
    (&["unable to find network", "no such network", "network not found"], Failure::NoNetwork),
    (
        &["unable to find user", "no matching entries in passwd", "no such user", "unable to find group"],
        Failure::NoUser,
    ),
    (
        &["exec: \"sh\"", "executable file `sh` not found", "\"sh\": executable file not found"],
        Failure::NoShell,
    ),
    (&["error gathering device information", "no such device", "stat /dev/"], Failure::NoDevice),
    (&["no space left on device", "disk quota exceeded"], Failure::DiskFull),
    (
        &["no such container", "no container with name", "no such object", "container not found"],
        Failure::NoContainer,
    ),
];

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
