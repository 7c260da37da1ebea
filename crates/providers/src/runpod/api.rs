//! The calls of RunPod's interfaces and what they carry: version 2 of the one by REST for all but spot
//! machines, which only the one by GraphQL has. Of what they answer only what is used is read; they may say
//! more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CloudType;
use crate::http::{Call, Limit, Service};

pub(super) use super::graphql::{Answered, Floor, Floors, NewSpot, Rented, Variable, rent_spot, spot_prices};

/// Sixty requests a minute, 3,000 an hour and 50,000 a day: this limit stays below all three.
pub(crate) const SERVICE: Service = Service {
    name: "RunPod",
    base_url: "https://api.runpod.io",
    key: "RUNPOD_API_KEY",
    limits: &[Limit::all(25, PACE)],
    said: super::said::said,
};

/// How long it takes to give back one more machine.
pub(super) const PACE: Duration = Duration::from_millis(1750);

#[derive(Deserialize)]
pub(super) struct Gpus {
    pub(super) gpus: Vec<Gpu>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Gpu {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) manufacturer: String,
    /// Of one, in GB.
    pub(super) memory: u32,
    pub(super) price: ByCloud<f64>,
    #[serde(rename = "maxCount")]
    pub(super) most: ByCloud<u32>,
    pub(super) availability: Option<String>,
    #[serde(default, rename = "dataCenters")]
    pub(super) data_centers: Vec<DataCenter>,
}

/// One for each of the two clouds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct ByCloud<T> {
    secure: T,
    community: T,
}

impl<T: Copy> ByCloud<T> {
    pub(super) const fn of(&self, cloud: CloudType) -> T {
        match cloud {
            CloudType::Secure => self.secure,
            CloudType::Community => self.community,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct DataCenter {
    pub(super) id: String,
    pub(super) availability: String,
}

#[derive(Deserialize)]
pub(super) struct Cpus {
    pub(super) cpus: Vec<Cpu>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Cpu {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) vcpu: Bounds,
    #[serde(rename = "ramGbPerVcpu")]
    pub(super) ram: f64,
    pub(super) price: CpuPrice,
    pub(super) availability: Option<String>,
    #[serde(default, rename = "dataCenters")]
    pub(super) data_centers: Vec<DataCenter>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Bounds {
    pub(super) min: u32,
    pub(super) max: u32,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct CpuPrice {
    #[serde(rename = "securePerVcpu")]
    pub(super) secure: f64,
}

#[derive(Deserialize)]
pub(super) struct Pods {
    pub(super) pods: Vec<Pod>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pod {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) runtime: Option<Runtime>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Runtime {
    #[serde(default)]
    pub(super) ports: Vec<Port>,
}

/// A port of the container, and where it is reached.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Port {
    pub(super) private: Option<u16>,
    pub(super) public: Option<u16>,
    pub(super) ip: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Registries {
    pub(super) registries: Vec<Registry>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Registry {
    pub(super) id: String,
    pub(super) name: String,
}

/// A failure, by REST.
#[derive(Deserialize)]
pub(super) struct Problem {
    pub(super) detail: String,
    #[serde(default)]
    pub(super) errors: Vec<String>,
}

#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewPod {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) args: String,
    pub(super) disk: u32,
    pub(super) env: BTreeMap<&'static str, String>,
    pub(super) ports: Vec<String>,
    pub(super) cloud: &'static str,
    #[serde(flatten)]
    pub(super) machine: NewMachine,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) data_center_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mounts: Option<Mounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) global_networking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registry: Option<String>,
}

/// What a pod computes with.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum NewMachine {
    #[serde(rename_all = "camelCase")]
    Gpu {
        id: String,
        count: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        min_cuda_version: Option<String>,
    },
    #[serde(rename_all = "camelCase")]
    Cpu { id: String, vcpu_count: u32 },
}

#[derive(Debug, Serialize, PartialEq)]
pub(super) struct Mounts {
    pub(super) persistent: Persistent,
}

#[derive(Debug, Serialize, PartialEq)]
pub(super) struct Persistent {
    pub(super) size: u32,
    pub(super) path: String,
}

/// What is for rent with so many accelerators on each pod.
pub(super) fn gpus(count: u32, cloud: CloudType) -> Call {
    catalog("list accelerators", "/v2/catalog/gpus").with("count", count).with("cloud", cloud_name(cloud))
}

pub(super) fn cpus() -> Call {
    catalog("list processors", "/v2/catalog/cpus")
}

fn catalog(what: &'static str, path: &str) -> Call {
    Call::get(what, path).with("include", "AVAILABILITY").with("product", "POD")
}

pub(super) fn pods() -> Call {
    Call::get("list pods", "/v2/pods")
}

pub(super) fn pod(id: &str) -> Call {
    Call::get("look at a pod", format!("/v2/pods/{id}"))
}

pub(super) fn create_pod(new: &NewPod) -> Call {
    Call::post("rent a pod", "/v2/pods", new)
}

pub(super) fn delete_pod(id: &str) -> Call {
    Call::delete("delete a pod", format!("/v2/pods/{id}"))
}

pub(super) fn registries() -> Call {
    Call::get("list the credentials of registries", "/v2/registries")
}

/// A cloud's name in requests.
pub(super) const fn cloud_name(cloud: CloudType) -> &'static str {
    match cloud {
        CloudType::Secure => "SECURE",
        CloudType::Community => "COMMUNITY",
    }
}
