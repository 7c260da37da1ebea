//! DigitalOcean's ways, as far as its contract and its documents tell them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use skyward::Secret;
use skyward::provider::{Offer, Provider as _, ProviderErrorKind, Provisioned};
use skyward_providers::cloud::Account;
use skyward_providers::digitalocean::{Config, DigitalOcean as Provider};
use skyward_providers::http::Access;
use skyward_runtime::model::{Architecture, BillingUnit, InstanceType, Price, accelerators};
use skyward_runtime::usd;

use crate::checks::request;
use crate::fake::{Condition, Face, Fake, Fault, Hits};
use crate::server::{Reply, Seen};

#[derive(Default)]
pub(crate) struct DigitalOcean {
    next: u64,
    droplets: BTreeMap<u64, Droplet>,
    keys: BTreeMap<u64, (String, String)>,
    firewalls: BTreeMap<String, String>,
    tags: Vec<String>,
    /// How many lists still have the first machine alone.
    hides: u32,
}

struct Droplet {
    name: String,
    status: &'static str,
    address: Option<IpAddr>,
    tags: Vec<String>,
    key: String,
    /// How many more looks see it although it was deleted.
    ending: Option<u32>,
}

/// Two sizes a page, whatever was asked for: pages must be followed.
const PER_PAGE: usize = 2;

fn sizes() -> Vec<Value> {
    let size = |slug: &str, memory: u32, vcpus: u32, disk: u32, price: f64, regions: &[&str]| {
        json!({
            "slug": slug, "memory": memory, "vcpus": vcpus, "disk": disk, "transfer": 1.0,
            "price_monthly": 5.0, "price_hourly": price, "regions": regions, "available": true,
            "description": "Basic"
        })
    };
    let mut h100 = size("gpu-h100x8-640gb", 1_966_080, 160, 2046, 23.92, &["nyc2", "tor1"]);
    h100["gpu_info"] = json!({"count": 8, "model": "nvidia_h100", "vram": {"amount": 640, "unit": "gib"}});
    let mut one = size("gpu-h100x1-80gb", 245_760, 20, 720, 3.390_000_104_904_175, &["nyc2"]);
    one["gpu_info"] = json!({"count": 1, "model": "nvidia_h100", "vram": {"amount": 80, "unit": "gib"}});
    let mut mi300 = size("gpu-mi300x1-192gb", 245_760, 20, 720, 1.990_000_009_536_743_2, &["nyc2"]);
    mi300["gpu_info"] = json!({"count": 1, "model": "amd_mi300x", "vram": {"amount": 192, "unit": "gib"}});
    let mut gone = size("s-old", 512, 1, 10, 0.007_439_999_841_153_62, &["nyc1"]);
    gone["available"] = json!(false);
    vec![
        size("s-1vcpu-1gb", 1024, 1, 25, 0.008_929_999_545_216_56, &["nyc1", "fra1"]),
        size("s-8vcpu-16gb", 16_384, 8, 320, 0.142_859_995_365_142_8, &["fra1"]),
        h100,
        one,
        mi300,
        gone,
    ]
}

impl DigitalOcean {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn shown(&self, id: u64) -> Value {
        let droplet = &self.droplets[&id];
        let v4: Vec<_> = droplet
            .address
            .iter()
            .map(|it| {
                json!({"ip_address": it.to_string(), "netmask": "255.255.240.0", "gateway": "127.0.0.1", "type": "public"})
            })
            .collect();
        json!({
            "id": id, "name": droplet.name, "memory": 1024, "vcpus": 1, "disk": 25, "locked": false,
            "status": droplet.status, "created_at": "2026-11-22T08:00:00Z", "features": [], "backup_ids": [],
            "next_backup_window": null, "snapshot_ids": [], "volume_ids": [], "image": {"id": 1},
            "size": sizes()[0], "size_slug": "s-1vcpu-1gb", "networks": {"v4": v4, "v6": []},
            "region": {"name": "New York 1", "slug": "nyc1", "features": [], "available": true, "sizes": []},
            "tags": droplet.tags, "vpc_uuid": "760e09ef-dc84-11e8-981e-3cfdfeaae000"
        })
    }

    /// One look at what was deleted: it goes after a while.
    fn pass(&mut self) {
        self.droplets.retain(|_, it| match &mut it.ending {
            None => true,
            Some(0) => false,
            Some(looks) => {
                *looks -= 1;
                true
            }
        });
    }

