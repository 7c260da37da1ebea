//! The calls of Lambda's interface, version 1, and what they carry. Of what it answers only what is used is
//! read; it may say more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::http::{Call, Limit, Service};

/// One request a second, and one launch in twelve.
pub(crate) const SERVICE: Service = Service {
    name: "Lambda",
    base_url: "https://cloud.lambda.ai",
    key: "LAMBDA_API_KEY",
    limits: &[Limit::all(1, PACE), Limit::of(LAUNCH, 1, Duration::from_secs(12))],
    said: super::map::said,
};

/// The endpoint with a limit of its own.
const LAUNCH: &str = "launch";

/// How long it takes to give back one more machine, where each is asked for alone.
pub(super) const PACE: Duration = Duration::from_secs(1);

/// Every success.
#[derive(Deserialize)]
pub(crate) struct Data<T> {
    pub(crate) data: T,
}

/// Every failure.
#[derive(Deserialize)]
pub(crate) struct Failed {
    pub(super) error: Refusal,
}

#[derive(Deserialize)]
pub(crate) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

pub(crate) type Types = BTreeMap<String, TypeItem>;

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TypeItem {
    pub(super) instance_type: InstanceType,
    #[serde(default)]
    pub(super) regions_with_capacity_available: Vec<Region>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct InstanceType {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) gpu_description: String,
    pub(super) price_cents_per_hour: u32,
    pub(super) specs: Specs,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Specs {
    pub(super) vcpus: u32,
    pub(super) memory_gib: u64,
    pub(super) storage_gib: u32,
    pub(super) gpus: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Region {
    pub(super) name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Machine {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) ip: Option<String>,
    pub(super) status: String,
}

/// A key, or a set of firewall rules.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Named {
    pub(super) id: String,
    pub(super) name: String,
    /// Where rules are good; a key is good everywhere.
    pub(super) region: Option<Region>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Launched {
    pub(super) instance_ids: Vec<String>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) region_name: String,
    pub(super) instance_type_name: String,
    /// Exactly one.
    pub(super) ssh_key_names: Vec<String>,
    pub(super) name: String,
    pub(super) tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) file_system_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) firewall_rulesets: Vec<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<Image>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) id: String,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Image {
    Id(String),
    Family(String),
}

#[derive(Serialize)]
struct NewKey<'a> {
    name: &'a str,
    public_key: &'a str,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct NewRuleset {
    pub(super) name: String,
    pub(super) region: String,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port_range: Option<[u16; 2]>,
    pub(super) source_network: String,
    pub(super) description: String,
}

#[derive(Serialize)]
struct Terminate<'a> {
    instance_ids: &'a [String],
}

pub(super) fn types() -> Call {
    Call::get("list instance types", "/api/v1/instance-types")
}

pub(super) fn machines() -> Call {
    Call::get("list instances", "/api/v1/instances")
}

pub(super) fn machine(id: &str) -> Call {
    Call::get("look at an instance", format!("/api/v1/instances/{id}"))
}

pub(super) fn launch(launch: &Launch) -> Call {
    Call::post("rent an instance", "/api/v1/instance-operations/launch", launch).at(LAUNCH)
}

/// What ends already ends no sooner and no later.
pub(super) fn terminate(ids: &[String]) -> Call {
    let body = Terminate { instance_ids: ids };
    Call::post("give instances back", "/api/v1/instance-operations/terminate", &body).repeatable()
}

pub(super) fn keys() -> Call {
    Call::get("list keys", "/api/v1/ssh-keys")
}

pub(super) fn create_key(name: &str, public_key: &str) -> Call {
    Call::post("store the pool's key", "/api/v1/ssh-keys", &NewKey { name, public_key })
}

pub(super) fn delete_key(id: &str) -> Call {
    Call::delete("delete the pool's key", format!("/api/v1/ssh-keys/{id}"))
}

pub(super) fn rulesets() -> Call {
    Call::get("list firewall rules", "/api/v1/firewall-rulesets")
}

pub(super) fn create_ruleset(new: &NewRuleset) -> Call {
    Call::post("make the pool's firewall rules", "/api/v1/firewall-rulesets", new)
}

pub(super) fn delete_ruleset(id: &str) -> Call {
    Call::delete("delete the pool's firewall rules", format!("/api/v1/firewall-rulesets/{id}"))
}
