//! AWS, which is moto behind a door: what is asked is held against the service models and written down, what moto
//! cannot do is done at the door, and the rest is moto's. Prices are told here, refusals are read from the
//! fixtures beside the contracts.

mod actions;
mod catalog;
mod coding;
mod hosts;
mod model;
mod moto;
mod said;
mod xml;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use skyward::Secret;
use skyward::provider::Offer;
use skyward_providers::aws::{Aws as Provider, Config};
use skyward_providers::cloud::Account;
use skyward_providers::http::Access;
use skyward_runtime::model::HostKey;

use crate::contract::folder;
use crate::fake::{Condition, Face, Fault};
use crate::server::{Reply, Seen};
use catalog::PRICES;
use coding::{base64, encoded, unbase64};
use hosts::Hosts;
use model::{Models, pairs};
pub(crate) use moto::Moto;
use moto::reply;
use xml::Element;

/// One account.
pub(crate) struct Aws {
    moto: &'static Moto,
    models: Option<Models>,
    account: String,
    /// The keys that were stored, by name. Moto takes only such as are keys.
    keys: BTreeMap<String, String>,
    addresses: BTreeMap<String, IpAddr>,
    /// Those that the cloud took back.
    taken: BTreeSet<String>,
    /// What was asked, as permissions name it.
    asked: BTreeSet<String>,
    /// What machines are told, by the template that they come from.
    told: BTreeMap<String, String>,
    /// Real hosts at the addresses of machines.
    hosts: Option<Arc<Hosts>>,
    /// What fleets were answered, by their tokens: who asks again is told the same.
    fleets: BTreeMap<String, Reply>,
    /// The next answers of a kind, in place of moto's.
    scripted: Vec<(&'static str, Reply)>,
}

/// The number of the next account.
static NEXT: AtomicU64 = AtomicU64::new(0);

const REGION: &str = "us-east-1";

/// Another region, for pools that are in two.
const ELSEWHERE: &str = "eu-west-1";

/// An image that moto has.
const IMAGE: &str = "ami-1e749f67";

/// A key for moto.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICW4myCTbCCJ2whXgT2V7YQ2TquE+aLQlKnwuh5p/92z";

/// The most machines that a fleet gets: as many as there are of a kind.
const THERE: u32 = 10;

impl Default for Aws {
    fn default() -> Self {
        let moto = Moto::get().expect("moto, without which nobody asks for this");
        let number = u64::from(std::process::id()) * 10_000 + NEXT.fetch_add(1, Ordering::Relaxed);
        let account = format!("{:012}", 100_000_000_000 + number);
        let images = [
            "canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
            "canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id",
            "deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id",
            "neuron/dlami/base/ubuntu-22.04/latest/image_id",
        ];
        for (image, region) in images.iter().flat_map(|it| [(it, REGION), (it, ELSEWHERE)]) {
            let body = json!({"Name": format!("/images/{image}"), "Value": IMAGE, "Type": "String"});
            let (status, told) = moto.json(&account, region, "AmazonSSM.PutParameter", &body.to_string());
            assert_eq!(status, 200, "{told}");
        }
        Self {
            moto,
            models: Models::load(),
            account,
            keys: BTreeMap::new(),
            addresses: BTreeMap::new(),
            taken: BTreeSet::new(),
            asked: BTreeSet::new(),
            told: BTreeMap::new(),
            hosts: None,
            fleets: BTreeMap::new(),
            scripted: Vec::new(),
        }
    }
}

/// Who asks for what.
struct Asked {
    service: String,
    action: String,
}

impl Asked {
    fn of(seen: &Seen) -> Self {
        let scope = seen.header("authorization").split("Credential=").nth(1).unwrap_or_default();
        let service = scope.split([',', '/']).nth(3).unwrap_or_default().to_owned();
        let target = seen.header("x-amz-target").rsplit('.').next().unwrap_or_default().to_owned();
        let action = || pairs(&seen.body).into_iter().find(|(it, _)| it == "Action").map(|(_, it)| it);
        let action = if target.is_empty() { action().unwrap_or_default() } else { target };
        Self { service, action }
    }
}

impl Aws {
    fn ec2(&self, form: &str) -> Element {
        self.moto.ec2(&self.account, REGION, &format!("{form}&Version=2016-11-15"))
    }

