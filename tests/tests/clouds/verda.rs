//! Verda's ways, as far as its contract and its documents tell them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use skyward::Secret;
use skyward::provider::{InstanceState, Offer, ProviderErrorKind as Kind, Request};
use skyward_providers::cloud::Account;
use skyward_providers::http::Access;
use skyward_providers::verda::{Config, Verda as Provider};
use skyward_runtime::model::accelerator::Form;
use skyward_runtime::model::{
    Accelerator, Architecture, BillingUnit, InstanceType, Market, Price, Usd, accelerators,
};
use skyward_runtime::usd;

use crate::checks::{rented_machines_are_given_back_by_their_ids, request};
use crate::contract::fails_with;
use crate::fake::{Condition, Face, Fake, Fault};
use crate::server::{Reply, Seen};

#[derive(Default)]
pub(crate) struct Verda {
    /// No list has any machine.
    blind: bool,
    /// How many deletions are refused because the machine is still being made.
    refuses: u32,
    /// How many deletions are answered as if there were no such machine.
    unheard: u32,
    /// Machines are accepted, and then there is no room for them.
    full: bool,
    /// The token of the moment has this number.
    token: u32,
    next: u32,
    machines: BTreeMap<String, Machine>,
    volumes: BTreeMap<String, String>,
    keys: BTreeMap<String, (String, String)>,
    scripts: BTreeMap<String, (String, String)>,
}

struct Machine {
    body: Value,
    status: &'static str,
    address: Option<IpAddr>,
    key: String,
    volume: String,
}

fn kind(name: &str, model: &str, gpus: u32, price: &str, spot: &str, images: &[&str]) -> Value {
    let title = if gpus == 0 { "AMD EPYC".to_owned() } else { format!("{model} SXM5 80GB") };
    json!({
        "best_for": [], "cpu": {"description": "30 CPU", "number_of_cores": 30}, "description": "a machine",
        "gpu": {"description": model, "number_of_gpus": gpus},
        "gpu_memory": {"description": "", "size_in_gigabytes": gpus * 80}, "id": "c01dd00d",
        "instance_type": name, "memory": {"description": "", "size_in_gigabytes": 120}, "model": model,
        "name": title, "p2p": "", "price_per_hour": price, "spot_price": spot, "max_dynamic_price": "9",
        "storage": {"description": "dynamic"}, "currency": "usd", "manufacturer": "NVIDIA",
        "display_name": title, "supported_os": images
    })
}

const IMAGES: [&str; 4] =
    ["ubuntu-22.04-cuda-12.4", "ubuntu-24.04-cuda-12.8", "ubuntu-24.04-cuda-12.8-docker", "ubuntu-24.04"];

fn types() -> Value {
    json!([
        kind("CPU.4V.16G", "CPU", 0, "0.0279", "0.0112", &IMAGES),
        kind("1H100.80S.30V", "H100", 1, "2.29", "0.80", &IMAGES),
        kind("8H100.80S.240V", "H100", 8, "18.32", "6.40", &IMAGES),
    ])
}

fn free(spot: bool) -> Value {
    let stays: &[&str] = if spot { &["1H100.80S.30V"] } else { &["CPU.4V.16G", "1H100.80S.30V"] };
    let iceland: &[&str] = if spot { &["CPU.4V.16G"] } else { &[] };
    json!([
        {"location_code": "FIN-01", "availabilities": stays},
        {"location_code": "ICE-01", "availabilities": iceland},
    ])
}

impl Verda {
    /// One that refuses so many deletions at first, or has never heard of what is to be deleted.
    pub(crate) fn refusing(refuses: u32, unheard: u32) -> Self {
        Self { refuses, unheard, ..Self::default() }
    }

