//! The calls of Vast.ai's interface and what they carry. Of what it answers only what is used is read; it may
//! say more. Every path ends with a slash, as its own clients write it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::{Call, Limit, Service};

/// Each endpoint has a least time between two of its requests.
pub(crate) const SERVICE: Service = Service {
    name: "Vast.ai",
    base_url: "https://console.vast.ai",
    key: "VAST_API_KEY",
    limits: &[
        Limit::of(SEARCH, 1, Duration::from_millis(1500)),
        Limit::of(CREATE, 1, Duration::from_millis(4600)),
        Limit::of(DESTROY, 1, PACE),
        Limit::of(SHOW, 1, Duration::from_millis(2100)),
        Limit::of(LIST, 1, Duration::from_millis(1100)),
        Limit::of(KEY, 1, Duration::from_millis(1100)),
        Limit::of(OVERLAY, 1, Duration::from_millis(1100)),
    ],
    said: super::map::said,
};

/// The endpoints that have limits of their own.
const SEARCH: &str = "search";
const CREATE: &str = "create";
const DESTROY: &str = "destroy";
const SHOW: &str = "show";
const LIST: &str = "list";
const KEY: &str = "key";
const OVERLAY: &str = "overlay";

/// How many offers are asked for at once.
pub(super) const PER_SEARCH: u32 = 500;

/// How many instances a page of the list has at most.
const PER_PAGE: u32 = 25;

/// How long it takes to give back one more machine.
pub(super) const PACE: Duration = Duration::from_millis(3100);

#[derive(Deserialize)]
pub(super) struct Asks {
    /// Read one by one: one that nobody can read is no reason to lose the others.
    #[serde(default)]
    pub(super) offers: Vec<Value>,
}

/// What a host asks for a part of its machine.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ask {
    pub(super) id: u64,
    pub(super) machine_id: Option<u64>,
    pub(super) cluster_id: Option<u64>,
    pub(super) gpu_name: Option<String>,
    pub(super) num_gpus: Option<u32>,
    /// MB of each.
    pub(super) gpu_ram: Option<f64>,
    pub(super) cpu_arch: Option<String>,
    pub(super) cpu_cores_effective: Option<f64>,
    /// MB of the whole host, of which the ask's share is `gpu_frac`.
    pub(super) cpu_ram: Option<f64>,
    pub(super) gpu_frac: Option<f64>,
    pub(super) disk_space: Option<f64>,
    /// Dollars an hour with the disk that was asked for, and without one.
    pub(super) dph_total: Option<f64>,
    pub(super) dph_base: Option<f64>,
    /// Dollars an hour for the machine, without its disk.
    pub(super) min_bid: Option<f64>,
    /// Dollars for a GB and a month.
    pub(super) storage_cost: Option<f64>,
    pub(super) inet_up_cost: Option<f64>,
    pub(super) inet_down_cost: Option<f64>,
    pub(super) cuda_max_good: Option<f64>,
    pub(super) direct_port_count: Option<i64>,
    pub(super) geolocation: Option<String>,
    pub(super) reliability2: Option<f64>,
    pub(super) verification: Option<String>,
    pub(super) rentable: Option<bool>,
    pub(super) rented: Option<bool>,
}

/// What an instance that was asked for by its number is wrapped in; `null` when it is gone.
#[derive(Deserialize)]
pub(super) struct OneInstance {
    pub(super) instances: Option<Instance>,
}