    fn instances(&self) -> Vec<Element> {
        let told = self.ec2("Action=DescribeInstances");
        let mut found = Vec::new();
        told.all("instancesSet", &mut found);
        found.into_iter().flat_map(|it| it.children.clone()).collect()
    }

    fn terminate(&self, id: &str) {
        self.ec2(&format!("Action=TerminateInstances&InstanceId.1={id}"));
    }

    /// Boots a host for each machine that is new, with what it is told, and cuts the power of those that are gone.
    fn match_hosts(&self, told: &str) {
        let Some(hosts) = &self.hosts else { return };
        let address = |id: &str, all: &[Element]| {
            let machine = all.iter().find(|it| it.at(&["instanceId"]) == id).expect("a machine of this id");
            machine.at(&["privateIpAddress"]).parse().expect("an address")
        };
        let all = self.instances();
        let living: Vec<_> = self.machines().into_iter().map(|(id, key)| (address(&id, &all), key)).collect();
        hosts.follow(&living, told);
    }

    fn pass(&self, seen: &Seen) -> Reply {
        reply(self.moto.pass(&self.account, seen))
    }

    /// Moto takes only what is a key.
    fn import_key(&mut self, seen: &Seen) -> Reply {
        let pairs = pairs(&seen.body);
        let of = |name: &str| pairs.iter().find(|(it, _)| it == name).map_or("", |(_, it)| it.as_str());
        let (name, key) = (of("KeyName").to_owned(), of("PublicKeyMaterial").to_owned());
        let form: Vec<_> = pairs
            .iter()
            .map(|(name, value)| {
                if name == "PublicKeyMaterial" {
                    (name.as_str(), base64(KEY))
                } else {
                    (name.as_str(), value.clone())
                }
            })
            .map(|(name, value)| format!("{name}={}", encoded(&value)))
            .collect();
        let told = self.pass(&Seen { body: form.join("&").into_bytes(), ..seen.clone() });
        if matches!(&told, Reply::Answer { status: 200, .. }) {
            self.keys.insert(name, unbase64(&key));
        }
        told
    }

    /// A fleet of no more than there are, and why.
    fn create_fleet(&self, seen: &Seen) -> Reply {
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        let pairs = pairs(&seen.body);
        let capacity = "TargetCapacitySpecification.TotalTargetCapacity";
        let wanted: u32 =
            pairs.iter().find(|(it, _)| it == capacity).map_or(0, |(_, it)| it.parse().unwrap());
        if wanted <= THERE {
            return self.pass(seen);
        }
        let text = text.replace(&format!("{capacity}={wanted}"), &format!("{capacity}={THERE}"));
        let told = self.pass(&Seen { body: text.into_bytes(), ..seen.clone() });
        let errors = fixture("create_fleet_partial.200.xml");
        let (start, end) = (errors.find("<errorSet>").unwrap(), errors.find("</errorSet>").unwrap());
        rewritten(told, |told| {
            told.replacen("</fleetId>", &format!("</fleetId>{}</errorSet>", &errors[start..end]), 1)
        })
    }

