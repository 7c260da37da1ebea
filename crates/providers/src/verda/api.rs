//! The calls of Verda's interface, version 1, and what they carry. Of what it answers only what is used is read;
//! it may say more. What is made is answered with its id alone, as a JSON text.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::{Call, Limit, Service};

/// 500 requests a minute, and 60 of each kind, 120 where machines or volumes are listed.
pub(crate) const SERVICE: Service = Service {
    name: "Verda",
    base_url: "https://api.verda.com",
    key: "VERDA_CLIENT_SECRET",
    limits: &[
        Limit::all(100, Duration::from_millis(150)),
        Limit::of(LIST, 30, Duration::from_millis(670)),
        Limit::of(SHOW, 20, Duration::from_millis(1500)),
        Limit::of(RENT, 20, Duration::from_millis(1500)),
        Limit::of(ACT, 20, PACE),
    ],
    said: super::map::said,
};

/// Where a token is got.
pub(super) const TOKEN: &str = "/v1/oauth2/token";

/// The endpoints with limits of their own.
const LIST: &str = "list";
const SHOW: &str = "show";
const RENT: &str = "rent";
const ACT: &str = "act";

#[derive(Clone, Debug, Deserialize)]
pub(super) struct InstanceType {
    pub(super) instance_type: String,
    pub(super) name: String,
    pub(super) model: String,
    pub(super) cpu: Cores,
    pub(super) memory: Size,
    pub(super) gpu: Option<Gpus>,
    /// Of all accelerators together.
    pub(super) gpu_memory: Option<Size>,
    /// Prices are texts here, and numbers elsewhere.
    pub(super) price_per_hour: String,
    pub(super) spot_price: Option<String>,
    #[serde(default)]
    pub(super) supported_os: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Cores {
    pub(super) number_of_cores: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Size {
    pub(super) size_in_gigabytes: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Gpus {
    pub(super) number_of_gpus: u32,
}

/// What one location has free.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Availability {
    pub(super) location_code: String,
    pub(super) availabilities: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Location {
    pub(super) code: String,
    pub(super) name: String,
    pub(super) country_code: String,
}

/// A key, or a script.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Named {
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Machine {
    pub(super) id: String,
    pub(super) hostname: String,
    pub(super) status: String,
    pub(super) ip: Option<String>,
    #[serde(default)]
    pub(super) is_spot: bool,
    pub(super) os_volume_id: Option<String>,
    #[serde(default)]
    pub(super) volume_ids: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Volume {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: String,
}

/// What became of one of the machines of an action.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Done {
    #[serde(rename = "instanceId")]
    pub(super) id: String,
    pub(super) status: String,
    pub(super) error: Option<String>,
    #[serde(rename = "statusCode")]
    pub(super) code: Option<f64>,
}

/// An entry of a machine's journal.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) error_message: Option<String>,
    #[serde(default)]
    pub(super) properties: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Balance {
    pub(super) amount: f64,
    pub(super) currency: String,
}

#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Debug, Serialize)]
pub(super) struct NewMachine {
    pub(super) instance_type: String,
    pub(super) image: String,
    pub(super) hostname: String,
    pub(super) description: String,
    pub(super) location_code: String,
    pub(super) ssh_key_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) startup_script_id: Option<String>,
    pub(super) is_spot: bool,
    pub(super) contract: &'static str,
    pub(super) os_volume: NewVolume,
    pub(super) tags: Vec<Tag>,
}

#[derive(Debug, Serialize)]
pub(super) struct NewVolume {
    pub(super) name: String,
    pub(super) size: u32,
    /// Refused for machines that stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on_spot_discontinue: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

pub(super) fn types() -> Call {
    Call::get("list kinds of machines", "/v1/instance-types").with("currency", "usd")
}

pub(super) fn availability(spot: bool) -> Call {
    Call::get("ask what is free", "/v1/instance-availability").with("is_spot", spot)
}

pub(super) fn locations() -> Call {
    Call::get("list locations", "/v1/locations")
}

pub(super) fn balance() -> Call {
    Call::get("ask for the balance", "/v1/balance")
}

pub(super) fn keys() -> Call {
    Call::get("list keys", KEYS)
}

pub(super) fn create_key(name: &str, key: &str) -> Call {
    Call::post("store the pool's key", KEYS, &json!({"name": name, "key": key}))
}

pub(super) fn delete_key(id: &str) -> Call {
    Call::delete("delete the pool's key", format!("{KEYS}/{id}"))
}

/// Those whose name has this in it. A pool has one, so that it is on the first page.
pub(super) fn scripts(name: &str) -> Call {
    Call::get("list scripts", SCRIPTS).with("name", name).with("pageSize", 100)
}

pub(super) fn create_script(name: &str, script: &str) -> Call {
    Call::post("store the pool's script", SCRIPTS, &json!({"name": name, "script": script}))
}

pub(super) fn delete_script(id: &str) -> Call {
    Call::delete("delete the pool's script", format!("{SCRIPTS}/{id}"))
}

/// All that have a tag, as `key=value`.
pub(super) fn machines(tag: &str) -> Call {
    Call::get("list machines", MACHINES).with("tag", tag).at(LIST)
}

pub(super) fn all_machines() -> Call {
    Call::get("list all machines", MACHINES).at(LIST)
}

pub(super) fn machine(id: &str) -> Call {
    Call::get("look at a machine", format!("{MACHINES}/{id}")).at(SHOW)
}

pub(super) fn rent(new: &NewMachine) -> Call {
    Call::post("rent a machine", MACHINES, new).at(RENT)
}

/// With its volumes: those that are not named would be kept, and cost. While it is made they are not known:
/// then nothing is said of them, which takes the one that it has of itself. What is deleted already stays so.
pub(super) fn delete(ids: &[&str], volumes: &[String]) -> Call {
    let ids = match ids {
        [id] => json!(id),
        ids => json!(ids),
    };
    let body = match volumes {
        [] => json!({"action": "delete", "id": ids}),
        volumes => {
            json!({"action": "delete", "id": ids, "volume_ids": volumes, "delete_permanently": true})
        }
    };
    Call::put("delete a machine", MACHINES, &body).repeatable().at(ACT)
}

pub(super) fn volumes() -> Call {
    Call::get("list volumes", "/v1/volumes").at(LIST)
}

pub(super) fn delete_volume(id: &str) -> Call {
    let path = format!("/v1/volumes/{id}");
    Call::delete("delete a volume", path).carrying(&json!({"is_permanent": true}))
}

pub(super) fn journal(id: &str) -> Call {
    Call::get("read a machine's journal", format!("/v1/journal/compute/{id}"))
}

/// How long it takes to delete one more machine, where each is asked for alone.
pub(super) const PACE: Duration = Duration::from_millis(1500);

/// How many machines are deleted with one request. The contract says no number.
pub(super) const MOST_DELETED: usize = 50;

const KEYS: &str = "/v1/ssh-keys";
const SCRIPTS: &str = "/v1/scripts";
const MACHINES: &str = "/v1/instances";
