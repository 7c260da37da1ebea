//! RunPod's ways, as far as its two contracts and its documents tell them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use skyward::Secret;
use skyward::provider::{InstanceId, InstanceState, Market, Offer, Request};
use skyward_providers::cloud::Account;
use skyward_providers::http::Access;
use skyward_providers::runpod::{Config, RunPod as Provider};
use skyward_runtime::lease::LEASE_FILE;
use skyward_runtime::model::{Accelerator, Architecture, End, InstanceType, Price, Usd};
use skyward_runtime::usd;

use crate::checks::{request, until};
use crate::fake::{Condition, Face, Fake, Fault};
use crate::server::{Reply, Seen};

#[derive(Default)]
pub(crate) struct RunPod {
    next: u32,
    pods: BTreeMap<String, Pod>,
    /// How many bids still make a pod and are answered with a failure, which has the status of a success.
    trips: u32,
    /// The port that the SSH port of every pod is mapped to.
    ssh_port: AtomicU16,
}

struct Pod {
    status: &'static str,
    address: Option<IpAddr>,
    key: String,
    shown: Value,
}

const RTX: &str = "NVIDIA GeForce RTX 4090";
const H100: &str = "NVIDIA H100 80GB HBM3";
const MI300: &str = "AMD Instinct MI300X OAM";

/// A kind of accelerator.
struct Card {
    id: &'static str,
    memory: u32,
    price: f64,
    /// The least that is bid for one.
    spot: Option<f64>,
    places: &'static [&'static str],
}

const CARDS: [Card; 3] = [
    Card {
        id: RTX,
        memory: 24,
        price: 0.689_999_997_615_814_2,
        spot: Some(0.29),
        places: &["EU-RO-1", "US-KS-2"],
    },
    Card { id: H100, memory: 80, price: 2.99, spot: Some(1.75), places: &["US-KS-2"] },
    Card { id: MI300, memory: 192, price: 2.49, spot: None, places: &[] },
];

impl Card {
    fn shown(&self, count: u32) -> Value {
        let Self { id, memory, price, places, .. } = self;
        let there = |it: &&str| json!({"id": it, "name": it, "availability": "HIGH"});
        let mut gpu = json!({
            "id": id, "name": id, "pool": null, "memory": memory, "secure": true, "community": true,
            "manufacturer": self.maker(), "price": {"secure": price, "community": price / 2.0},
            "maxCount": {"secure": 2, "community": 1},
            "availability": if places.is_empty() || count > 2 { "NONE" } else { "HIGH" }
        });
        if !places.is_empty() {
            gpu["dataCenters"] = places.iter().map(there).collect();
            gpu["dataCenters"].as_array_mut().unwrap().push(json!({
                "id": "EUR-IS-1", "name": "Iceland", "availability": "NONE"
            }));
        }
        gpu
    }

    fn maker(&self) -> &'static str {
        if self.id.starts_with("AMD") { "AMD" } else { "NVIDIA" }
    }

    fn floor(&self, count: u64) -> Value {
        let floor =
            self.spot.map(|it| json!({"minimumBidPrice": it, "minVcpu": 8 * count, "minMemory": 32 * count}));
        json!({"id": self.id, "lowestPrice": floor})
    }

    /// What the provider must make of so many of them.
    fn offers(&self, count: u32) -> Vec<Offer> {
        let vcpus = if self.spot.is_some() { 8 * count } else { 0 };
        let each = |it: f64| {
            Usd::written(&(it as f32).to_string()).unwrap().fraction(count.into(), 1) + disks(50 + 20)
        };
        let accelerator = Accelerator::as_sold(self.id).unwrap().memory_gb(self.memory);
        let mut offer = offer(format!("{count}x {}", self.id), vcpus, u64::from(vcpus) * 4, each(self.price));
        offer.instance_type.accelerator = Some(accelerator.count(count));
        offer.instance_type.disk_gb = Some(50);
        offer.specific =
            [("gpu".into(), self.id.into()), ("manufacturer".into(), self.maker().into())].into();
        if let Some(bid) = self.spot {
            offer.price = offer.price.with_spot(each(bid));
            offer.specific.insert("bid".into(), bid.to_string());
        }
        if self.places.is_empty() {
            return vec![Offer { stock: Some(0), ..offer }];
        }
        self.places.iter().map(|place| at(&offer, place)).collect()
    }
}