    /// Machines with the addresses that they would have, and why they ended.
    fn describe_instances(&self, seen: &Seen) -> Reply {
        rewritten(self.pass(seen), |mut told| {
            for (id, address) in &self.addresses {
                let at = format!("<instanceId>{id}</instanceId>");
                told = told.replace(&at, &format!("{at}<ipAddress>{address}</ipAddress>"));
            }
            for id in &self.taken {
                let Some(start) = told.find(&format!("<instanceId>{id}</instanceId>")) else { continue };
                let reason = told[..start].rfind("<stateReason>");
                let end = reason.and_then(|it| Some(it + told[it..].find("</stateReason>")?));
                let (reason, end) = reason.zip(end).expect("moto says why");
                told.replace_range(reason..end + "</stateReason>".len(), &taken_reason());
            }
            told
        })
    }
}

/// The answer with its body changed.
fn rewritten(reply: Reply, change: impl FnOnce(String) -> String) -> Reply {
    match reply {
        Reply::Answer { status: status @ 200, body, .. } => {
            Reply::text(status, &change(String::from_utf8(body).unwrap()))
        }
        other => other,
    }
}

/// Why a machine ended that was taken back, as the fixture has it.
fn taken_reason() -> String {
    let told = fixture("describe_instances_spot_interrupted.200.xml");
    let (start, end) = (told.find("<stateReason>").unwrap(), told.find("</stateReason>").unwrap());
    format!("{}</stateReason>", &told[start..end])
}

/// An answer that moto cannot give.
fn fixture(name: &str) -> String {
    let folder = folder().expect("the folder of contracts, in which the fixtures are");
    std::fs::read_to_string(folder.join("aws/fixtures").join(name)).unwrap()
}

/// A fixture as an answer; the status is in its name.
fn answer(name: &str) -> Reply {
    let status = name.split('.').nth(1).unwrap().parse().unwrap();
    Reply::text(status, &fixture(name))
}

/// A refusal that is in no fixture, in the same words around it.
fn refused(status: u16, code: &str) -> Reply {
    let told = fixture("error_auth_failure.401.xml").replace("AuthFailure", code);
    Reply::text(status, &told)
}

/// The id of the access key with this secret.
fn access_key_id(secret: &str) -> String {
    let sum = secret.bytes().fold(7_u64, |sum, it| sum.wrapping_mul(31).wrapping_add(u64::from(it)));
    format!("AKIA{sum:016X}")
}

impl Face for Aws {
    fn contract(&self) -> Option<&'static str> {
        None
    }

    fn wrong(&self, seen: &Seen) -> Vec<String> {
        let Some(models) = &self.models else { return Vec::new() };
        let Asked { service, .. } = Asked::of(seen);
        match seen.header("x-amz-target") {
            "" => models.form(&service, &pairs(&seen.body)),
            target => models.json(&service, target, &seen.json()),
        }
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        let Asked { service, action, .. } = Asked::of(seen);
        self.asked.insert(format!("{service}:{action}"));
        if let Some(next) = self.scripted.iter().position(|(it, _)| *it == action) {
            return self.scripted.remove(next).1;
        }
        match (service.as_str(), action.as_str()) {
            ("pricing", _) => catalog::prices(&seen.json()),
            ("servicequotas", "GetServiceQuota") => {
                Reply::json(200, &json!({"Quota": {"QuotaCode": seen.json()["QuotaCode"], "Value": 8.0}}))
            }
            ("ec2", "CreateLaunchTemplate") => {
                let form = pairs(&seen.body);
                let of =
                    |name: &str| form.iter().find(|(it, _)| it == name).map_or("", |(_, it)| it.as_str());
                let told = unbase64(of("LaunchTemplateData.UserData"));
                self.told.insert(of("LaunchTemplateName").to_owned(), told);
                self.pass(seen)
            }
            ("ec2", "TerminateInstances") => {
                let told = self.pass(seen);
                self.match_hosts("");
                told
            }
            ("ec2", "ImportKeyPair") => self.import_key(seen),
            ("ec2", "CreateFleet") => {
                let form = pairs(&seen.body);
                let token = form.iter().find(|(it, _)| it == "ClientToken").map(|(_, it)| it.clone());
                let token = token.expect("a token");
                if let Some(told) = self.fleets.get(&token) {
                    return told.clone();
                }
                let told = self.create_fleet(seen);
                self.fleets.insert(token, told.clone());
                let template = form.iter().find(|(it, _)| it.ends_with("LaunchTemplateName"));
                let template = template.and_then(|(_, it)| self.told.get(it)).cloned();
                self.match_hosts(&template.unwrap_or_default());
                told
            }
            ("ec2", "DescribeInstances") => self.describe_instances(seen),
            _ => self.pass(seen),
        }
    }

    fn script(&mut self, action: &'static str, reply: Reply) {
        self.scripted.push((action, reply));
    }

    fn at(&self, address: &str) -> String {
        let machine = self.instances().into_iter().find(|it| {
            it.at(&["privateIpAddress"]) == address && it.at(&["instanceState", "name"]) == "running"
        });
        machine.map(|it| it.at(&["instanceId"]).to_owned()).expect("a machine at this address")
    }

    fn permissions(&self) -> BTreeSet<String> {
        self.asked.clone()
    }

    fn lets_in(&self, seen: &Seen, key: &str) -> bool {
        seen.header("authorization").contains(&format!("Credential={}/", access_key_id(key)))
    }

