//! Vast.ai's ways, as far as its contract, its documents and its clients tell them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use skyward::Secret;
use skyward::provider::Offer;
use skyward_providers::cloud::Account;
use skyward_providers::http::Access;
use skyward_providers::vastai::{Config, VastAi as Provider};
use skyward_runtime::model::accelerator::Form;
use skyward_runtime::model::{
    Accelerator, Architecture, BillingUnit, InstanceType, Price, Usd, accelerators,
};
use skyward_runtime::usd;

use crate::checks::rented_machines_are_given_back_by_their_ids;
use crate::contract::fails_with;
use crate::fake::{Condition, Face, Fake, Fault};
use crate::server::{Reply, Seen};

#[derive(Default)]
pub(crate) struct VastAi {
    /// No list has any machine.
    blind: bool,
    trouble: Trouble,
    next: u64,
    instances: BTreeMap<u64, Instance>,
    overlays: BTreeMap<String, (u64, Vec<u64>)>,
    /// Every ask is gone until somebody looks again.
    sold_out: Cell<bool>,
    ssh_port: Cell<u16>,
}

/// What goes wrong on this market.
#[derive(Default)]
pub(crate) struct Trouble {
    /// How many creates still fail and leave an instance.
    pub(crate) leaks: u32,
    /// How many of the next machines never become ready.
    pub(crate) stuck: u32,
    /// How many requests to destroy something come too often.
    pub(crate) busy: u32,
}

struct Instance {
    ask: u64,
    label: String,
    status: &'static str,
    stopped: bool,
    stuck: bool,
    direct: bool,
    address: Option<IpAddr>,
    key: String,
}

/// As many as a search answers at most, whatever was asked for.
const PER_SEARCH: usize = 8;

/// Two instances a page: pages must be followed.
const PER_PAGE: usize = 2;

/// The key of an instance, which is good for it alone.
pub(crate) fn own_key(id: &str) -> String {
    format!("the-own-key-of-{id}")
}

fn asks() -> Vec<Value> {
    let ask = |id: u64, gpu: &str, gpus: u32, ram: u32, base: f64, bid: f64, place: &str| {
        json!({
            "id": id, "ask_contract_id": id, "machine_id": id * 10, "host_id": 5, "cluster_id": null,
            "gpu_name": gpu, "num_gpus": gpus, "gpu_ram": ram, "gpu_frac": 0.5, "cpu_arch": "amd64",
            "cpu_cores": 32, "cpu_cores_effective": 16.0, "cpu_ram": 128_000, "disk_space": 500.0,
            "dph_base": base, "min_bid": bid, "storage_cost": 0.072, "inet_up_cost": 0.002,
            "inet_down_cost": 0.001, "cuda_max_good": 12.8, "direct_port_count": 100,
            "geolocation": place, "reliability2": 0.99, "verification": "verified", "rentable": true,
            "rented": false, "is_bid": false
        })
    };
    let with = |mut ask: Value, name: &str, value: Value| {
        ask[name] = value;
        ask
    };
    let h100 = |id, base| ask(id, "H100 SXM", 8, 81_559, base, base, "Texas, US");
    let mut asks: Vec<_> = (1..=6)
        .map(|id| with(ask(id, "RTX 4090", 1, 24_564, 0.35, 0.2, "Sweden, SE"), "cluster_id", json!(7)))
        .collect();
    asks.extend([
        with(h100(20, 15.0), "direct_port_count", json!(0)),
        with(h100(21, 16.0), "direct_port_count", json!(0)),
        ask(30, "RTX 4090", 1, 24_564, 0.36, 0.2, "Sweden, SE"),
        // None of these may be taken.
        with(ask(40, "RTX 4090", 1, 24_564, 0.01, 0.01, ", US"), "verification", json!("deverified")),
        with(ask(41, "RTX 4090", 1, 24_564, 0.01, 0.01, ", US"), "reliability2", json!(0.8)),
        with(ask(42, "RTX 4090", 1, 24_564, 0.01, 0.01, ", US"), "cuda_max_good", json!(11.8)),
        with(ask(43, "RTX 4090", 1, 24_564, 0.01, 0.01, ", US"), "disk_space", json!(20.0)),
    ]);
    asks
}