/// What the disks of a pod cost in an hour, which its price does not say.
fn disks(gb: u32) -> Usd {
    usd!(0.10).fraction(gb.into(), 730)
}

fn cpu(id: &str) -> Value {
    json!({
        "id": id, "name": "Compute-Optimized", "group": "Gen 3", "vcpu": {"min": 2, "max": 4},
        "ramGbPerVcpu": 2.5, "price": {"securePerVcpu": 0.04, "serverlessPerVcpu": 0.03},
        "availability": "MEDIUM",
        "dataCenters": [{"id": "EU-RO-1", "name": "Romania", "availability": "LOW"}]
    })
}

fn offer(name: String, vcpus: u32, gb: u64, price: Usd) -> Offer {
    let architecture = Some(Architecture::X86_64);
    let kind = InstanceType { vcpus, memory_mb: gb * 1000, architecture, ..InstanceType::named(name) };
    Offer::of("runpod", kind, Price::on_demand(price))
}

fn at(offer: &Offer, region: &str) -> Offer {
    Offer { id: format!("{}@{region}", offer.id), region: Some(region.into()), ..offer.clone() }
}

impl RunPod {
    fn rent(&mut self, name: &Value, key: &str, computes: (&str, Value), cloud: &Value) -> String {
        self.next += 1;
        let id = format!("pod{:08x}", self.next);
        let mut shown = json!({
            "id": id, "name": name, "image": "i", "args": "", "disk": 20, "mounts": {}, "ports": ["22/tcp"],
            "env": {"PUBLIC_KEY": key}, "registry": null, "actions": ["stop", "terminate"], "cloud": cloud,
            "dataCenterId": "EU-RO-1", "cudaVersion": null, "ssh": {"proxy": null, "direct": null},
            "template": null, "cost": 0.4, "locked": false, "globalNetworking": {"enabled": false},
            "createdAt": "2026-11-22T08:00:00Z", "startedAt": null
        });
        shown[computes.0] = computes.1;
        let pod = Pod { status: "PROVISIONING", address: None, key: key.to_owned(), shown };
        self.pods.insert(id.clone(), pod);
        id
    }

    fn shown(&self, id: &str) -> Value {
        let pod = &self.pods[id];
        let mut shown = pod.shown.clone();
        shown["status"] = json!(pod.status);
        shown["runtime"] = match pod.address {
            Some(address) if pod.status == "RUNNING" => json!({"uptime": 5, "ports": [
                {"private": 8888, "public": 60_001, "type": "http", "ip": "100.65.0.9"},
                {"private": 22, "public": self.ssh_port.load(Ordering::Relaxed), "type": "tcp", "ip": address}
            ]}),
            _ => Value::Null,
        };
        shown
    }

    fn graphql(&mut self, body: &Value) -> Reply {
        if let Some(bid) = body["variables"].get("bid") {
            let known = CARDS.iter().find(|it| bid["gpuTypeId"] == it.id).and_then(|it| it.spot);
            if known.is_none_or(|least| bid["bidPerGpu"].as_f64().unwrap() < least) {
                return Reply::json(200, &json!({"errors": [{"message": "Bid is too low"}], "data": null}));
            }
            let key = bid["env"][0]["value"].as_str().unwrap();
            let gpu = json!({"id": bid["gpuTypeId"], "count": bid["gpuCount"]});
            let id = self.rent(&bid["name"], key, ("gpu", gpu), &bid["cloudType"]);
            if self.trips > 0 {
                self.trips -= 1;
                let failed = json!({"errors": [{"message": "Something went wrong"}], "data": null});
                return Reply::json(200, &failed);
            }
            return Reply::json(200, &json!({"data": {"podRentInterruptable": {"id": id}}}));
        }
        let count = body["variables"]["lowest"]["gpuCount"].as_u64().unwrap();
        let floors: Vec<_> = CARDS.iter().map(|it| it.floor(count)).collect();
        Reply::json(200, &json!({"data": {"gpuTypes": floors}}))
    }
}