    fn id(&mut self) -> String {
        self.next += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.next)
    }

    fn log_in(&mut self, body: &Value) -> Reply {
        assert_eq!((&body["grant_type"], &body["client_id"]), (&json!("client_credentials"), &json!("me")));
        self.token += 1;
        Reply::json(
            200,
            &json!({
                "access_token": token(self.token), "token_type": "Bearer", "expires_in": 3600,
                "refresh_token": "another", "scope": "cloud-api-v1"
            }),
        )
    }

    fn rent(&mut self, body: &Value) -> Reply {
        let keys = body["ssh_key_ids"].as_array().unwrap();
        let key = keys[0].as_str().and_then(|it| self.keys.get(it)).map(|(_, key)| key.clone());
        let script = body["startup_script_id"].as_str().is_some_and(|it| self.scripts.contains_key(it));
        let Some(key) = key.filter(|_| script) else {
            return error(400, "invalid_request", "no such key or script");
        };
        let volume = &body["os_volume"];
        if (body["is_spot"] == true) == volume["on_spot_discontinue"].is_null() {
            return error(400, "invalid_request", "on_spot_discontinue is for spot machines");
        }
        let (id, volume_id) = (self.id(), self.id());
        self.volumes.insert(volume_id.clone(), volume["name"].as_str().unwrap().to_owned());
        let status = if self.full { "no_capacity" } else { "provisioning" };
        let machine = Machine { body: body.clone(), status, address: None, key, volume: volume_id };
        self.machines.insert(id.clone(), machine);
        Reply::json(202, &json!(id))
    }

    fn shown(&self, id: &str) -> Value {
        let Machine { body, status, address, volume, .. } = &self.machines[id];
        let tags = body["tags"].as_array().unwrap().iter();
        let tags: Vec<_> =
            tags.map(|it| json!({"id": "tag_1", "key": it["key"], "value": it["value"]})).collect();
        let none = json!({});
        // It is not told before the machine is there.
        let known = *status != "provisioning";
        let (os_volume, volumes) =
            if known { (json!(volume), json!([volume])) } else { (Value::Null, json!([])) };
        json!({
            "id": id, "ip": address.map(|it| it.to_string()), "status": status,
            "created_at": "2026-11-22T08:00:00.000Z", "cpu": none, "gpu": none, "gpu_memory": none,
            "memory": none, "storage": none, "hostname": body["hostname"],
            "description": body["description"], "tags": tags, "location": body["location_code"],
            "price_per_hour": 2.29, "is_spot": body["is_spot"], "instance_type": body["instance_type"],
            "image": body["image"], "os_name": "Ubuntu", "startup_script_id": null, "ssh_key_ids": [],
            "os_volume_id": os_volume, "jupyter_token": "", "contract": body["contract"],
            "pricing": "FIXED_PRICE", "volume_ids": volumes
        })
    }

    /// What becomes of each of several.
    fn delete_all(&mut self, body: &Value) -> Reply {
        let Some(ids) = body["id"].as_array() else { return self.delete(body) };
        let mut done = Vec::new();
        for id in ids {
            let mut one = body.clone();
            one["id"] = id.clone();
            let Reply::Answer { status, body, .. } = self.delete(&one) else { panic!("it answers") };
            let said: Value = serde_json::from_slice(&body).unwrap();
            done.push(match status {
                202 => said[0].clone(),
                _ => json!({
                    "instanceId": id, "action": "delete", "status": "error", "error": said["message"],
                    "statusCode": status
                }),
            });
        }
        let status = if done.iter().any(|it| it["status"] == "error") { 207 } else { 202 };
        Reply::json(status, &json!(done))
    }

    fn delete(&mut self, body: &Value) -> Reply {
        let id = body["id"].as_str().unwrap().to_owned();
        let Some(machine) = self.machines.get_mut(&id) else {
            return error(404, "not_found", "Instance not found");
        };
        if self.unheard > 0 {
            self.unheard -= 1;
            return error(404, "not_found", "Instance not found");
        }
        if self.refuses > 0 {
            self.refuses -= 1;
            return error(403, "forbidden_action", "Can't discontinue a provisioning instance");
        }
        if machine.status == "discontinued" {
            return error(403, "forbidden_action", "Can't discontinue a discontinued instance");
        }
        machine.status = "discontinued";
        match body.get("volume_ids") {
            Some(volumes) => {
                assert_eq!(body["delete_permanently"], true);
                for volume in volumes.as_array().unwrap() {
                    self.volumes.remove(volume.as_str().unwrap());
                }
            }
            // Nothing said takes the machine's own volume; an empty list would keep it.
            None => drop(self.volumes.remove(&machine.volume)),
        }
        Reply::json(202, &json!([{"instanceId": id, "action": "delete", "status": "success"}]))
    }

    fn named(&self, things: &BTreeMap<String, (String, String)>, text: &str) -> Reply {
        let all = things.iter().map(|(id, (name, it))| {
            json!({
                "id": id, "name": name, text: it, "created_at": "2026-11-22T08:00:00.000Z",
                "fingerprint": null, "created_by_user_id": null
            })
        });
        Reply::json(200, &all.collect())
    }
}