impl VastAi {
    pub(crate) fn in_trouble(trouble: Trouble) -> Self {
        Self { trouble, ..Self::default() }
    }

    fn search(&self, body: &Value) -> Reply {
        self.sold_out.set(false);
        let storage = body["allocated_storage"].as_f64().unwrap_or(8.0);
        let taken = |id: &Value| self.instances.values().any(|it| json!(it.ask) == *id);
        let mut found: Vec<_> = asks().into_iter().filter(|it| !taken(&it["id"])).collect();
        for ask in &mut found {
            let disk = ask["storage_cost"].as_f64().unwrap() * storage / 720.0;
            ask["dph_total"] = json!(ask["dph_base"].as_f64().unwrap() + disk);
        }
        let filters = body.as_object().unwrap().iter().filter(|(_, it)| it.is_object());
        for (name, filter) in filters {
            found.retain(|ask| passes(ask, name, filter.as_object().unwrap()));
        }
        let price = |it: &Value| it["dph_total"].as_f64().unwrap();
        found.sort_by(|a, b| price(a).total_cmp(&price(b)));
        found.truncate(PER_SEARCH);
        Reply::json(200, &json!({"offers": found}))
    }

    fn create(&mut self, ask: &str, body: &Value) -> Reply {
        let id: u64 = ask.parse().unwrap();
        let there = asks().into_iter().find(|it| it["id"] == id);
        let taken = self.instances.values().any(|it| it.ask == id);
        let Some(there) = there.filter(|_| !taken && !self.sold_out.get()) else { return no_such_ask() };
        let overlay =
            body["env"].as_object().into_iter().flatten().find_map(|(it, _)| it.strip_prefix("-n "));
        if overlay.is_some_and(|it| !self.overlays.contains_key(it)) {
            return error(400, "invalid_args", "no such network");
        }
        self.next += 1;
        let made = 1000 + self.next;
        let onstart = body["onstart"].as_str().unwrap();
        assert!(onstart.len() <= 4048);
        let key = onstart.split_once("printf '%s\\n' '").unwrap().1.split_once('\'').unwrap().0;
        let instance = Instance {
            ask: id,
            label: body["label"].as_str().unwrap().to_owned(),
            status: "loading",
            stopped: self.trouble.leaks > 0,
            stuck: self.trouble.stuck > 0,
            direct: body["runtype"].as_str().unwrap().contains("ssh_direc"),
            address: None,
            key: key.to_owned(),
        };
        self.instances.insert(made, instance);
        self.trouble.stuck = self.trouble.stuck.saturating_sub(1);
        let low = body["price"].as_f64().is_some_and(|it| it < there["min_bid"].as_f64().unwrap());
        if low || self.trouble.leaks > 0 {
            self.trouble.leaks = self.trouble.leaks.saturating_sub(1);
            let error = json!({
                "success": false, "error": "invalid_price", "msg": "the bid is below the least that is taken",
                "new_contract": made
            });
            return Reply::json(400, &error);
        }
        let own = own_key(&made.to_string());
        Reply::json(200, &json!({"success": true, "new_contract": made, "instance_api_key": own}))
    }

