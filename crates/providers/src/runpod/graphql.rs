//! The older interface, by GraphQL, for what the newer one does not have: spot machines, and what
//! processors and memory come with accelerators. RunPod means to end it in 2027.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CloudType;
use crate::http::Call;

/// Every question.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<V> {
    operation_name: &'static str,
    query: &'static str,
    variables: V,
}

/// Every answer that has what was asked for.
#[derive(Deserialize)]
pub(super) struct Answered<T> {
    pub(super) data: T,
}

/// Every failure; its status may be that of a success.
#[derive(Deserialize)]
pub(super) struct Failed {
    pub(super) errors: Vec<Failure>,
}

#[derive(Deserialize)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) extensions: Option<Extensions>,
}

#[derive(Deserialize)]
pub(super) struct Extensions {
    pub(super) code: Option<String>,
}

/// The least that each kind of accelerator costs as a spot machine, and comes with.
#[derive(Deserialize)]
pub(super) struct Floors {
    #[serde(rename = "gpuTypes")]
    kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    id: String,
    #[serde(rename = "lowestPrice")]
    lowest: Option<Floor>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Floor {
    /// Dollars an hour for one accelerator; `None` where there are no spot machines.
    pub(super) minimum_bid_price: Option<f64>,
    /// Processors of the whole machine.
    pub(super) min_vcpu: Option<u32>,
    /// Memory of the whole machine, in GB.
    pub(super) min_memory: Option<u64>,
}

impl Floors {
    /// By the accelerator's id.
    pub(super) fn by_id(self) -> BTreeMap<String, Floor> {
        self.kinds.into_iter().filter_map(|it| Some((it.id, it.lowest?))).collect()
    }
}

/// What came of a bid.
#[derive(Deserialize)]
pub(super) struct Rented {
    #[serde(rename = "podRentInterruptable")]
    pub(super) pod: Option<RentedPod>,
}

#[derive(Deserialize)]
pub(super) struct RentedPod {
    pub(super) id: String,
}

impl Rented {
    /// One that was found in a list.
    pub(super) const fn found(id: String) -> Answered<Self> {
        Answered { data: Self { pod: Some(RentedPod { id }) } }
    }
}

#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewSpot {
    pub(super) name: String,
    pub(super) bid_per_gpu: f64,
    pub(super) cloud_type: &'static str,
    pub(super) container_disk_in_gb: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data_center_id: Option<String>,
    pub(super) docker_args: String,
    pub(super) env: Vec<Variable>,
    pub(super) gpu_count: u32,
    pub(super) gpu_type_id: String,
    pub(super) image_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_cuda_version: Option<String>,
    pub(super) ports: String,
    pub(super) support_public_ip: bool,
    /// A moment, as RFC 3339 writes it.
    pub(super) terminate_after: String,
    pub(super) volume_in_gb: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) volume_mount_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container_registry_auth_id: Option<String>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) key: &'static str,
    pub(super) value: String,
}

#[derive(Serialize)]
struct Lowest {
    lowest: LowestOf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LowestOf {
    gpu_count: u32,
    secure_cloud: bool,
}

#[derive(Serialize)]
struct Bid<'a> {
    bid: &'a NewSpot,
}

/// What spot machines with so many accelerators cost.
pub(super) fn spot_prices(count: u32, cloud: CloudType) -> Call {
    let secure_cloud = cloud == CloudType::Secure;
    let question = Question {
        operation_name: "SpotPrices",
        query: "query SpotPrices($lowest: GpuLowestPriceInput) { gpuTypes { id \
                lowestPrice(input: $lowest) { minimumBidPrice minVcpu minMemory } } }",
        variables: Lowest { lowest: LowestOf { gpu_count: count, secure_cloud } },
    };
    Call::post("list the prices of spot machines", PATH, &question).repeatable()
}

pub(super) fn rent_spot(bid: &NewSpot) -> Call {
    let question = Question {
        operation_name: "RentSpot",
        query: "mutation RentSpot($bid: PodRentInterruptableInput!) { podRentInterruptable(input: $bid) { id } }",
        variables: Bid { bid },
    };
    Call::post("rent a spot pod", PATH, &question)
}

/// Where all questions go.
const PATH: &str = "/graphql";