    fn create(&mut self, body: &Value) -> Reply {
        let key = self.keys.get(&body["ssh_keys"][0].as_u64().unwrap_or(0)).map(|(_, it)| it.clone());
        let Some(key) = key else { return error(422, "unprocessable_entity", "ssh key ids are invalid") };
        let texts = |name: &str| -> Vec<String> {
            body[name].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let (names, tags) = (texts("names"), texts("tags"));
        let mut ids = Vec::new();
        for name in names {
            let id = self.number();
            let (tags, key) = (tags.clone(), key.clone());
            let droplet = Droplet { name, status: "new", address: None, tags, key, ending: None };
            self.droplets.insert(id, droplet);
            ids.push(id);
        }
        self.tags.extend(tags.iter().filter(|it| !self.tags.contains(it)).cloned().collect::<Vec<_>>());
        let shown: Vec<_> = ids.into_iter().map(|id| self.shown(id)).collect();
        Reply::json(202, &json!({"droplets": shown, "links": {"actions": []}}))
    }

    fn tagged(&self, seen: &Seen) -> Vec<u64> {
        let tag = seen.query.get("tag_name");
        let all = self.droplets.iter();
        all.filter(|(_, it)| tag.is_none_or(|tag| it.tags.contains(tag))).map(|(id, _)| *id).collect()
    }
}

fn error(status: u16, id: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"id": id, "message": message, "request_id": "4d9d8375"}))
}

fn none() -> Reply {
    error(404, "not_found", "The resource you were accessing could not be found.")
}

fn done() -> Reply {
    Reply::text(204, "")
}

/// One page of a list.
fn page(seen: &Seen, name: &str, all: Vec<Value>) -> Reply {
    let number: usize = seen.query.get("page").map_or(1, |it| it.parse().unwrap());
    let total = all.len();
    let shown: Vec<_> = all.into_iter().skip((number - 1) * PER_PAGE).take(PER_PAGE).collect();
    let next = format!("https://api.digitalocean.com{}?page={}&per_page=2", seen.path, number + 1);
    let pages = if number * PER_PAGE < total { json!({"next": next}) } else { json!({}) };
    Reply::json(200, &json!({name: shown, "links": {"pages": pages}, "meta": {"total": total}}))
        .header("ratelimit-limit", 5000)
        .header("ratelimit-remaining", 4816)
        .header("ratelimit-reset", 1_444_931_833)
}