    fn shown(&self, id: u64) -> Value {
        let instance = &self.instances[&id];
        let state = if instance.stopped { "stopped" } else { "running" };
        let mut shown = json!({
            "id": id, "label": instance.label, "actual_status": instance.status, "cur_state": state,
            "intended_status": state, "next_state": state, "status_msg": "", "ssh_host": "ssh1.vast.ai",
            "ssh_port": 12345, "ports": null
        });
        if let Some(address) = instance.address {
            // As it really is told.
            shown["public_ipaddr"] = json!(format!("{address}\n"));
            let port = self.ssh_port.get();
            if instance.direct {
                let port = port.to_string();
                shown["ports"] = json!({"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": port}]});
            } else {
                (shown["ssh_host"], shown["ssh_port"]) = (json!(address.to_string()), json!(port));
            }
        }
        shown
    }

    fn list(&self, seen: &Seen) -> Reply {
        let filter: Option<Value> = seen.asks("select_filters").map(|it| serde_json::from_str(&it).unwrap());
        let after: u64 = seen.asks("after_token").map_or(0, |it| it.parse().unwrap());
        let wanted = |it: &Instance| {
            !self.blind && filter.as_ref().is_none_or(|filter| filter["label"]["eq"] == it.label.as_str())
        };
        let all: Vec<_> = self.instances.iter().filter(|(_, it)| wanted(it)).collect();
        let total = all.len();
        let left: Vec<u64> = all.into_iter().map(|(id, _)| *id).filter(|it| *it > after).collect();
        let page: Vec<_> = left.iter().take(PER_PAGE).copied().collect();
        let next = page.last().filter(|_| left.len() > PER_PAGE).map(u64::to_string);
        let shown: Vec<_> = page.iter().map(|it| self.shown(*it)).collect();
        Reply::json(
            200,
            &json!({
                "success": true, "instances_found": shown.len(), "total_instances": total,
                "instances": shown, "next_token": next
            }),
        )
    }

    fn destroy(&mut self, id: &str) -> Reply {
        if self.trouble.busy > 0 {
            self.trouble.busy -= 1;
            return too_often();
        }
        let id: u64 = id.parse().unwrap();
        for (_, members) in self.overlays.values_mut() {
            members.retain(|it| *it != id);
        }
        match self.instances.remove(&id) {
            Some(_) => Reply::json(200, &json!({"success": true})),
            None => error(404, "no_such_instance", "Instance not found"),
        }
    }

    fn overlay(&mut self, method: &str, body: &Value) -> Reply {
        let name = body["name"].as_str().or(body["overlay_name"].as_str()).unwrap_or_default().to_owned();
        let done = Reply::json(200, &json!({"success": true, "msg": "done"}));
        match method {
            "GET" => {
                let all = self.overlays.iter().map(|(name, (cluster, members))| {
                    json!({"overlay_id": 1, "name": name, "cluster_id": cluster, "instances": members})
                });
                Reply::json(200, &all.collect())
            }
            "POST" => {
                self.overlays.insert(name, (body["cluster_id"].as_u64().unwrap(), Vec::new()));
                done
            }
            "PUT" => {
                let id = body["instance_id"].as_u64().unwrap();
                let ask = asks().into_iter().find(|it| it["id"] == self.instances[&id].ask).unwrap();
                let Some((cluster, members)) = self.overlays.get_mut(&name) else {
                    return error(404, "not_found", "no such network");
                };
                assert_eq!(ask["cluster_id"], *cluster, "a network is in one cluster");
                members.push(id);
                done
            }
            _ => {
                let (_, members) = self.overlays.remove(&name).unwrap_or_default();
                self.instances.retain(|id, _| !members.contains(id));
                done
            }
        }
    }
}

/// Whether an ask passes one filter.
fn passes(ask: &Value, name: &str, filter: &serde_json::Map<String, Value>) -> bool {
    let name = if name == "reliability" { "reliability2" } else { name };
    let has = if name == "verified" { json!(ask["verification"] == "verified") } else { ask[name].clone() };
    filter.iter().all(|(operator, wanted)| match operator.as_str() {
        "eq" => has == *wanted,
        "gte" => has.as_f64() >= wanted.as_f64(),
        "in" if name == "geolocation" => {
            wanted.as_array().unwrap().iter().any(|it| has.as_str().unwrap().ends_with(it.as_str().unwrap()))
        }
        "in" => wanted.as_array().unwrap().contains(&has),
        other => panic!("nobody filters by {other}"),
    })
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"success": false, "error": code, "msg": message}))
}

