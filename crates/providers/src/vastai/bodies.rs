//! Bodies of Vast.ai, as they may come, for `tests/fuzz`.

use serde_json::Value;
use skyward_runtime::model::{InstanceState, Market};

use super::{Config, api, map, market};
use crate::testing::{body, offers, parts, said};

/// Reads one.
pub(crate) fn check(bytes: &[u8]) {
    let Some((which, answer)) = parts(bytes) else { return };
    let config = Config::default();
    match which % 7 {
        0 => {
            let asks = body::<api::Asks>(&answer).into_iter().flat_map(|it| it.offers);
            let asks: Vec<api::Ask> = asks.filter_map(|it| serde_json::from_value(it).ok()).collect();
            let (all, refused) = market::offers(&asks, &config);
            offers(&all);
            assert!(all.len() + refused.len() <= asks.len(), "there are more offers than asks");
            let Some(wanted) = all.first() else { return };
            let likes = market::likes(wanted, Market::OnDemand, all.clone());
            let price = |it: &skyward_runtime::model::Offer| it.price.on_demand;
            assert!(likes.iter().all(|it| price(it) <= price(wanted)), "a like costs more");
        }
        1 => {
            let Some(page) = body::<api::Instances>(&answer) else { return };
            drop(api::next(&api::instances(), &page));
            page.instances.iter().for_each(|it| instance(it, &config));
        }
        2 => {
            let one = body::<api::OneInstance>(&answer).and_then(|it| it.instances);
            one.iter().for_each(|it| instance(it, &config));
        }
        3 => drop(body::<api::Created>(&answer).map(|it| it.new_contract)),
        4 => drop(body::<api::User>(&answer).map(|it| (it.email, it.balance))),
        5 => {
            let overlays = body::<Vec<api::Overlay>>(&answer).into_iter().flatten();
            overlays.for_each(|it| drop((it.name, it.cluster_id, it.instances)));
        }
        _ => {
            said(&answer, map::said(&answer));
            drop(body::<Value>(&answer));
        }
    }
}

fn instance(instance: &api::Instance, config: &Config) {
    if let InstanceState::Running { ssh, .. } = map::instance(instance, config).state {
        assert!(!ssh.host.trim().is_empty(), "{instance:?} runs nowhere");
    }
}

/// Some in order.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        (
            0,
            0,
            r#"{"offers":[{"id":7,"machine_id":3,"gpu_name":"RTX 4090","num_gpus":1,"gpu_ram":24564.0,"cpu_arch":"amd64","cpu_cores_effective":16.0,"cpu_ram":128000.0,"gpu_frac":0.5,"disk_space":400.0,"dph_total":0.41,"dph_base":0.4,"min_bid":0.2,"storage_cost":0.15,"inet_up_cost":0.01,"inet_down_cost":0.01,"cuda_max_good":12.6,"direct_port_count":20,"geolocation":"Sweden, SE","reliability2":0.998,"verification":"verified","rentable":true,"rented":false},7]}"#,
        ),
        (
            0,
            0,
            r#"{"offers":[{"id":8,"gpu_name":"H100 SXM","num_gpus":8,"gpu_ram":1e300,"dph_total":-1e300,"min_bid":1e-300,"cpu_ram":-1.0,"reliability2":1.0,"cuda_max_good":12.6,"direct_port_count":9,"verification":"verified","rentable":true}]}"#,
        ),
        (
            1,
            0,
            r#"{"instances":[{"id":5,"label":"skyward-p-0","actual_status":"running","intended_status":"running","cur_state":"running","next_state":"running","status_msg":"","public_ipaddr":"203.0.113.9 ","ssh_host":"ssh4.example.invalid","ssh_port":20022,"ports":{"22/tcp":[{"HostIp":"0.0.0.0","HostPort":"40022"}]}}],"next_token":"more"}"#,
        ),
        (
            2,
            0,
            r#"{"instances":{"id":5,"cur_state":"stopped","intended_status":"stopped","next_state":"stopped"}}"#,
        ),
        (2, 0, r#"{"instances":null}"#),
        (3, 0, r#"{"success":true,"new_contract":77}"#),
        (4, 0, r#"{"email":"a@b.invalid","balance":12.5}"#),
        (5, 0, r#"[{"name":"skyward-p-1","cluster_id":1,"instances":[5]}]"#),
        (6, 0, r#"{"success":false,"error":"no_such_ask","msg":"Instance type by id 7 is not available."}"#),
        (6, 10, r#"{"detail":"API requests too frequent endpoint threshold=4.5"}"#),
    ];
    texts.map(|(which, status, text)| [&[which, status][..], text.as_bytes()].concat()).to_vec()
}