fn problem(status: u16, title: &str, detail: &str) -> Reply {
    Reply::json(status, &json!({"title": title, "status": status, "detail": detail}))
}

impl Face for RunPod {
    fn contract(&self) -> Option<&'static str> {
        Some("runpod/rest-v2.openapi.json")
    }

    fn graphql(&self) -> Option<&'static str> {
        Some("runpod/graphql-reconstructed.graphql")
    }

    fn lets_in(&self, seen: &Seen, key: &str) -> bool {
        let own = seen.path.strip_prefix("/v2/pods/").filter(|_| seen.method == "DELETE").map(own_key);
        let is = |it: &str| seen.header("authorization") == format!("Bearer {it}");
        is(key) || own.is_some_and(|it| is(&it))
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        let body = seen.json();
        let steps: Vec<_> = seen.path.split('/').skip(1).collect();
        let count = seen.query.get("count").map_or(1, |it| it.parse().unwrap());
        match (seen.method.as_str(), steps.as_slice()) {
            ("POST", ["graphql"]) => self.graphql(&body),
            ("GET", ["v2", "catalog", "gpus"]) => {
                Reply::json(200, &json!({"gpus": CARDS.map(|it| it.shown(count))}))
            }
            ("GET", ["v2", "catalog", "cpus"]) => {
                Reply::json(200, &json!({"cpus": [cpu("cpu3c"), cpu("cpu5c")]}))
            }
            ("GET", ["v2", "registries"]) => {
                Reply::json(200, &json!({"registries": [{"id": "reg1", "name": "Docker Hub"}]}))
            }
            ("GET", ["v2", "pods"]) => {
                let shown: Vec<_> = self.pods.keys().map(|it| self.shown(it)).collect();
                // What is deleted is listed once more.
                self.pods.retain(|_, it| it.status != "TERMINATED");
                Reply::json(200, &json!({"pods": shown}))
            }
            ("POST", ["v2", "pods"]) => {
                let computes = match body.get("gpu") {
                    Some(gpu) => ("gpu", gpu.clone()),
                    None => ("cpu", json!({"id": body["cpu"]["id"], "vcpuCount": 2, "memory": 5})),
                };
                let key = body["env"]["PUBLIC_KEY"].as_str().unwrap_or("");
                let id = self.rent(&body["name"], key, computes, &body["cloud"]);
                Reply::json(201, &self.shown(&id))
            }
            ("GET", ["v2", "pods", id]) if self.pods.contains_key(*id) => {
                let shown = self.shown(id);
                let pod = self.pods.get_mut(*id).unwrap();
                match pod.status {
                    // It runs long before it is reached.
                    "PROVISIONING" => pod.status = "RUNNING",
                    "TERMINATED" => drop(self.pods.remove(*id)),
                    _ => {}
                }
                Reply::json(200, &shown)
            }
            ("DELETE", ["v2", "pods", id]) => match self.pods.get_mut(*id) {
                Some(pod) if pod.status != "TERMINATED" => {
                    pod.status = "TERMINATED";
                    Reply::text(204, "")
                }
                _ => problem(404, "Not Found", "pod not found"),
            },
            _ => problem(404, "Not Found", "resource not found"),
        }
    }

    fn refusal(&self, fault: Fault) -> Reply {
        match fault {
            Fault::NoCapacity => problem(
                400,
                "Bad Request",
                "There are no longer any instances available with the requested specifications. Please \
                 refresh and try again.",
            ),
            Fault::Quota => problem(400, "Bad Request", "You have reached the maximum number of pods."),
            Fault::BadKey => problem(401, "Unauthorized", "invalid bearer token"),
            Fault::InsufficientFunds => problem(402, "Payment Required", "insufficient balance"),
            Fault::Limited(wait) => {
                let reply = problem(429, "Too Many Requests", "rate limit exceeded");
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
        seen.method == "POST" && (seen.path == "/v2/pods" || !seen.json()["variables"]["bid"].is_null())
    }

    fn prepares_last(&self, seen: &Seen) -> bool {
        seen.method == "GET" && seen.path == "/v2/pods"
    }

    fn machines(&self) -> Vec<(String, String)> {
        let all = self.pods.iter().filter(|(_, it)| it.status != "TERMINATED");
        all.map(|(id, it)| (id.clone(), it.key.clone())).collect()
    }

    fn running(&self) -> Vec<(String, String)> {
        let stopped = |id: &String| self.pods[id].status == "EXITED";
        self.machines().into_iter().filter(|(id, _)| !stopped(id)).collect()
    }

    fn set(&mut self, id: &str, condition: Condition) {
        let pod = self.pods.get_mut(id).unwrap();
        match condition {
            Condition::Active(address) => (pod.status, pod.address) = ("RUNNING", Some(address)),
            // A stopped pod goes on costing; it is deleted later.
            Condition::Taken => pod.status = "EXITED",
            // How it ends itself is to delete itself.
            Condition::Shutdown | Condition::Vanished => drop(self.pods.remove(id)),
        }
    }

    fn things(&self) -> Vec<String> {
        Vec::new()
    }

    fn offers(&self) -> Vec<Offer> {
        let mut offers: Vec<_> =
            [1, 2].into_iter().flat_map(|count| CARDS.iter().flat_map(move |it| it.offers(count))).collect();
        for (vcpus, gb, cost) in [(2, 5, usd!(0.08)), (4, 10, usd!(0.16))] {
            let mut it = offer(format!("cpu3c-{vcpus}"), vcpus, gb, cost + disks(10 * vcpus));
            it.instance_type.disk_gb = Some(10 * vcpus);
            it.specific =
                [("cpu".into(), "cpu3c".into()), ("name".into(), "Compute-Optimized".into())].into();
            offers.push(at(&it, "EU-RO-1"));
        }
        offers
    }

    fn provider(&self, key: &str, access: Access, ssh_port: u16) -> Box<dyn Account> {
        self.ssh_port.store(ssh_port, Ordering::Relaxed);
        let api_key = Some(Secret::new(key.to_owned()));
        Box::new(Provider::new(Config { api_key, access, ..Config::default() }))
    }
}

/// What a pod is given, which is good for nothing but its own end.
fn own_key(id: &str) -> String {
    format!("the-own-key-of-{id}")
}

/// The first process of a container, with what it has started.
struct Container {
    first: Child,
    home: tempfile::TempDir,
}

impl Container {
    /// Runs what a pod was made with, in a folder of its own. `hurried`: some of its words, and what is faster; the
    /// SSH server is a program that runs as long as it is told.
    fn run(made: &Value, id: &str, serves: &str, hurried: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let at = |it: &str| home.path().join(it).display().to_string();
        for (name, does) in
            [("sshd", format!("echo > {}; {serves}", at("served"))), ("ssh-keygen", String::new())]
        {
            std::fs::write(at(name), format!("#!/bin/sh\n{does}\n")).unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let args = made["args"].as_str().unwrap();
        let mut script = args.strip_prefix("bash -c '").unwrap().strip_suffix('\'').unwrap().to_owned();
        let paths = [
            ("/usr/sbin/sshd", at("sshd")),
            ("/run/sshd", at("run")),
            ("/root", at("")),
            ("/etc/environment", at("environment")),
        ];
        for (from, to) in paths.iter().map(|(from, to)| (*from, to.as_str())).chain(hurried.iter().copied()) {
            assert!(script.contains(from), "{from}");
            script = script.replace(from, to);
        }
        let path = format!("{}:{}", home.path().display(), std::env::var("PATH").unwrap());
        let told = made["env"].as_object().unwrap().iter().map(|(name, it)| (name, it.as_str().unwrap()));
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(script).env_clear().env("PATH", path).envs(told);
        shell.env("RUNPOD_POD_ID", id).env("RUNPOD_API_KEY", own_key(id));
        let first = shell.process_group(0).spawn().unwrap();
        Self { first, home }
    }

    /// Runs a command that is meant for a session in the container.
    async fn session(&self, command: &str) -> bool {
        let first = format!("/proc/{}/environ", self.first.id());
        let command = command.replace("/proc/1/environ", &first);
        tokio::process::Command::new("sh").arg("-c").arg(command).status().await.unwrap().success()
    }

    fn has(&self, file: &str) -> bool {
        self.home.path().join(file).exists()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let group = format!("-{}", self.first.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).status();
        let _ = self.first.wait();
    }
}

#[tokio::test]
async fn a_pod_ends_its_own_bill_from_its_first_moment_with_a_key_that_is_good_for_nothing_else() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("SKYWARD_REQUIRE_ALL").is_none(),
            "SKYWARD_REQUIRE_ALL is set, but there is no curl"
        );
        eprintln!("SKIPPED: no curl on this computer: no pod can end itself");
        return;
    }
    let fake = Fake::start(Box::new(RunPod::default())).await;
    let (provider, request) = (fake.provider(), request(&fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    let rented = provider.provision(&request, 4).await.unwrap().instances;
    let ids: Vec<String> = rented.into_iter().map(|it| it.id.to_string()).collect();
    let seen = fake.asked();
    let made = seen.iter().find(|it| it.method == "POST" && it.path == "/v2/pods").unwrap();
    assert!(!String::from_utf8_lossy(&made.body).contains(&fake.key), "no key of the account goes to a pod");
    let made = made.json();
    assert_eq!(
        (&made["env"]["SKYWARD_ARRIVAL"], &made["env"]["SKYWARD_LEASE"]),
        (&json!("600"), &json!("60"))
    );
    let stays = "exec sleep 600";
    let quick = ("sleep 5; idle=$((idle + 5))", "sleep 0.2; idle=$((idle + 1))");

    // Its worker has it delete itself over a session.
    fake.face().set(&ids[0], Condition::Active("203.0.113.9".parse().unwrap()));
    let InstanceState::Running { end: End::Command { shell }, .. } =
        provider.describe(&request, &InstanceId::new(&ids[0])).await.unwrap().state
    else {
        panic!("it runs, and ends itself by a command")
    };
    assert!(!shell.contains(&fake.key));
    let pod = Container::run(&made, &ids[0], stays, &[]);
    until("it serves", || pod.has("served")).await;
    let let_in = std::fs::read_to_string(pod.home.path().join(".ssh/authorized_keys")).unwrap();
    assert_eq!(let_in.trim(), request.ssh_key);
    assert!(pod.session(&shell).await);
    assert_eq!(fake.machines(), ids[1..]);
    assert!(!pod.session(&shell).await, "it is gone already");

    // Nobody came.
    let _alone = Container::run(&made, &ids[1], stays, &[("most=$SKYWARD_ARRIVAL", "most=3"), quick]);
    until("it ended alone", || fake.machines() == ids[2..]).await;

    // Somebody came and renewed, and does not any more.
    let left = Container::run(&made, &ids[2], stays, &[("most=$SKYWARD_LEASE", "most=3"), quick]);
    until("it serves", || left.has("served")).await;
    assert_eq!(fake.machines(), ids[2..]);
    std::fs::create_dir_all(left.home.path().join(".skyward")).unwrap();
    std::fs::write(left.home.path().join(LEASE_FILE), "1").unwrap();
    until("its lease lapsed", || fake.machines() == ids[3..]).await;

    // Its SSH server ends.
    let _broken = Container::run(&made, &ids[3], "exit 1", &[]);
    until("it is of no use", || fake.machines().is_empty()).await;
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test]
async fn a_bid_that_failed_with_the_status_of_a_success_is_looked_for_before_it_is_made_again() {
    let fake = Fake::start(Box::new(RunPod { trips: 1, ..RunPod::default() })).await;
    let provider = fake.provider();
    let request = Request { market: Market::Spot, ..request(&fake, "pool1") };
    provider.prepare(&request).await.unwrap();
    let rented = provider.provision(&request, 1).await.unwrap().instances;
    assert_eq!(fake.machines(), [rented[0].id.as_str()]);
    assert_eq!(fake.violations(), [""; 0]);
}
