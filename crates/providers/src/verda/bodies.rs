//! Bodies of Verda, as they may come, for `tests/fuzz`.

use skyward_runtime::model::InstanceState;

use super::map::Catalog;
use super::{Config, api, map};
use crate::testing::{body, offers, parts, said};

/// Reads one.
pub(crate) fn check(bytes: &[u8]) {
    let Some((which, answer)) = parts(bytes) else { return };
    let config = Config::default();
    match which % 7 {
        0 => {
            let Some(types) = body::<Vec<api::InstanceType>>(&answer) else { return };
            let all = types.iter().map(|it| it.instance_type.clone()).collect();
            let stays = vec![api::Availability { location_code: "FIN-01".to_owned(), availabilities: all }];
            let locations = Vec::new();
            offers(&Catalog { types, spot: stays.clone(), stays, locations }.offers(&config));
        }
        1 => {
            let Some(stays) = body::<Vec<api::Availability>>(&answer) else { return };
            let types = serde_json::from_str(TYPES).unwrap_or_default();
            let locations = Vec::new();
            offers(&Catalog { types, spot: Vec::new(), stays, locations }.offers(&config));
        }
        2 => {
            for machine in body::<Vec<api::Machine>>(&answer).into_iter().flatten() {
                let state = map::instance(&machine, &[], &config).state;
                let is_gone = matches!(state, InstanceState::Gone { .. });
                assert!(map::lives(&machine) || is_gone, "{machine:?} is gone and not");
                let volumes = map::volumes(&machine);
                assert!(volumes.is_sorted_by(|one, next| one < next), "{volumes:?} are not each once");
            }
        }
        3 => {
            let (Some(journal), Ok(machine)) =
                (body::<Vec<api::Entry>>(&answer), serde_json::from_str::<api::Machine>(MACHINE))
            else {
                return;
            };
            assert!(matches!(map::instance(&machine, &journal, &config).state, InstanceState::Gone { .. }));
        }
        4 => {
            for done in body::<Vec<api::Done>>(&answer).into_iter().flatten() {
                assert_eq!(map::done(&done).is_err(), done.status == "error");
            }
            for volume in body::<Vec<api::Volume>>(&answer).into_iter().flatten() {
                drop((map::remains(&volume), volume.id, volume.name));
            }
        }
        5 => {
            drop(body::<Vec<api::Location>>(&answer));
            drop((body::<api::Balance>(&answer), body::<Vec<api::Named>>(&answer)));
        }
        _ => said(&answer, map::said(&answer)),
    }
}

const TYPES: &str = r#"[{"instance_type":"1A100.22V","name":"A100 SXM4 80GB","model":"A100","cpu":{"number_of_cores":22},"memory":{"size_in_gigabytes":120},"gpu":{"number_of_gpus":1},"gpu_memory":{"size_in_gigabytes":80},"price_per_hour":"1.29","spot_price":"0.65","supported_os":["ubuntu-24.04-cuda-12.8-open"]}]"#;

const MACHINE: &str = r#"{"id":"m","hostname":"h","status":"discontinued","is_spot":true}"#;

/// Some in order.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        (0, 0, TYPES),
        (
            0,
            0,
            r#"[{"instance_type":"x","name":"H100 SXM5 80GB","model":"H100","cpu":{"number_of_cores":0},"memory":{"size_in_gigabytes":1e300},"gpu":{"number_of_gpus":8},"gpu_memory":{"size_in_gigabytes":-1},"price_per_hour":"-1e9","spot_price":"9e99"}]"#,
        ),
        (
            1,
            0,
            r#"[{"location_code":"FIN-01","availabilities":["1A100.22V"]},{"location_code":"FIN-02","availabilities":[]}]"#,
        ),
        (
            2,
            0,
            r#"[{"id":"m","hostname":"skyward-p-0","status":"running","ip":"203.0.113.9","is_spot":false,"os_volume_id":"v","volume_ids":["v","w"]}]"#,
        ),
        (
            3,
            0,
            r#"[{"error_message":null,"properties":{"delete_reason":"spot_eviction"}},{"error_message":"no"}]"#,
        ),
        (4, 0, r#"[{"instanceId":"m","status":"error","error":"it is provisioning","statusCode":403}]"#),
        (4, 0, r#"[{"id":"v","name":"n","status":"attached"}]"#),
        (5, 0, r#"[{"code":"FIN-01","name":"Finland 1","country_code":"FI"}]"#),
        (5, 0, r#"{"amount":12.5,"currency":"usd"}"#),
        (6, 11, r#"{"code":"service_unavailable","message":"There is no capacity"}"#),
        (6, 6, r#"{"code":"forbidden_action","message":"Instance is discontinued"}"#),
    ];
    texts.map(|(which, status, text)| [&[which, status][..], text.as_bytes()].concat()).to_vec()
}
