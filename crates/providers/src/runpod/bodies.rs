//! Bodies of both of RunPod's interfaces, as they may come, for `tests/fuzz`.

use skyward_runtime::model::{InstanceState, Market};

use super::{Config, api, graphql, map, said as errors};
use crate::testing::{body, offers, parts, said};

/// Reads one.
pub(crate) fn check(bytes: &[u8]) {
    let Some((which, answer)) = parts(bytes) else { return };
    let config = Config::default();
    match which % 7 {
        0 => {
            let gpus = body::<api::Gpus>(&answer).into_iter().flat_map(|it| it.gpus);
            gpus.for_each(|it| offers(&map::gpu_offers(&it, 1, None, &config)));
        }
        1 => {
            let cpus = body::<api::Cpus>(&answer).into_iter().flat_map(|it| it.cpus);
            cpus.for_each(|it| offers(&map::cpu_offers(&it, &config)));
        }
        2 => {
            let pods = body::<api::Pods>(&answer).into_iter().flat_map(|it| it.pods);
            pods.for_each(|it| pod(&it));
        }
        3 => body::<api::Pod>(&answer).iter().for_each(pod),
        4 => {
            let floors = body::<graphql::Answered<graphql::Floors>>(&answer).map(|it| it.data.by_id());
            let Some((id, floor)) = floors.iter().flatten().next() else { return };
            let gpu = serde_json::json!({
                "id": id, "name": "A100 80GB", "manufacturer": "Nvidia", "memory": 80,
                "price": { "secure": 1.5, "community": 1.2 }, "maxCount": { "secure": 8, "community": 8 },
                "availability": "HIGH",
            });
            let gpu = serde_json::from_value(gpu).ok();
            gpu.iter().for_each(|it| offers(&map::gpu_offers(it, 1, Some(floor), &config)));
        }
        5 => {
            let rented = body::<graphql::Answered<graphql::Rented>>(&answer);
            drop(rented.and_then(|it| it.data.pod).map(|it| it.id));
            let registries = body::<api::Registries>(&answer).into_iter().flat_map(|it| it.registries);
            registries.for_each(|it| drop((it.id, it.name)));
        }
        _ => said(&answer, errors::said(&answer)),
    }
}

fn pod(pod: &api::Pod) {
    let instance = map::instance(pod, Market::OnDemand);
    assert_eq!(instance.id.as_str(), pod.id);
    let is_gone = matches!(instance.state, InstanceState::Gone { .. });
    assert!(map::lives(pod) || is_gone, "{pod:?} is gone and not");
}

/// Some in order.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        (
            0,
            0,
            r#"{"gpus":[{"id":"NVIDIA A100 80GB PCIe","name":"A100 PCIe","manufacturer":"Nvidia","memory":80,"price":{"secure":1.64,"community":1.19},"maxCount":{"secure":8,"community":8},"availability":"HIGH","dataCenters":[{"id":"EU-RO-1","availability":"LOW"}]}]}"#,
        ),
        (
            0,
            0,
            r#"{"gpus":[{"id":"x","name":"H100 SXM","manufacturer":"Nvidia","memory":4294967295,"price":{"secure":-1e300,"community":1e300},"maxCount":{"secure":0,"community":4294967295}}]}"#,
        ),
        (
            1,
            0,
            r#"{"cpus":[{"id":"cpu3c","name":"Compute","vcpu":{"min":2,"max":32},"ramGbPerVcpu":2.0,"price":{"securePerVcpu":0.03},"availability":"HIGH","dataCenters":[{"id":"EU-RO-1","availability":"HIGH"}]}]}"#,
        ),
        (
            2,
            0,
            r#"{"pods":[{"id":"p1","name":"skyward-p-0","status":"RUNNING","runtime":{"ports":[{"private":22,"public":40022,"ip":"203.0.113.9"}]}}]}"#,
        ),
        (3, 0, r#"{"id":"p1","name":"n","status":"EXITED","runtime":null}"#),
        (
            4,
            0,
            r#"{"data":{"gpuTypes":[{"id":"x","lowestPrice":{"minimumBidPrice":0.2,"minVcpu":8,"minMemory":60}}]}}"#,
        ),
        (5, 0, r#"{"data":{"podRentInterruptable":{"id":"p2"}}}"#),
        (5, 0, r#"{"registries":[{"id":"r","name":"n"}]}"#),
        (
            6,
            0,
            r#"{"errors":[{"message":"There are no longer any instances available","extensions":{"code":"SUPPLY_CONSTRAINT"}}]}"#,
        ),
        (6, 3, r#"{"detail":"request could not be processed","errors":["gpuIds: unknown"]}"#),
    ];
    texts.map(|(which, status, text)| [&[which, status][..], text.as_bytes()].concat()).to_vec()
}
