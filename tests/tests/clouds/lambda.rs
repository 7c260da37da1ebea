//! Lambda's ways, as far as its contract and its documents tell them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use skyward::Secret;
use skyward::provider::Offer;
use skyward_providers::cloud::Account;
use skyward_providers::http::Access;
use skyward_providers::lambda::{Config, Lambda as Provider};
use skyward_runtime::model::accelerator::Form;
use skyward_runtime::model::{Architecture, BillingUnit, InstanceType, Price, accelerators};
use skyward_runtime::usd;

use crate::checks::{rented_machines_are_given_back_by_their_ids, request};
use crate::fake::{Condition, Face, Fake, Fault};
use crate::server::{Reply, Seen};

#[derive(Default)]
pub(crate) struct Lambda {
    /// No list has any machine.
    blind: bool,
    next: u32,
    machines: BTreeMap<String, Machine>,
    keys: BTreeMap<String, (String, String)>,
    rulesets: BTreeMap<String, Value>,
}

struct Machine {
    name: String,
    status: &'static str,
    address: Option<IpAddr>,
    key: (String, String),
    tags: Value,
    rulesets: Value,
}

fn kind(name: &str, gpu: &str, cents: u32, vcpus: u32, memory: u32, gpus: u32) -> Value {
    json!({
        "name": name, "description": format!("{gpus}x {gpu}"), "gpu_description": gpu,
        "price_cents_per_hour": cents,
        "specs": {"vcpus": vcpus, "memory_gib": memory, "storage_gib": 1400, "gpus": gpus}
    })
}

fn region(name: &str) -> Value {
    json!({"name": name, "description": "a place"})
}

fn types() -> Value {
    let item = |kind: Value, regions: &[&str]| {
        let regions: Vec<_> = regions.iter().map(|it| region(it)).collect();
        json!({"instance_type": kind, "regions_with_capacity_available": regions})
    };
    json!({
        "cpu_4x_general": item(kind("cpu_4x_general", "N/A", 8, 4, 16, 0), &["us-east-1"]),
        "gpu_1x_a10": item(kind("gpu_1x_a10", "A10 (24 GB PCIe)", 75, 30, 200, 1), &["us-east-1", "us-west-1"]),
        "gpu_1x_gh200": item(kind("gpu_1x_gh200", "GH200 (96 GB)", 149, 64, 432, 1), &["us-east-3"]),
        "gpu_1x_h100_pcie": item(kind("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", 249, 26, 200, 1), &["us-west-1"]),
        "gpu_8x_h100_sxm5": item(kind("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", 2392, 208, 1800, 8), &[])
    })
}

impl Lambda {
    fn id(&mut self) -> String {
        self.next += 1;
        format!("{:032x}", self.next)
    }

    fn shown(&self, id: &str) -> Value {
        let machine = &self.machines[id];
        let can = json!({"available": true});
        let mut shown = json!({
            "id": id, "name": machine.name, "status": machine.status, "ssh_key_names": [machine.key.0],
            "file_system_names": [], "region": region("us-east-1"),
            "instance_type": kind("gpu_1x_a10", "A10 (24 GB PCIe)", 75, 30, 200, 1),
            "actions": {"migrate": can, "rebuild": can, "restart": can, "cold_reboot": can, "terminate": can},
            "tags": machine.tags, "firewall_rulesets": machine.rulesets
        });
        if let Some(address) = machine.address {
            shown["ip"] = json!(address.to_string());
        }
        shown
    }

    fn launch(&mut self, body: &Value) -> Reply {
        let names = body["ssh_key_names"].as_array().unwrap();
        let key = self.keys.values().find(|(name, _)| names.len() == 1 && names[0] == name.as_str()).cloned();
        let Some(key) = key else {
            return error(404, "global/object-does-not-exist", "no such key", Some("check it"));
        };
        let rulesets = body.get("firewall_rulesets").cloned().unwrap_or(json!([]));
        let known = |it: &Value| {
            let found = self.rulesets.get(it["id"].as_str().unwrap_or(""));
            found.is_some_and(|found| found["region"]["name"] == body["region_name"])
        };
        if !rulesets.as_array().unwrap().iter().all(known) {
            return error(404, "global/object-does-not-exist", "no such rules", Some("check them"));
        }
        let id = self.id();
        let machine = Machine {
            name: body["name"].as_str().unwrap_or("").to_owned(),
            status: "booting",
            address: None,
            key,
            tags: body["tags"].clone(),
            rulesets,
        };
        self.machines.insert(id.clone(), machine);
        data(json!({"instance_ids": [id]}))
    }

