//! From what the runtimes print to our words, without waiting for anything.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;
use skyward_runtime::model::Architecture;

use super::command::{EXPIRES, POOL, Runtime, SSH_PORT};

/// What a runtime has, and how far it is from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) vcpus: Option<u32>,
    pub(super) memory_mb: Option<u64>,
    pub(super) architecture: Option<Architecture>,
    /// Whether the addresses of its containers can be reached from this computer's own network.
    pub(super) reaches: bool,
    /// What it says is wrong with it, if anything.
    pub(super) trouble: Option<String>,
}

/// A container as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) life: Life,
    /// The port of this computer that leads to its SSH server.
    pub(super) port: Option<u16>,
    /// Its address on its network.
    pub(super) address: Option<IpAddr>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Beginning,
    Running,
    Ended {
        /// The exit code of its first process, where it is told.
        code: Option<i64>,
        /// It was ended because it used more memory than it may.
        out_of_memory: bool,
    },
}

/// A container or a network in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    /// Whether it is a container that runs.
    pub(super) runs: bool,
    /// Whether it is one that stands still, and so does not see that its lease is over.
    pub(super) is_paused: bool,
    labels: BTreeMap<String, String>,
}

impl Listed {
    /// Whose it is.
    pub(super) fn pool(&self) -> Option<&str> {
        self.labels.get(POOL).map(String::as_str)
    }

    /// Whether it is nobody's any more, now that so many seconds have passed since 1970.
    pub(super) fn is_stale(&self, now: u64) -> bool {
        let until = self.labels.get(EXPIRES).and_then(|it| it.parse::<u64>().ok());
        self.pool().is_some() && !self.runs && until.is_some_and(|it| it < now)
    }
}

/// Which runtime it is, whatever it is called, and what it has. `None` when it says nothing that we know.
pub(super) fn info(runtime: Runtime, said: &str, is_linux: bool) -> Option<(Runtime, Info)> {
    if runtime == Runtime::Apple {
        return Some((runtime, Info { reaches: true, ..Info::default() }));
    }
    let said: Value = serde_json::from_str(said.trim()).ok()?;
    let number = |value: &Value| value.as_u64();
    // Podman may be installed under Docker's name.
    if let Some(host) = said.get("host").filter(|it| it.is_object()) {
        let is = |path: &str| host.pointer(path).and_then(Value::as_bool).unwrap_or(false);
        let info = Info {
            vcpus: host.get("cpus").and_then(number).and_then(|it| u32::try_from(it).ok()),
            memory_mb: host.get("memTotal").and_then(number).map(|it| it / 1_000_000),
            architecture: text(host, "/arch").and_then(|it| it.parse().ok()),
            reaches: is_linux && !is("/security/rootless") && !is("/serviceIsRemote"),
            trouble: None,
        };
        return Some((Runtime::Podman, info));
    }
    let troubles = said.get("ServerErrors").and_then(Value::as_array).into_iter().flatten();
    let troubles: Vec<_> = troubles.filter_map(Value::as_str).collect();
    let secured = said.get("SecurityOptions").and_then(Value::as_array).into_iter().flatten();
    let is_rootless = secured.filter_map(Value::as_str).any(|it| it.contains("rootless"));
    let is_desktop = text(&said, "/OperatingSystem").is_some_and(|it| it.contains("Desktop"));
    let info = Info {
        vcpus: said.get("NCPU").and_then(number).and_then(|it| u32::try_from(it).ok()),
        memory_mb: said.get("MemTotal").and_then(number).map(|it| it / 1_000_000),
        architecture: text(&said, "/Architecture").and_then(|it| it.parse().ok()),
        reaches: is_linux && !is_rootless && !is_desktop,
        trouble: (!troubles.is_empty()).then(|| troubles.join("; ")),
    };
    Some((runtime, info))
}

/// What a container is like. `None` when it is not there, or nothing is said that we know.
pub(super) fn seen(runtime: Runtime, said: &str) -> Option<Seen> {
    let said: Value = serde_json::from_str(said.trim()).ok()?;
    let container = said.get(0)?;
    match runtime {
        Runtime::Docker | Runtime::Podman | Runtime::Nerdctl => docker(container),
        Runtime::Apple => apple(container),
    }
}