#[derive(Deserialize)]
pub(super) struct Instances {
    #[serde(default)]
    pub(super) instances: Vec<Instance>,
    next_token: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Instance {
    pub(super) id: u64,
    pub(super) label: Option<String>,
    pub(super) actual_status: Option<String>,
    pub(super) intended_status: Option<String>,
    pub(super) cur_state: Option<String>,
    pub(super) next_state: Option<String>,
    pub(super) status_msg: Option<String>,
    pub(super) public_ipaddr: Option<String>,
    pub(super) ssh_host: Option<String>,
    pub(super) ssh_port: Option<i64>,
    pub(super) ports: Option<BTreeMap<String, Vec<HostPort>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HostPort {
    pub(super) host_port: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Created {
    pub(super) new_contract: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct User {
    pub(super) email: Option<String>,
    pub(super) balance: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct Overlay {
    pub(super) name: Option<String>,
    pub(super) cluster_id: Option<u64>,
    #[serde(default)]
    pub(super) instances: Vec<u64>,
}

/// Every failure. Some come with a 200.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Failed {
    pub(super) success: Option<bool>,
    pub(super) error: Option<String>,
    pub(super) msg: Option<String>,
    pub(super) detail: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Search {
    pub(super) rentable: Value,
    pub(super) rented: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verified: Option<Value>,
    pub(super) reliability: Value,
    pub(super) disk_space: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) direct_port_count: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) geolocation: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gpu_name: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) num_gpus: Option<Value>,
    /// From the price of the last one that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dph_total: Option<Value>,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) order: Vec<[&'static str; 2]>,
    pub(super) limit: u32,
    pub(super) allocated_storage: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Create {
    pub(super) image: String,
    pub(super) label: String,
    pub(super) disk: u32,
    pub(super) runtype: &'static str,
    pub(super) target_state: &'static str,
    pub(super) cancel_unavail: bool,
    pub(super) onstart: String,
    /// Dollars an hour that are bid. With it the machine is interruptible, without it it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) price: Option<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) env: BTreeMap<String, String>,
}

/// Looking changes nothing, though it is a post.
pub(super) fn search(search: &Search) -> Call {
    Call::post("search for offers", "/api/v0/bundles/", search).repeatable().at(SEARCH)
}

pub(super) fn create(ask: u64, create: &Create) -> Call {
    Call::put("rent a machine", format!("/api/v0/asks/{ask}/"), create).at(CREATE)
}

pub(super) fn instance(id: &str) -> Call {
    Call::get("look at a machine", format!("/api/v0/instances/{id}/")).at(SHOW)
}

pub(super) fn instances() -> Call {
    Call::get("list machines", "/api/v1/instances/").with("limit", PER_PAGE).at(LIST)
}

/// Those with this label alone.
pub(super) fn labelled(label: &str) -> Call {
    instances().with("select_filters", json!({"label": {"eq": label}}))
}

pub(super) fn destroy(id: u64) -> Call {
    Call::delete("destroy a machine", format!("/api/v0/instances/{id}/")).at(DESTROY)
}

/// A key that is let in already is let in once.
pub(super) fn let_in(id: u64, key: &str) -> Call {
    let path = format!("/api/v0/instances/{id}/ssh/");
    Call::post("let the pool's key in", path, &json!({"ssh_key": key})).repeatable().at(KEY)
}

pub(super) fn user() -> Call {
    Call::get("ask for the account", "/api/v0/users/current/")
}

pub(super) fn overlays() -> Call {
    Call::get("list private networks", OVERLAYS).at(OVERLAY)
}

pub(super) fn create_overlay(name: &str, cluster: u64) -> Call {
    let body = json!({"cluster_id": cluster, "name": name});
    Call::post("make the pool's private network", OVERLAYS, &body).at(OVERLAY)
}

/// What is in it already is in it once.
pub(super) fn join_overlay(name: &str, instance: u64) -> Call {
    let body = json!({"name": name, "instance_id": instance});
    Call::put("join the pool's private network", OVERLAYS, &body).repeatable().at(OVERLAY)
}

/// Destroys every machine that is still in it, too.
pub(super) fn delete_overlay(name: &str) -> Call {
    let body = json!({"overlay_name": name});
    Call::delete("delete the pool's private network", OVERLAYS).carrying(&body).at(OVERLAY)
}

const OVERLAYS: &str = "/api/v0/overlay/";

/// The call for the page after this one.
pub(super) fn next(call: &Call, page: &Instances) -> Option<Call> {
    page.next_token.as_ref().map(|it| call.clone().with("after_token", it))
}