    fn terminate(&mut self, body: &Value) -> Reply {
        let ids: Vec<_> = body["instance_ids"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        if !ids.iter().all(|it| self.machines.contains_key(*it)) {
            return error(404, "global/object-does-not-exist", "Specified instance does not exist.", None);
        }
        for id in &ids {
            self.machines.get_mut(*id).unwrap().status = "terminating";
        }
        let shown: Vec<_> = ids.iter().map(|it| self.shown(it)).collect();
        data(json!({"terminated_instances": shown}))
    }
}

fn data(data: Value) -> Reply {
    Reply::json(200, &json!({"data": data}))
}

fn error(status: u16, code: &str, message: &str, suggestion: Option<&str>) -> Reply {
    let mut error = json!({"code": code, "message": message});
    if let Some(suggestion) = suggestion {
        error["suggestion"] = json!(suggestion);
    }
    Reply::json(status, &json!({"error": error}))
}

fn none() -> Reply {
    error(404, "global/object-does-not-exist", "Specified instance does not exist.", None)
}

impl Face for Lambda {
    fn contract(&self) -> Option<&'static str> {
        Some("lambda/openapi-1.10.0.json")
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        let body = seen.json();
        let steps: Vec<_> = seen.path.trim_start_matches("/api/v1/").split('/').collect();
        match (seen.method.as_str(), steps.as_slice()) {
            ("GET", ["instance-types"]) => data(types()),
            ("GET", ["ssh-keys"]) => {
                let keys = self.keys.iter();
                let keys = keys.map(|(id, (name, key))| json!({"id": id, "name": name, "public_key": key}));
                data(keys.collect())
            }
            ("POST", ["ssh-keys"]) => {
                let (name, key) = (body["name"].as_str().unwrap(), body["public_key"].as_str().unwrap());
                let id = self.id();
                self.keys.insert(id.clone(), (name.to_owned(), key.to_owned()));
                data(json!({"id": id, "name": name, "public_key": key}))
            }
            ("DELETE", ["ssh-keys", id]) => match self.keys.remove(*id) {
                Some(_) => data(json!({})),
                None => error(404, "global/object-does-not-exist", "no such key", Some("check it")),
            },
            ("GET", ["firewall-rulesets"]) => data(self.rulesets.values().cloned().collect()),
            ("POST", ["firewall-rulesets"]) => {
                let id = self.id();
                let ruleset = json!({
                    "id": id, "name": body["name"], "region": region(body["region"].as_str().unwrap()),
                    "rules": body["rules"], "created": "2026-11-22T08:00:00Z", "instance_ids": []
                });
                self.rulesets.insert(id, ruleset.clone());
                data(ruleset)
            }
            ("DELETE", ["firewall-rulesets", id]) => {
                self.rulesets.remove(*id);
                data(json!({}))
            }
            ("POST", ["instance-operations", "launch"]) => self.launch(&body),
            ("POST", ["instance-operations", "terminate"]) => self.terminate(&body),
            ("GET", ["instances"]) => {
                let listed = self.machines.keys().filter(|_| !self.blind);
                let shown = listed.map(|it| self.shown(it)).collect();
                // What ends is listed once more.
                self.machines.retain(|_, it| it.status != "terminating");
                data(shown)
            }
            ("GET", ["instances", id]) if self.machines.contains_key(*id) => data(self.shown(id)),
            _ => none(),
        }
    }

    fn refusal(&self, fault: Fault) -> Reply {
        match fault {
            Fault::NoCapacity => error(
                400,
                "instance-operations/launch/insufficient-capacity",
                "Not enough capacity to fulfill launch request.",
                None,
            ),
            Fault::Quota => error(400, "global/quota-exceeded", "Quota exceeded.", Some("Contact Support.")),
            Fault::BadKey => error(
                401,
                "global/invalid-api-key",
                "API key was invalid, expired, or deleted.",
                Some("Check your API key."),
            ),
            Fault::InsufficientFunds => error(
                403,
                "global/account-inactive",
                "Your account is inactive.",
                Some("Make sure you have a valid payment method."),
            ),
            Fault::Limited(wait) => {
                let reply = error(429, "global/rate-limited", "Slow down.", None);
                match wait {
                    Some(wait) => reply.header("retry-after", wait),
                    None => reply,
                }
            }
            Fault::Broken => Reply::text(502, "<html>Bad Gateway</html>"),
            Fault::None | Fault::DoneButLost | Fault::Lost => Reply::Cut,
        }
    }

    fn rents(&self, seen: &Seen) -> bool {
        seen.path.ends_with("/launch")
    }