impl Face for DigitalOcean {
    fn contract(&self) -> Option<&'static str> {
        Some("digitalocean/digitalocean.pruned.strict.openapi.json")
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        let body = seen.json();
        let steps: Vec<_> = seen.path.trim_start_matches("/v2/").split('/').collect();
        match (seen.method.as_str(), steps.as_slice()) {
            ("GET", ["account"]) => Reply::json(
                200,
                &json!({"account": {
                    "droplet_limit": 25, "floating_ip_limit": 5, "email": "me@example.com",
                    "uuid": "b6fr89dbf6d9156cace5f3c78dc9851d957381ef", "email_verified": true,
                    "status": "active", "status_message": ""
                }}),
            ),
            ("GET", ["sizes"]) => page(seen, "sizes", sizes()),
            ("POST", ["account", "keys"]) => {
                let (name, key) = (body["name"].as_str().unwrap(), body["public_key"].as_str().unwrap());
                if self.keys.values().any(|(_, it)| it == key) {
                    let message = "SSH Key is already in use on your account";
                    return error(422, "unprocessable_entity", message);
                }
                let id = self.number();
                self.keys.insert(id, (name.to_owned(), key.to_owned()));
                Reply::json(201, &json!({"ssh_key": {"id": id, "name": name, "public_key": key}}))
            }
            ("GET", ["account", "keys"]) => {
                let keys = self.keys.iter();
                let keys = keys.map(|(id, (name, key))| json!({"id": id, "name": name, "public_key": key}));
                page(seen, "ssh_keys", keys.collect())
            }
            ("DELETE", ["account", "keys", id]) => {
                let id = id.parse().unwrap_or(0);
                self.keys.remove(&id).map_or_else(none, |_| done())
            }
            ("POST", ["tags"]) => {
                let name = body["name"].as_str().unwrap().to_owned();
                if !self.tags.contains(&name) {
                    self.tags.push(name.clone());
                }
                Reply::json(201, &json!({"tag": {"name": name, "resources": {"count": 0}}}))
            }
            ("DELETE", ["tags", name]) => {
                let before = self.tags.len();
                self.tags.retain(|it| it != name);
                if self.tags.len() < before { done() } else { none() }
            }
            ("POST", ["firewalls"]) => {
                let tag = body["tags"][0].as_str().unwrap_or("");
                if !self.tags.iter().any(|it| it == tag) {
                    return error(422, "unprocessable_entity", "tag does not exist");
                }
                let id = format!("fw-{}", self.number());
                let name = body["name"].as_str().unwrap().to_owned();
                self.firewalls.insert(id.clone(), name.clone());
                Reply::json(202, &json!({"firewall": {"id": id, "name": name, "status": "waiting"}}))
            }
            ("GET", ["firewalls"]) => {
                let all = self.firewalls.iter();
                let all = all.map(|(id, name)| json!({"id": id, "name": name, "status": "succeeded"}));
                page(seen, "firewalls", all.collect())
            }
            ("DELETE", ["firewalls", id]) => self.firewalls.remove(*id).map_or_else(none, |_| done()),
            ("POST", ["droplets"]) => self.create(&body),
            ("GET", ["droplets"]) => {
                self.pass();
                let mut all: Vec<_> = self.tagged(seen).into_iter().map(|id| self.shown(id)).collect();
                if self.hides > 0 {
                    self.hides -= 1;
                    all.truncate(1);
                }
                page(seen, "droplets", all)
            }
            ("DELETE", ["droplets"]) => {
                for id in self.tagged(seen) {
                    self.droplets.get_mut(&id).unwrap().ending.get_or_insert(1);
                }
                done()
            }
            ("GET", ["droplets", id]) => {
                self.pass();
                let id = id.parse().unwrap_or(0);
                if !self.droplets.contains_key(&id) {
                    return none();
                }
                Reply::json(200, &json!({"droplet": self.shown(id)}))
            }
            ("DELETE", ["droplets", id]) => match self.droplets.get_mut(&id.parse().unwrap_or(0)) {
                None => none(),
                Some(it) if it.ending.is_some() => {
                    error(422, "unprocessable_entity", "a destroy is already in progress")
                }
                Some(it) => {
                    it.ending = Some(1);
                    done()
                }
            },
            _ => none(),
        }
    }

    fn refusal(&self, fault: Fault) -> Reply {
        let invalid = |message| error(422, "unprocessable_entity", message);
        match fault {
            Fault::NoCapacity => invalid("Size is not available in this region."),
            Fault::Quota => invalid("creating this/these droplet(s) will exceed your droplet limit"),
            Fault::BadKey => error(401, "unauthorized", "Unable to authenticate you"),
            Fault::InsufficientFunds => {
                error(403, "forbidden", "Please verify your payment method before you create resources")
            }
            Fault::Limited(wait) => {
                let reply = error(429, "too_many_requests", "API Rate limit exceeded.");
                match wait {
                    Some(wait) => reply.header("retry-after", wait),
                    None => reply,
                }
            }
            Fault::Broken => error(500, "server_error", "Unexpected server-side error"),
            Fault::None | Fault::DoneButLost | Fault::Lost => Reply::Cut,
        }
    }

    fn rents(&self, seen: &Seen) -> bool {
        seen.method == "POST" && seen.path == "/v2/droplets"
    }

    fn prepares_last(&self, seen: &Seen) -> bool {
        seen.method == "POST" && seen.path == "/v2/firewalls"
    }

    fn machines(&self) -> Vec<(String, String)> {
        // A droplet costs as long as it is there, whatever its state.
        let all = self.droplets.iter().filter(|(_, it)| it.ending.is_none());
        all.map(|(id, it)| (id.to_string(), it.key.clone())).collect()
    }

    fn set(&mut self, id: &str, condition: Condition) {
        let id = id.parse().unwrap();
        let droplet = self.droplets.get_mut(&id).unwrap();
        match condition {
            Condition::Active(address) => {
                (droplet.status, droplet.address) = ("active", Some(address));
            }
            Condition::Shutdown => droplet.status = "off",
            Condition::Taken => droplet.status = "archive",
            Condition::Vanished => drop(self.droplets.remove(&id)),
        }
    }

    fn things(&self) -> Vec<String> {
        // Tags of all pools stay, which costs nothing.
        let ours = self.tags.iter().filter(|it| it.starts_with("skyward-") && !it.contains(':'));
        let firewalls = self.firewalls.values().map(|it| format!("firewall {it}"));
        let keys = self.keys.values().map(|(name, _)| format!("key {name}"));
        ours.map(|it| format!("tag {it}")).chain(firewalls).chain(keys).collect()
    }

    fn offers(&self) -> Vec<Offer> {
        let offer = |slug: &str, region: Option<&str>, vcpus, memory_mb, disk, price: Price| {
            let kind = InstanceType {
                vcpus,
                memory_mb,
                disk_gb: Some(disk),
                architecture: Some(Architecture::X86_64),
                ..InstanceType::named(slug)
            };
            // A minute, or a cent.
            let least = match slug {
                "s-1vcpu-1gb" => 4032,
                "s-8vcpu-16gb" => 252,
                "s-old" => 4839,
                _ => 60,
            };
            let price = price.billed(BillingUnit::Second, Duration::from_secs(least));
            let mut offer = Offer::of("digitalocean", kind, price);
            offer.specific.insert("class".into(), "Basic".into());
            match region {
                Some(region) => {
                    Offer { id: format!("{slug}@{region}"), region: Some(region.into()), ..offer }
                }
                None => Offer { stock: Some(0), ..offer },
            }
        };
        let with = |mut offer: Offer, accelerator| {
            offer.instance_type.accelerator = Some(accelerator);
            offer
        };
        let dollars = |it| Price::on_demand(it);
        let h100 = |region| {
            let price = dollars(usd!(23.92));
            let offer = offer("gpu-h100x8-640gb", Some(region), 160, 1_920_000, 2046, price);
            with(offer, accelerators::H100.count(8).memory_gb(80))
        };
        let one = offer("gpu-h100x1-80gb", Some("nyc2"), 20, 240_000, 720, dollars(usd!(3.39)));
        let mi300 = offer("gpu-mi300x1-192gb", Some("nyc2"), 20, 240_000, 720, dollars(usd!(1.99)));
        vec![
            offer("s-1vcpu-1gb", Some("nyc1"), 1, 1000, 25, dollars(usd!(0.00893))),
            offer("s-1vcpu-1gb", Some("fra1"), 1, 1000, 25, dollars(usd!(0.00893))),
            offer("s-8vcpu-16gb", Some("fra1"), 8, 16_000, 320, dollars(usd!(0.14286))),
            h100("nyc2"),
            h100("tor1"),
            with(one, accelerators::H100.count(1).memory_gb(80)),
            with(mi300, accelerators::MI300X.count(1).memory_gb(192)),
            offer("s-old", None, 1, 500, 10, dollars(usd!(0.00744))),
        ]
    }

    fn provider(&self, key: &str, access: Access, ssh_port: u16) -> Box<dyn Account> {
        let token = Some(Secret::new(key.to_owned()));
        Box::new(Provider::new(Config { token, access, ssh_port, ..Config::default() }))
    }
}

