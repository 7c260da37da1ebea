//! From what programs print, here and on hosts, to our words; without waiting for anything.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use skyward_runtime::model::{Accelerator, Architecture, InstanceType, Offer, Price, Usd};

use super::NAME;

/// What `ssh -G` tells of a host, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) identity_files: Vec<PathBuf>,
    pub(super) identities_only: bool,
    /// As it is written: a path, `none`, or a variable.
    agent: Option<String>,
    pub(super) jump: Option<String>,
    pub(super) proxy_command: Option<String>,
    alias: Option<String>,
    pub(super) known_hosts: Vec<PathBuf>,
    pub(super) accepts_new: bool,
}

/// What a list says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// OpenSSH public key lines; none when it says nothing.
    Keys(Vec<String>),
    /// One of its keys is not to be trusted any more.
    Revoked,
}

/// What a host has, for one machine on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) slots: u32,
    pub(super) hourly: Usd,
    pub(super) kind: InstanceType,
}

/// What a script on a host said on its last line that is ours: a word, and what follows.
pub(super) fn answer(said: &str) -> Option<(&str, &str)> {
    let line = said.lines().rev().find_map(|it| it.strip_prefix("skyward "))?;
    Some(line.split_once(' ').unwrap_or((line, "")))
}

/// Reads what `ssh -G` prints: a name and its value on each line.
pub(super) fn settings(said: &str) -> Option<Settings> {
    let mut settings = Settings::default();
    let some = |value: &str| (value != "none").then(|| value.to_owned());
    for (name, value) in said.lines().filter_map(|it| it.trim().split_once(' ')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "hostname" => settings.host = value.to_owned(),
            "port" => settings.port = value.parse().ok()?,
            "user" => settings.user = value.to_owned(),
            "identityfile" => settings.identity_files.push(at_home(value)),
            "identitiesonly" => settings.identities_only = value == "yes",
            "identityagent" => settings.agent = Some(value.to_owned()),
            "proxyjump" => settings.jump = some(value),
            "proxycommand" => settings.proxy_command = some(value),
            "hostkeyalias" => settings.alias = some(value),
            "userknownhostsfile" | "globalknownhostsfile" => {
                settings.known_hosts.extend(value.split_whitespace().filter(|it| *it != "none").map(at_home));
            }
            "stricthostkeychecking" => {
                settings.accepts_new = ["accept-new", "no", "off", "false"].contains(&value);
            }
            _ => {}
        }
    }
    (!settings.host.is_empty() && settings.port != 0 && !settings.user.is_empty()).then_some(settings)
}

impl Settings {
    /// The name under which lists have it.
    pub(super) fn known_as(&self) -> String {
        match (&self.alias, self.port) {
            (Some(alias), _) => alias.clone(),
            (None, 22) => self.host.clone(),
            (None, port) => format!("[{}]:{port}", self.host),
        }
    }

    /// The agent's socket; `usual` is the one of the environment.
    pub(super) fn agent(&self, usual: Option<PathBuf>) -> Option<PathBuf> {
        match self.agent.as_deref() {
            None | Some("SSH_AUTH_SOCK") => usual,
            Some("none") => None,
            Some(variable) if variable.starts_with('$') => {
                std::env::var_os(variable.trim_matches(['$', '{', '}'])).map(PathBuf::from)
            }
            Some(path) => Some(at_home(path)),
        }
    }
}

/// A path that may begin with the user's home.
fn at_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// Reads what `ssh-keygen -F` prints: the lines of a list that are about one name.
pub(super) fn known(said: &str) -> Known {
    let mut keys = Vec::new();
    for line in said.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#')) {
        if line.starts_with("@revoked") {
            return Known::Revoked;
        }
        // Authorities of hosts' certificates vouch for keys that we do not ask for.
        let mut words = line.split_whitespace().skip(1);
        if let (false, Some(kind), Some(key)) = (line.starts_with('@'), words.next(), words.next()) {
            keys.push(format!("{kind} {key}"));
        }
    }
    Known::Keys(keys)
}

/// Reads what a host says of itself, for one of so many machines on it. The error is what is wrong, for people.
pub(super) fn probed(said: &str, slots: u32) -> Result<InstanceType, String> {
    let mut told: BTreeMap<&str, &str> = BTreeMap::new();
    let mut nvidia = Vec::new();
    for (name, value) in said.lines().filter_map(|it| it.strip_prefix("skyward ")?.split_once(' ')) {
        if name == "nvidia" {
            nvidia.push(value);
        } else {
            told.insert(name, value.trim());
        }
    }
    let system = told.get("system").copied().unwrap_or("no POSIX system");
    if system != "Linux" {
        return Err(format!("it runs {system}, and only Linux can be used"));
    }
    let number = |name| told.get(name).and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
    let share = |all: u64| all / u64::from(slots.max(1));
    let accelerator = graphics(&nvidia).or_else(|| told.get("amd").and_then(|it| amd(it)));
    Ok(InstanceType {
        vcpus: u32::try_from(share(number("vcpus"))).unwrap_or(u32::MAX).max(1),
        memory_mb: share(number("memory_kb").saturating_mul(1024) / 1_000_000),
        disk_gb: u32::try_from(share(number("disk_kb").saturating_mul(1024) / 1_000_000_000)).ok(),
        architecture: told.get("processor").and_then(|it| it.parse::<Architecture>().ok()),
        accelerator: accelerator.map(|it| of_slot(it, slots)),
        ..InstanceType::default()
    })
}