fn docker(container: &Value) -> Option<Seen> {
    let state = container.get("State")?;
    let life = match text(state, "/Status")? {
        "created" | "configured" | "initialized" | "restarting" => Life::Beginning,
        // One that stands still is told apart by its silence.
        "running" | "paused" | "stopping" | "pausing" => Life::Running,
        _ => Life::Ended {
            code: state.get("ExitCode").and_then(Value::as_i64),
            out_of_memory: state.get("OOMKilled").and_then(Value::as_bool).unwrap_or(false),
        },
    };
    let settings = container.get("NetworkSettings");
    let bound = settings.and_then(|it| it.get("Ports")?.get(format!("{SSH_PORT}/tcp"))?.as_array());
    let ports = bound.into_iter().flatten().filter_map(|it| text(it, "/HostPort")?.parse().ok());
    let networks = settings.and_then(|it| it.get("Networks")?.as_object());
    let addresses = networks.into_iter().flatten().filter_map(|(_, it)| text(it, "/IPAddress")?.parse().ok());
    Some(Seen { life, port: ports.into_iter().next(), address: addresses.into_iter().next() })
}

fn apple(container: &Value) -> Option<Seen> {
    // Up to 0.12 the state is a word, after that it is a part of an object.
    let state = text(container, "/status/state").or_else(|| text(container, "/status"))?;
    let life = match state {
        "running" | "stopping" => Life::Running,
        "stopped" => Life::Ended { code: None, out_of_memory: false },
        _ => Life::Beginning,
    };
    let published = container.pointer("/configuration/publishedPorts").and_then(Value::as_array);
    let ours = |it: &&Value| it.get("containerPort").and_then(Value::as_u64) == Some(u64::from(SSH_PORT));
    let port = published.into_iter().flatten().find(ours).and_then(|it| it.get("hostPort")?.as_u64());
    let networks = container.pointer("/status/networks").or_else(|| container.get("networks"));
    let addresses = networks.and_then(Value::as_array).into_iter().flatten();
    let mut addresses = addresses.filter_map(|it| text(it, "/ipv4Address")?.split('/').next()?.parse().ok());
    Some(Seen { life, port: port.and_then(|it| u16::try_from(it).ok()), address: addresses.next() })
}

/// The containers or networks of a list: an array, or an object on each line. `None` when it is neither.
pub(super) fn listed(said: &str) -> Option<Vec<Listed>> {
    let said = said.trim();
    let all: Vec<Value> = if said.starts_with('[') {
        serde_json::from_str(said).ok()?
    } else {
        said.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok()?
    };
    Some(all.iter().filter_map(one).collect())
}

fn one(value: &Value) -> Option<Listed> {
    let names = ["/Names", "/Names/0", "/Name", "/name", "/id", "/configuration/id"];
    let name = names.iter().find_map(|it| text(value, it))?.trim_start_matches('/').to_owned();
    let state = ["/State", "/status/state", "/status", "/Status"].iter().find_map(|it| text(value, it));
    let is = |all: &[&str]| state.is_some_and(|state| all.iter().any(|it| state.starts_with(it)));
    let (runs, is_paused) = (is(&["running", "stopping", "Up"]), is(&["paused", "pausing", "Paused"]));
    let labels = ["/Labels", "/labels", "/configuration/labels", "/config/labels"];
    let labels = labels.iter().find_map(|it| value.pointer(it)).map(read_labels).unwrap_or_default();
    Some(Listed { name, runs, is_paused, labels })
}

/// Labels as an object, or as `a=b,c=d`.
fn read_labels(labels: &Value) -> BTreeMap<String, String> {
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    match labels {
        Value::Object(all) => {
            all.iter().filter_map(|(name, value)| Some(own(name, value.as_str()?))).collect()
        }
        Value::String(all) => {
            all.split(',').filter_map(|it| it.split_once('=')).map(|(name, value)| own(name, value)).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path)?.as_str()
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