/// Rents three machines with a request whose answer is lost, and looks for them in lists that have them late.
async fn found_after(hides: u32, settles: Duration) -> (Fake, Provisioned) {
    let fake = Fake::start(Box::new(DigitalOcean { hides, ..DigitalOcean::default() })).await;
    let (token, access) = (Some(Secret::new(fake.key.clone())), Access { settles, ..fake.access() });
    let provider = Provider::new(Config { token, access, ..Config::default() });
    let request = request(&fake, "pool1");
    provider.prepare(&request).await.unwrap();
    fake.fail(Hits::Rent, [Fault::DoneButLost]);
    let rented = provider.provision(&request, 3).await.unwrap();
    assert_eq!(fake.machines().len(), 3, "nothing was made twice");
    assert_eq!(fake.violations(), [""; 0]);
    (fake, rented)
}

#[tokio::test]
async fn some_of_what_was_made_is_not_taken_for_all_of_it() {
    let (_fake, rented) = found_after(3, Duration::from_secs(60)).await;
    assert_eq!((rented.instances.len(), rented.shortfall.map(|it| it.kind)), (3, None));
}

#[tokio::test]
async fn what_is_not_found_in_time_is_missing_and_goes_with_the_pool() {
    let (fake, rented) = found_after(1_000_000, Duration::from_millis(20)).await;
    let kind = rented.shortfall.map(|it| it.kind);
    assert_eq!((rented.instances.len(), kind), (1, Some(ProviderErrorKind::Transient)));
    // The list shows one after the other.
    assert_eq!(fake.provider().teardown(&request(&fake, "pool1")).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_found_stays_in_doubt_when_the_next_request_is_refused() {
    let fake = Fake::start(Box::new(DigitalOcean { hides: 1_000_000, ..DigitalOcean::default() })).await;
    let (provider, request) = (fake.provider(), request(&fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    fake.fail(Hits::Rent, [Fault::DoneButLost, Fault::Quota]);
    // Ten go into one request.
    let rented = provider.provision(&request, 12).await.unwrap();
    let shortfall = rented.shortfall.map(|it| (it.kind, it.unsure));
    assert_eq!((rented.instances.len(), shortfall), (1, Some((ProviderErrorKind::Quota, true))));
    assert_eq!(fake.machines().len(), 10, "the pool looks for the other nine");
}
