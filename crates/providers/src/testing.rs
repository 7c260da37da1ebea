//! What reads bytes from clouds, as functions of those bytes that assert what must hold; for `tests/fuzz`.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{DeserializeOwned, IgnoredAny};
use skyward_runtime::model::{InstanceState, Offer, Usd};
use skyward_runtime::testing::Decoder;

use crate::http::{Answer, Call, Said};
use crate::{container, digitalocean, lambda, runpod, vastai, verda};

/// Those of this crate.
pub const DECODERS: &[Decoder] = &[
    Decoder { name: "digitalocean-bodies", check: digitalocean_bodies, seeds: digitalocean_seeds },
    Decoder { name: "lambda-bodies", check: lambda_bodies, seeds: lambda_seeds },
    Decoder { name: "vastai-bodies", check: vastai::bodies::check, seeds: vastai::bodies::seeds },
    Decoder { name: "runpod-bodies", check: runpod::bodies::check, seeds: runpod::bodies::seeds },
    Decoder { name: "verda-bodies", check: verda::bodies::check, seeds: verda::bodies::seeds },
    Decoder { name: "container-words", check: container::words::check, seeds: container::words::seeds },
    Decoder { name: "http-headers", check: headers, seeds: header_seeds },
];

/// The status that a byte stands for.
const STATUSES: [u16; 12] = [200, 202, 204, 400, 401, 402, 403, 404, 409, 422, 429, 503];

/// The first byte says which body it is, the second the status.
pub(crate) fn parts(bytes: &[u8]) -> Option<(u8, Answer)> {
    let ([which, status], body) = bytes.split_first_chunk()?;
    let status = STATUSES.get(usize::from(*status) % STATUSES.len()).copied()?;
    Some((*which, Answer { status, headers: HeaderMap::new(), body: body.to_vec() }))
}

pub(crate) fn body<T: DeserializeOwned>(answer: &Answer) -> Option<T> {
    answer.json().ok()
}

pub(crate) fn offers(offers: &[Offer]) {
    for offer in offers {
        assert!(!offer.provider.is_empty());
        let free = Usd::ZERO;
        let price = [&offer.price.on_demand, &offer.price.spot];
        assert!(price.into_iter().flatten().all(|it| *it >= free), "somebody is paid for {offer:?}");
    }
}

pub(crate) fn said(answer: &Answer, said: Option<Said>) {
    let is_refused = said.is_some();
    assert!(!(is_refused && answer.status == 404 && answer.body.is_empty()), "an empty body has no words");
}

fn digitalocean_bodies(bytes: &[u8]) {
    use digitalocean::{Config, api, map};
    let Some((which, answer)) = parts(bytes) else { return };
    let config = Config::default();
    match which % 7 {
        0 => {
            let Some(page) = body::<api::Sizes>(&answer) else { return };
            page.sizes.iter().for_each(|it| offers(&map::offers(it, &config)));
            let call = api::sizes();
            drop::<Option<Call>>(api::next(&call, &page));
        }
        1 => {
            let page = body::<api::Droplets>(&answer);
            for droplet in page.into_iter().flat_map(|it| it.droplets) {
                let instance = map::instance(&droplet, &config);
                if let InstanceState::Running { ssh, address, .. } = instance.state {
                    assert_eq!(ssh.host.parse(), Ok(address));
                }
            }
        }
        2 => drop(body::<api::OneDroplet>(&answer)),
        3 => drop((body::<api::Keys>(&answer), body::<api::OneKey>(&answer))),
        4 => drop(body::<api::Firewalls>(&answer)),
        5 => drop((body::<api::OneAccount>(&answer), body::<IgnoredAny>(&answer))),
        _ => said(&answer, map::said(&answer)),
    }
}