/// What is each machine's of a host's accelerators.
fn of_slot(mut accelerator: Accelerator, slots: u32) -> Accelerator {
    accelerator.count =
        skyward_runtime::model::accelerator::Count::of_parts(accelerator.count.parts() / slots.max(1));
    accelerator
}

/// NVIDIA's, each as `name, memory in MiB`. Of several kinds the first counts.
pub(crate) fn graphics(lines: &[&str]) -> Option<Accelerator> {
    let split = |it: &&str| {
        it.rsplit_once(',').map(|(name, memory)| (name.trim().to_owned(), memory.trim().parse().ok()))
    };
    let all: Vec<(String, Option<u32>)> = lines.iter().filter_map(split).collect();
    let (name, memory) = all.first()?;
    let count = all.iter().filter(|it| it.0 == *name).count();
    Some(named(name, *memory, count))
}

/// AMD's, as `rocm-smi` tells them: an object for each card.
fn amd(json: &str) -> Option<Accelerator> {
    let cards: BTreeMap<String, Value> = serde_json::from_str(json).ok()?;
    let field = |card: &Value, name: &str| {
        let fields = card.as_object()?.iter().find(|(it, _)| it.eq_ignore_ascii_case(name))?;
        fields.1.as_str().map(str::to_owned)
    };
    let all: Vec<_> = cards
        .values()
        .filter_map(|it| Some((field(it, "Card Series")?, field(it, "VRAM Total Memory (B)"))))
        .collect();
    let (name, memory) = all.first()?;
    let memory =
        memory.as_ref().and_then(|it| it.parse::<u64>().ok()).and_then(|it| u32::try_from(it >> 20).ok());
    Some(named(name, memory, all.iter().filter(|it| it.0 == *name).count()))
}

fn named(name: &str, memory_mib: Option<u32>, count: usize) -> Accelerator {
    let plain = name.trim_start_matches("NVIDIA ").trim_start_matches("AMD ");
    let mut accelerator = Accelerator::as_sold(name)
        .or_else(|_| Accelerator::as_sold(plain))
        .unwrap_or_else(|_| Accelerator::custom(plain));
    accelerator.memory_mib = memory_mib.or(accelerator.memory_mib);
    accelerator.count(u32::try_from(count).unwrap_or(u32::MAX))
}

/// What hosts have for rent: for each of them all that have at least as much and cost the same, so that hosts that
/// differ a little can be one pool's. The largest of these groups comes first, because of offers at one price the
/// first is tried first.
pub(super) fn offers(hosts: &[Found]) -> Vec<Offer> {
    let mut groups: Vec<(u32, Vec<&str>, &Found)> = Vec::new();
    for least in hosts {
        let members: Vec<_> = hosts.iter().filter(|it| is_at_least(it, least)).collect();
        let names: Vec<_> = members.iter().map(|it| it.name.as_str()).collect();
        if !groups.iter().any(|(_, known, _)| *known == names) {
            groups.push((members.iter().map(|it| it.slots).sum(), names, least));
        }
    }
    groups.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    let offer = |(number, (free, names, least)): (usize, &(u32, Vec<&str>, &Found))| {
        let name = if names.len() == 1 { least.name.clone() } else { format!("{} hosts", names.len()) };
        let kind = InstanceType { name, ..least.kind.clone() };
        Offer {
            id: format!("{number:04}"),
            stock: Some(*free),
            specific: BTreeMap::from([(HOSTS.to_owned(), names.join(" "))]),
            ..Offer::of(NAME, kind, Price::on_demand(least.hourly))
        }
    };
    groups.iter().enumerate().map(offer).collect()
}

fn is_at_least(host: &Found, least: &Found) -> bool {
    let (has, needs) = (&host.kind, &least.kind);
    let accelerators = match (&has.accelerator, &needs.accelerator) {
        (None, None) => true,
        (Some(has), Some(needs)) => {
            has.name == needs.name && has.memory_mib >= needs.memory_mib && has.count >= needs.count
        }
        _ => false,
    };
    host.hourly == least.hourly
        && has.architecture == needs.architecture
        && has.vcpus >= needs.vcpus
        && has.memory_mb >= needs.memory_mb
        && has.disk_gb >= needs.disk_gb
        && accelerators
}

/// The names of an offer's hosts, in what it says besides.
pub(super) const HOSTS: &str = "hosts";

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