fn no_such_ask() -> Reply {
    error(404, "invalid_args", "error 404/3603: no_such_ask Instance type by id 1 is not available.")
}

fn too_often() -> Reply {
    Reply::text(429, "API requests too frequent: endpoint threshold=0.01")
}

impl Face for VastAi {
    fn contract(&self) -> Option<&'static str> {
        Some("vastai/openapi.patched.yaml")
    }

    fn amend(&self, contract: &mut Value) {
        fails_with(contract, "Error");
        // The operators stand in the text of the search, and in no schema.
        let path = "/paths/~1api~1v0~1bundles~1/post/requestBody/content/application~1json/schema/properties";
        let filters = contract.pointer_mut(path).unwrap().as_object_mut().unwrap();
        for filter in filters.values_mut().filter(|it| it["type"] == "object" && it["properties"].is_null()) {
            let number = json!({"type": ["number", "boolean", "string"]});
            filter["properties"] = json!({"eq": number, "gte": number, "lte": number});
        }
    }

    fn lets_in(&self, seen: &Seen, key: &str) -> bool {
        let own = || {
            let id = seen.path.strip_prefix("/api/v0/instances/")?.strip_suffix('/')?;
            (seen.method == "DELETE").then(|| own_key(id))
        };
        let is = |it: &str| seen.header("authorization") == format!("Bearer {it}");
        is(key) || own().is_some_and(|it| is(&it))
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        let body = seen.json();
        let steps: Vec<_> = seen.path.trim_start_matches("/api/").trim_end_matches('/').split('/').collect();
        assert!(seen.path.ends_with('/'), "its own clients end every path with a slash");
        match (seen.method.as_str(), steps.as_slice()) {
            ("POST", ["v0", "bundles"]) => self.search(&body),
            ("PUT", ["v0", "asks", id]) => self.create(id, &body),
            ("GET", ["v1", "instances"]) => self.list(seen),
            ("GET", ["v0", "instances", id]) => {
                let id: u64 = id.parse().unwrap();
                let shown = self.instances.contains_key(&id).then(|| self.shown(id));
                Reply::json(200, &json!({"instances": shown}))
            }
            ("DELETE", ["v0", "instances", id]) => self.destroy(id),
            ("POST", ["v0", "instances", _, "ssh"]) => Reply::json(200, &json!({"success": true})),
            ("GET", ["v0", "users", "current"]) => {
                Reply::json(200, &json!({"id": 1, "email": "me@example.com", "balance": 12.5}))
            }
            (method, ["v0", "overlay"]) => self.overlay(method, &body),
            _ => error(404, "not_found", "nothing is here"),
        }
    }

    fn refusal(&self, fault: Fault) -> Reply {
        match fault {
            Fault::NoCapacity => {
                self.sold_out.set(true);
                no_such_ask()
            }
            Fault::Quota => error(403, "quota_exceeded", "The limit of instances is reached."),
            Fault::BadKey => error(401, "auth_error", "Invalid user key"),
            Fault::InsufficientFunds => {
                error(403, "insufficient_credit", "Your account lacks credit; see the billing page.")
            }
            Fault::Limited(Some(wait)) => too_often().header("retry-after", wait),
            Fault::Limited(None) => too_often(),
            Fault::Broken => Reply::text(502, "<html>Bad Gateway</html>"),
            Fault::None | Fault::DoneButLost | Fault::Lost => Reply::Cut,
        }
    }

    fn rents(&self, seen: &Seen) -> bool {
        seen.path.starts_with("/api/v0/asks/")
    }

    fn prepares_last(&self, seen: &Seen) -> bool {
        seen.method == "POST" && seen.path == "/api/v0/overlay/"
    }

    fn machines(&self) -> Vec<(String, String)> {
        self.instances.iter().map(|(id, it)| (id.to_string(), it.key.clone())).collect()
    }

    fn running(&self) -> Vec<(String, String)> {
        let run = self.instances.iter().filter(|(_, it)| !it.stopped && !it.stuck);
        run.map(|(id, it)| (id.to_string(), it.key.clone())).collect()
    }

    fn set(&mut self, id: &str, condition: Condition) {
        let id: u64 = id.parse().unwrap();
        let instance = self.instances.get_mut(&id).unwrap();
        match condition {
            Condition::Active(address) => {
                (instance.status, instance.address) = ("running", Some(address));
            }
            Condition::Taken => (instance.status, instance.stopped) = ("exited", true),
            // It ends itself by destroying itself.
            Condition::Shutdown | Condition::Vanished => drop(self.instances.remove(&id)),
        }
    }

    fn things(&self) -> Vec<String> {
        self.overlays.keys().map(|it| format!("network {it}")).collect()
    }

    fn offers(&self) -> Vec<Offer> {
        let offer = |id: u64, accelerator: Accelerator, base: Usd, spot: Option<Usd>, country: &str| {
            let gpus = accelerator.count.whole().unwrap();
            let model = if gpus == 8 { "H100 SXM" } else { "RTX 4090" };
            let kind = InstanceType {
                vcpus: 16,
                memory_mb: 64_000,
                disk_gb: Some(100),
                architecture: Some(Architecture::X86_64),
                accelerator: Some(accelerator),
                ..InstanceType::named(format!("{gpus}x {model}"))
            };
            // A disk of 100 GB at $0.072 for a GB and a month costs a cent an hour.
            let mut price = Price::on_demand(base + usd!(0.01)).billed(BillingUnit::Minute, Duration::ZERO);
            price.spot = spot.map(|it| it + usd!(0.01));
            let place = if country == "US" { "Texas, US" } else { "Sweden, SE" };
            let ports = if gpus == 8 { "0" } else { "100" };
            let machine = (id * 10).to_string();
            let count = gpus.to_string();
            let told = [
                ("place", place),
                ("machine", machine.as_str()),
                ("reliability", "0.99"),
                ("cuda", "12.8"),
                ("direct_ports", ports),
                ("sent_gb", "0.002"),
                ("received_gb", "0.001"),
                ("model", model),
                ("count", count.as_str()),
            ];
            let mut specific: BTreeMap<String, String> =
                told.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            if let Some(bid) = spot {
                specific.insert("bid".to_owned(), bid.to_string());
            }
            Offer {
                id: id.to_string(),
                region: Some(country.to_owned()),
                stock: Some(1),
                specific,
                ..Offer::of("vastai", kind, price)
            }
        };
        let rtx = |id, base| {
            let accelerator = accelerators::RTX_4090.count(1).memory_mib(24_564);
            offer(id, accelerator, base, Some(usd!(0.24)), "SE")
        };
        let mut offers: Vec<_> = (1..=6)
            .map(|id| {
                let mut offer = Offer { stock: Some(6), ..rtx(id, usd!(0.35)) };
                offer.specific.insert("cluster".into(), "7".into());
                offer
            })
            .collect();
        let h100 = accelerators::H100.count(8).memory_mib(81_559).form(Form::Sxm);
        offers.push(rtx(30, usd!(0.36)));
        offers.push(offer(20, h100.clone(), usd!(15), None, "US"));
        offers.push(Offer { stock: Some(2), ..offer(21, h100, usd!(16), None, "US") });
        offers
    }

    fn provider(&self, key: &str, access: Access, ssh_port: u16) -> Box<dyn Account> {
        self.ssh_port.set(ssh_port);
        let api_key = Some(Secret::new(key.to_owned()));
        Box::new(Provider::new(Config { api_key, access, ..Config::default() }))
    }
}

#[tokio::test]
async fn machines_that_no_list_has_yet_are_given_back() {
    let fake = Fake::start(Box::new(VastAi { blind: true, ..VastAi::default() })).await;
    rented_machines_are_given_back_by_their_ids(&fake).await;
}