fn token(number: u32) -> String {
    format!("the-token-number-{number}")
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"code": code, "message": message}))
}

impl Face for Verda {
    fn contract(&self) -> Option<&'static str> {
        Some("verda/verda.strict.openapi.json")
    }

    fn amend(&self, contract: &mut Value) {
        fails_with(contract, "PublicApiErrorResponseDto");
        // Two answers of an action have no schema there.
        let path = "/paths/~1v1~1instances/put/responses";
        let responses = contract.pointer_mut(path).unwrap().as_object_mut().unwrap();
        let failure = responses["default"].clone();
        for status in ["400", "404"] {
            responses.insert(status.to_owned(), failure.clone());
        }
    }

    fn lets_in(&self, seen: &Seen, key: &str) -> bool {
        if self.logs_in(seen) {
            return seen.json()["client_secret"] == key;
        }
        seen.header("authorization") == format!("Bearer {}", token(self.token))
    }

    fn logs_in(&self, seen: &Seen) -> bool {
        seen.path == "/v1/oauth2/token"
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        let body = seen.json();
        assert!(seen.header("user-agent").starts_with("skyward/"), "the contract wants one");
        let steps: Vec<_> = seen.path.trim_start_matches("/v1/").split('/').collect();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        match (seen.method.as_str(), steps.as_slice()) {
            ("POST", ["oauth2", "token"]) => self.log_in(&body),
            ("GET", ["balance"]) => Reply::json(200, &json!({"amount": 42.5, "currency": "usd"})),
            ("GET", ["instance-types"]) => Reply::json(200, &types()),
            ("GET", ["instance-availability"]) => Reply::json(200, &free(seen.query["is_spot"] == "true")),
            ("GET", ["locations"]) => Reply::json(
                200,
                &json!([
                    {"code": "FIN-01", "name": "Finland 1", "country_code": "FI"},
                    {"code": "ICE-01", "name": "Iceland 1", "country_code": "IS"},
                ]),
            ),
            ("GET", ["ssh-keys"]) => self.named(&self.keys, "key"),
            ("POST", ["ssh-keys"]) => {
                let id = self.id();
                self.keys.insert(id.clone(), (text("name"), text("key")));
                Reply::json(201, &json!(id))
            }
            ("DELETE", ["ssh-keys", id]) => {
                self.keys.remove(*id);
                Reply::text(200, "")
            }
            ("GET", ["scripts"]) => self.named(&self.scripts, "script"),
            ("POST", ["scripts"]) => {
                let id = self.id();
                self.scripts.insert(id.clone(), (text("name"), text("script")));
                Reply::json(201, &json!(id))
            }
            ("DELETE", ["scripts", id]) => {
                self.scripts.remove(*id);
                Reply::text(200, "")
            }
            ("POST", ["instances"]) => self.rent(&body),
            ("PUT", ["instances"]) => self.delete_all(&body),
            ("GET", ["instances"]) => {
                let tag = seen.asks("tag");
                let wanted = |it: &&String| {
                    if self.blind {
                        return false;
                    }
                    let tags = self.machines[*it].body["tags"].as_array().unwrap();
                    let told = |it: &Value| format!("{}={}", it["key"], it["value"]).replace('"', "");
                    tag.as_ref().is_none_or(|tag| tags.iter().any(|it| told(it) == *tag))
                };
                let shown = self.machines.keys().filter(wanted).map(|it| self.shown(it)).collect();
                Reply::json(200, &shown)
            }
            ("GET", ["instances", id]) if self.machines.contains_key(*id) => {
                Reply::json(200, &self.shown(id))
            }
            ("GET", ["journal", "compute", id]) => Reply::json(
                200,
                &json!([{
                    "id": "1", "object_id": id, "object_type": "compute", "action_code": "delete",
                    "project_id": "p", "timestamp": "2026-11-22T08:00:00.000Z", "location_code": "FIN-01",
                    "properties": {"delete_reason": "evicted_by_on_demand"}
                }]),
            ),
            ("GET", ["volumes"]) => {
                let all = self.volumes.iter().map(|(id, name)| {
                    json!({
                        "id": id, "instance_id": null, "instances": [], "name": name, "created_at": "",
                        "status": "attached", "size": 50, "is_os_volume": true, "type": "NVMe",
                        "location": "FIN-01", "ssh_key_ids": [], "contract": "PAY_AS_YOU_GO",
                        "base_hourly_cost": 0.01, "monthly_price": 10, "currency": "usd", "tags": []
                    })
                });
                Reply::json(200, &all.collect())
            }
            ("DELETE", ["volumes", id]) => {
                self.volumes.remove(*id);
                Reply::text(202, "")
            }
            _ => error(404, "not_found", "nothing is here"),
        }
    }

    fn refusal(&self, fault: Fault) -> Reply {
        let limited = error(429, "rate_limit_exceeded", "Too many requests");
        match fault {
            Fault::NoCapacity => error(503, "service_unavailable", "No capacity available"),
            Fault::Quota => error(400, "invalid_request", "GPU quota exceeded"),
            Fault::BadKey => error(401, "unauthorized_request", "Invalid client id or client secret"),
            Fault::InsufficientFunds => error(402, "insufficient_funds", "Not enough funds"),
            Fault::Limited(Some(wait)) => limited.header("retry-after", wait),
            Fault::Limited(None) => limited,
            Fault::Broken => Reply::text(502, "<html>Bad Gateway</html>"),
            Fault::None | Fault::DoneButLost | Fault::Lost => Reply::Cut,
        }
    }

    fn rents(&self, seen: &Seen) -> bool {
        seen.method == "POST" && seen.path == "/v1/instances"
    }

    fn prepares_last(&self, seen: &Seen) -> bool {
        seen.method == "POST" && seen.path == "/v1/scripts"
    }

    fn machines(&self) -> Vec<(String, String)> {
        let all = self.machines.iter().filter(|(_, it)| it.status != "discontinued");
        all.map(|(id, it)| (id.clone(), it.key.clone())).collect()
    }

    fn set(&mut self, id: &str, condition: Condition) {
        let machine = self.machines.get_mut(id).unwrap();
        match condition {
            Condition::Active(address) => {
                (machine.status, machine.address) = ("running", Some(address));
            }
            Condition::Shutdown => machine.status = "offline",
            Condition::Taken => machine.status = "discontinued",
            Condition::Vanished => drop(self.machines.remove(id)),
        }
    }

    fn things(&self) -> Vec<String> {
        let named = |what: &'static str, all: &BTreeMap<String, (String, String)>| {
            all.values().map(|(name, _)| format!("{what} {name}")).collect::<Vec<_>>()
        };
        let volumes = self.volumes.values().map(|it| format!("volume {it}"));
        named("key", &self.keys).into_iter().chain(named("script", &self.scripts)).chain(volumes).collect()
    }

    fn offers(&self) -> Vec<Offer> {
        // 50 GB at $0.20 for a GB and a month.
        let disk = usd!(0.013698631);
        let offer = |name: &str, at: Option<(&str, &str)>, stays: Option<Usd>, spot: Option<Usd>| {
            let cpu = name.starts_with("CPU");
            let gpus = if name.starts_with('8') { 8 } else { 1 };
            let gpu = || -> Accelerator { accelerators::H100.count(gpus).memory_gb(80).form(Form::Sxm) };
            let kind = InstanceType {
                vcpus: 30,
                memory_mb: 120_000,
                disk_gb: Some(50),
                architecture: Some(Architecture::X86_64),
                accelerator: (!cpu).then(gpu),
                ..InstanceType::named(name)
            };
            let price = Price {
                on_demand: stays.map(|it| it + disk),
                spot: spot.map(|it| it + disk),
                ..Price::default()
            };
            let mut offer = Offer::of("verda", kind, price.billed(BillingUnit::TenMinutes, Duration::ZERO));
            let image = if cpu { "ubuntu-24.04" } else { "ubuntu-24.04-cuda-12.8" };
            offer.specific.insert("image".into(), image.into());
            match at {
                Some((region, place)) => {
                    offer.specific.insert("place".into(), place.into());
                    Offer { id: format!("{name}@{region}"), region: Some(region.into()), ..offer }
                }
                None => Offer { stock: Some(0), ..offer },
            }
        };
        let finland = Some(("FIN-01", "Finland 1, FI"));
        vec![
            offer("1H100.80S.30V", finland, Some(usd!(2.29)), Some(usd!(0.80))),
            offer("CPU.4V.16G", finland, Some(usd!(0.0279)), None),
            offer("CPU.4V.16G", Some(("ICE-01", "Iceland 1, IS")), None, Some(usd!(0.0112))),
            offer("8H100.80S.240V", None, Some(usd!(18.32)), Some(usd!(6.40))),
        ]
    }

    fn provider(&self, key: &str, access: Access, ssh_port: u16) -> Box<dyn Account> {
        Box::new(Provider::new(Config {
            client_id: Some("me".into()),
            client_secret: Some(Secret::new(key.to_owned())),
            startup_script: Some("#!/bin/sh\ntrue\n".into()),
            access,
            ssh_port,
            ..Config::default()
        }))
    }
}