    fn prepares_last(&self, seen: &Seen) -> bool {
        seen.method == "POST" && seen.path.ends_with("/firewall-rulesets")
    }

    fn machines(&self) -> Vec<(String, String)> {
        let ended = ["terminating", "terminated", "preempted"];
        let all = self.machines.iter().filter(|(_, it)| !ended.contains(&it.status));
        all.map(|(id, it)| (id.clone(), it.key.1.clone())).collect()
    }

    fn set(&mut self, id: &str, condition: Condition) {
        let machine = self.machines.get_mut(id).unwrap();
        match condition {
            Condition::Active(address) => {
                (machine.status, machine.address) = ("active", Some(address));
            }
            Condition::Shutdown => machine.status = "unhealthy",
            Condition::Taken => machine.status = "preempted",
            Condition::Vanished => drop(self.machines.remove(id)),
        }
    }

    fn things(&self) -> Vec<String> {
        let rulesets = self.rulesets.values().map(|it| format!("rules {}", it["name"]));
        let keys = self.keys.values().map(|(name, _)| format!("key {name}"));
        rulesets.chain(keys).collect()
    }

    fn offers(&self) -> Vec<Offer> {
        let offer =
            |name: &str, description: &str, region: Option<&str>, vcpus, gb: u64, cost, accelerator| {
                let kind = InstanceType {
                    vcpus,
                    memory_mb: gb * 1000,
                    disk_gb: Some(1400),
                    architecture: Some(if name.contains("gh200") {
                        Architecture::Aarch64
                    } else {
                        Architecture::X86_64
                    }),
                    accelerator,
                    ..InstanceType::named(name)
                };
                let price = Price::on_demand(cost).billed(BillingUnit::Minute, Duration::ZERO);
                let mut offer = Offer::of("lambda", kind, price);
                offer.specific.insert("description".into(), description.into());
                match region {
                    Some(region) => {
                        Offer { id: format!("{name}@{region}"), region: Some(region.into()), ..offer }
                    }
                    None => Offer { stock: Some(0), ..offer },
                }
            };
        let a10 = |region| {
            let accelerator = accelerators::A10.count(1).memory_gb(24);
            let what = "1x A10 (24 GB PCIe)";
            offer("gpu_1x_a10", what, Some(region), 30, 200, usd!(0.75), Some(accelerator))
        };
        let gh200 = accelerators::GH200.count(1).memory_gb(96);
        let one = accelerators::H100.count(1).memory_gb(80).form(Form::Pcie);
        let pcie = "1x H100 (80 GB PCIe)";
        let h100 = accelerators::H100.count(8).memory_gb(80).form(Form::Sxm);
        vec![
            offer("cpu_4x_general", "0x N/A", Some("us-east-1"), 4, 16, usd!(0.08), None),
            a10("us-east-1"),
            a10("us-west-1"),
            offer("gpu_1x_gh200", "1x GH200 (96 GB)", Some("us-east-3"), 64, 432, usd!(1.49), Some(gh200)),
            offer("gpu_1x_h100_pcie", pcie, Some("us-west-1"), 26, 200, usd!(2.49), Some(one)),
            offer("gpu_8x_h100_sxm5", "8x H100 (80 GB SXM5)", None, 208, 1800, usd!(23.92), Some(h100)),
        ]
    }

    fn provider(&self, key: &str, access: Access, ssh_port: u16) -> Box<dyn Account> {
        let api_key = Some(Secret::new(key.to_owned()));
        Box::new(Provider::new(Config { api_key, access, ssh_port, ..Config::default() }))
    }
}

#[tokio::test]
async fn machines_that_no_list_has_yet_are_given_back() {
    let fake = Fake::start(Box::new(Lambda { blind: true, ..Lambda::default() })).await;
    rented_machines_are_given_back_by_their_ids(&fake).await;
}

#[tokio::test]
async fn each_region_of_a_pool_has_rules_of_its_own() {
    let fake = Fake::start(Box::<Lambda>::default()).await;
    let (provider, first) = (fake.provider(), request(&fake, "pool1"));
    let elsewhere = fake.face().offers().into_iter().find(|it| it.region.as_deref() == Some("us-west-1"));
    let second = skyward::provider::Request { offer: elsewhere.unwrap(), ..first.clone() };
    for request in [&first, &second] {
        provider.prepare(request).await.unwrap();
        assert_eq!(provider.provision(request, 1).await.unwrap().instances.len(), 1);
    }
    assert_eq!(provider.teardown(&second).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
    assert_eq!(fake.violations(), [""; 0]);
}