fn digitalocean_seeds() -> Vec<Vec<u8>> {
    let texts = [
        (
            0,
            r#"{"sizes":[{"slug":"s-1","memory":1024,"vcpus":1,"disk":25,"price_hourly":0.00893,"regions":["nyc3"],"available":true,"description":"Basic","gpu_info":{"count":8,"model":"nvidia_h100","vram":{"amount":640,"unit":"gib"}}}],"links":{"pages":{"next":"https://x.invalid/v2/sizes?per_page=1&page=2"}}}"#,
        ),
        (
            0,
            r#"{"sizes":[{"slug":"s","memory":18446744073709551615,"vcpus":1,"disk":1,"price_hourly":-1e300,"available":true,"gpu_info":{"count":0,"model":"","vram":{"amount":0,"unit":"gib"}}}]}"#,
        ),
        (
            1,
            r#"{"droplets":[{"id":1,"name":"a","status":"active","networks":{"v4":[{"ip_address":"203.0.113.9","type":"public"}]}}]}"#,
        ),
        (2, r#"{"droplet":{"id":1,"name":"a","status":"new"}}"#),
        (3, r#"{"ssh_keys":[{"id":3,"name":"k"}],"links":{}}"#),
        (4, r#"{"firewalls":[{"id":"f","name":"n"}],"links":{"pages":{}}}"#),
        (5, r#"{"account":{"email":"a@b.invalid","status":"active","droplet_limit":25}}"#),
        (6, r#"{"id":"unprocessable_entity","message":"Size is not available in this region"}"#),
    ];
    let status = |which: u8| if which == 6 { 9 } else { 0 };
    texts.into_iter().map(|(which, text)| [&[which, status(which)][..], text.as_bytes()].concat()).collect()
}

fn lambda_bodies(bytes: &[u8]) {
    use lambda::{Config, api, map};
    let Some((which, answer)) = parts(bytes) else { return };
    let config = Config::default();
    match which % 5 {
        0 => {
            let types = body::<api::Data<api::Types>>(&answer);
            types.into_iter().flat_map(|it| it.data).for_each(|(_, it)| offers(&map::offers(&it, &config)));
        }
        1 => {
            let machines = body::<api::Data<Vec<api::Machine>>>(&answer);
            for machine in machines.into_iter().flat_map(|it| it.data) {
                let is_gone = matches!(map::instance(&machine, &config).state, InstanceState::Gone { .. });
                assert!(map::lives(&machine) || is_gone, "{machine:?} is gone and not");
            }
        }
        2 => drop(body::<api::Data<Vec<api::Named>>>(&answer)),
        3 => drop(body::<api::Data<api::Launched>>(&answer)),
        _ => said(&answer, map::said(&answer)),
    }
}

fn lambda_seeds() -> Vec<Vec<u8>> {
    let texts = [
        (
            0,
            0,
            r#"{"data":{"gpu_1x_a100":{"instance_type":{"name":"gpu_1x_a100","description":"1x A100 (40 GB PCIe)","gpu_description":"A100 (40 GB PCIe)","price_cents_per_hour":129,"specs":{"vcpus":30,"memory_gib":200,"storage_gib":512,"gpus":1}},"regions_with_capacity_available":[{"name":"us-east-1"}]}}}"#,
        ),
        (
            1,
            0,
            r#"{"data":[{"id":"i","name":"n","ip":"203.0.113.9","status":"active"},{"id":"j","status":"preempted"}]}"#,
        ),
        (2, 0, r#"{"data":[{"id":"i","name":"n"}]}"#),
        (3, 0, r#"{"data":{"instance_ids":["i"]}}"#),
        (
            4,
            3,
            r#"{"error":{"code":"instance-operations/launch/insufficient-capacity","message":"None left","suggestion":"Later"}}"#,
        ),
        (4, 6, "<html>no</html>"),
    ];
    texts.map(|(which, status, text)| [&[which, status][..], text.as_bytes()].concat()).to_vec()
}

/// Header lines, a name and a value each.
fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|it| *it == b'\n').take(16) {
        let mut parts = line.splitn(2, |it| *it == b':');
        let name = parts.next().and_then(|it| HeaderName::from_bytes(it).ok());
        let value = parts.next().and_then(|it| HeaderValue::from_bytes(it).ok());
        headers.extend(name.zip(value));
    }
    let answer = Answer { status: 429, headers, body: Vec::new() };
    let (early, late) = (answer.wait(0), answer.wait(1_900_000_000));
    assert_eq!(early.is_some(), late.is_some(), "whether to wait depends on no clock");
    assert!(late <= early.map(|it| it.max(Duration::ZERO)), "later there is less to wait");
}

fn header_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "retry-after: 7",
        "Retry-After: Fri, 15 Jan 2027 08:00:30 GMT",
        "ratelimit-remaining: 0\nratelimit-reset: 1800000012",
        "x-ratelimit-remaining: 0\nx-ratelimit-reset: 3.5",
        "retry-after: 18446744073709551616\nx-rate-limit-remaining: 0\nx-rate-limit-reset: 99",
    ];
    texts.map(|it| it.as_bytes().to_vec()).to_vec()
}