async fn start(face: Verda) -> Fake {
    Fake::start(Box::new(face)).await
}

#[tokio::test]
async fn a_spot_machine_that_is_taken_back_says_why_and_leaves_no_volume() {
    let fake = start(Verda::default()).await;
    let provider = fake.provider();
    let request = Request { market: Market::Spot, ..request(&fake, "pool1") };
    provider.prepare(&request).await.unwrap();
    let id = provider.provision(&request, 1).await.unwrap().instances.remove(0).id;
    let rented = fake.asked().into_iter().find(|it| fake.face().rents(it)).unwrap().json();
    assert_eq!(rented["os_volume"]["on_spot_discontinue"], "delete_permanently");
    fake.face().set(id.as_str(), Condition::Taken);
    match provider.describe(&request, &id).await.unwrap().state {
        InstanceState::Gone { reason, .. } => {
            assert_eq!(reason, "the cloud took it back: evicted_by_on_demand");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test]
async fn a_location_that_finds_out_later_that_it_has_nothing_says_so() {
    let fake = start(Verda { full: true, ..Verda::default() }).await;
    let (provider, request) = (fake.provider(), request(&fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    let id = provider.provision(&request, 1).await.unwrap().instances.remove(0).id;
    match provider.describe(&request, &id).await.unwrap().state {
        InstanceState::Gone { reason, .. } => assert!(reason.contains("no capacity"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_market_on_which_a_location_has_nothing_free_is_refused_before_anything_is_asked() {
    let fake = start(Verda::default()).await;
    let provider = fake.provider();
    let offer = fake.face().offers().into_iter().find(|it| it.id == "CPU.4V.16G@FIN-01").unwrap();
    let request = Request { market: Market::Spot, offer, ..request(&fake, "pool1") };
    assert_eq!(provider.provision(&request, 1).await.unwrap_err().kind, Kind::InvalidRequest);
    assert_eq!(fake.server.seen().len(), 0);
}

#[tokio::test]
async fn machines_that_no_list_has_yet_are_given_back() {
    let fake = Fake::start(Box::new(Verda { blind: true, ..Verda::default() })).await;
    rented_machines_are_given_back_by_their_ids(&fake).await;
}