    fn refusal(&self, fault: Fault) -> Reply {
        match fault {
            Fault::NoCapacity => answer("create_fleet_no_capacity.200.xml"),
            Fault::Quota => answer("error_vcpu_limit.400.xml"),
            Fault::BadKey => answer("error_auth_failure.401.xml"),
            Fault::InsufficientFunds => refused(403, "Blocked"),
            Fault::Limited(wait) => {
                let reply = answer("error_request_limit.503.xml");
                match wait {
                    Some(wait) => reply.header("retry-after", wait),
                    None => reply,
                }
            }
            Fault::Broken => refused(500, "InternalError"),
            Fault::None | Fault::DoneButLost | Fault::Lost => Reply::Cut,
        }
    }

    fn rents(&self, seen: &Seen) -> bool {
        Asked::of(seen).action == "CreateFleet"
    }

    fn prepares_last(&self, seen: &Seen) -> bool {
        Asked::of(seen).action == "AuthorizeSecurityGroupIngress"
    }

    fn machines(&self) -> Vec<(String, String)> {
        let living = self
            .instances()
            .into_iter()
            .filter(|it| !["terminated", "shutting-down"].contains(&it.at(&["instanceState", "name"])));
        let key = |it: &Element| self.keys.get(it.at(&["keyName"])).cloned().unwrap_or_default();
        let mut machines: Vec<_> = living.map(|it| (it.at(&["instanceId"]).to_owned(), key(&it))).collect();
        machines.sort();
        machines
    }

    fn host_key(&self, id: &str) -> HostKey {
        let machine = self.instances().into_iter().find(|it| it.at(&["instanceId"]) == id).unwrap();
        let tag = machine.items("tagSet").iter().find(|it| it.at(&["key"]) == "skyward-host-key").cloned();
        tag.map_or(HostKey::PinOnFirstUse, |it| HostKey::Known(it.at(&["value"]).to_owned()))
    }

    fn set(&mut self, id: &str, condition: Condition) {
        match condition {
            Condition::Active(address) => drop(self.addresses.insert(id.to_owned(), address)),
            // A shutdown is the end of a machine, as its template says.
            Condition::Shutdown | Condition::Vanished => self.terminate(id),
            Condition::Taken => {
                self.terminate(id);
                self.match_hosts("");
                self.taken.insert(id.to_owned());
            }
        }
    }

    fn things(&self) -> Vec<String> {
        let keys = self.ec2("Action=DescribeKeyPairs");
        let keys = keys.items("keySet").iter().map(|it| format!("key {}", it.at(&["keyName"])));
        let groups = self.ec2("Action=DescribeSecurityGroups");
        let groups = groups.items("securityGroupInfo").iter().map(|it| it.at(&["groupName"]).to_owned());
        let groups: Vec<_> =
            groups.filter(|it| it != "default").map(|it| format!("security group {it}")).collect();
        let templates = self.ec2("Action=DescribeLaunchTemplates");
        let templates = templates.items("launchTemplates").iter();
        let templates = templates.map(|it| format!("launch template {}", it.at(&["launchTemplateName"])));
        keys.chain(groups).chain(templates).collect()
    }

    fn offers(&self) -> Vec<Offer> {
        catalog::offers()
    }

    fn provider(&self, key: &str, access: Access, ssh_port: u16) -> Box<dyn Account> {
        Box::new(Provider::new(config(key, access, ssh_port)))
    }
}

/// Settings for a stand-in. What stands behind machines on another port reads no user data.
fn config(key: &str, access: Access, ssh_port: u16) -> Config {
    let kinds = PRICES.iter().map(|(it, _)| (*it).to_owned()).filter(|it| it != "m5.large");
    Config {
        access_key_id: Some(access_key_id(key)),
        secret_access_key: Some(Secret::new(key.to_owned())),
        region: Some(REGION.to_owned()),
        instance_types: kinds.collect(),
        ami_parameters: "/images".to_owned(),
        exclude_burstable: false,
        ssh_port,
        inject_host_key: ssh_port == 22,
        // The machines of these tests are processes of this computer.
        shutdown_command: "true".to_owned(),
        access,
        ..Config::default()
    }
}
