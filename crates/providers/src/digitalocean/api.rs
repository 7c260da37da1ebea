//! The calls of DigitalOcean's interface, version 2, and what they carry. Of what it answers only what is
//! used is read; it may say more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::http::{Call, Limit, Service};

/// 250 requests a minute and 5,000 an hour: these limits stay below both. Keys may be listed ten times a
/// minute.
pub(crate) const SERVICE: Service = Service {
    name: "DigitalOcean",
    base_url: "https://api.digitalocean.com",
    key: "DIGITALOCEAN_TOKEN",
    limits: &[Limit::all(150, Duration::from_millis(750)), Limit::of(LIST_KEYS, 5, Duration::from_secs(6))],
    said: super::map::said,
};

/// The endpoint with a limit of its own.
const LIST_KEYS: &str = "list keys";

/// The most machines that one request makes.
pub(super) const MOST_NAMES: usize = 10;

/// How long it takes to give back one more machine: to delete it, and to look whether it is gone.
pub(super) const PACE: Duration = Duration::from_millis(1500);

#[derive(Deserialize)]
pub(crate) struct Sizes {
    pub(crate) sizes: Vec<Size>,
    links: Option<Links>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Size {
    pub(super) slug: String,
    pub(super) memory: u64,
    pub(super) vcpus: u32,
    pub(super) disk: u32,
    pub(super) price_hourly: f64,
    #[serde(default)]
    pub(super) regions: Vec<String>,
    pub(super) available: bool,
    #[serde(default)]
    pub(super) description: String,
    pub(super) gpu_info: Option<GpuInfo>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GpuInfo {
    pub(super) count: u32,
    pub(super) model: String,
    pub(super) vram: Option<Vram>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Vram {
    pub(super) amount: u32,
    pub(super) unit: String,
}

/// Where the next page is.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Links {
    pages: Option<Pages>,
}

#[derive(Clone, Debug, Deserialize)]
struct Pages {
    next: Option<String>,
}

/// A list that may have another page.
pub(crate) trait Paged {
    fn links(&self) -> Option<&Links>;
}

macro_rules! paged {
    ($($list:ty),*) => {
        $(impl Paged for $list {
            fn links(&self) -> Option<&Links> {
                self.links.as_ref()
            }
        })*
    };
}

paged!(Sizes, Droplets, Keys, Firewalls);

#[derive(Deserialize)]
pub(crate) struct Droplets {
    pub(crate) droplets: Vec<Droplet>,
    links: Option<Links>,
}

impl Droplets {
    /// A list that was put together of others.
    pub(super) const fn of(droplets: Vec<Droplet>) -> Self {
        Self { droplets, links: None }
    }
}

#[derive(Deserialize)]
pub(crate) struct OneDroplet {
    pub(crate) droplet: Droplet,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Droplet {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) networks: Networks,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Networks {
    #[serde(default)]
    pub(super) v4: Vec<Network>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Network {
    pub(super) ip_address: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Deserialize)]
pub(crate) struct Keys {
    pub(super) ssh_keys: Vec<Key>,
    links: Option<Links>,
}

#[derive(Deserialize)]
pub(crate) struct OneKey {
    pub(super) ssh_key: Key,
}

impl OneKey {
    /// One that was found in a list.
    pub(super) fn numbered(id: u64, name: &str) -> Self {
        Self { ssh_key: Key { id, name: name.to_owned() } }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Key {
    pub(super) id: u64,
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(crate) struct Firewalls {
    pub(super) firewalls: Vec<Firewall>,
    links: Option<Links>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Firewall {
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(crate) struct OneAccount {
    pub(super) account: Account,
}

#[derive(Deserialize)]
pub(crate) struct Account {
    pub(super) email: String,
    pub(super) status: String,
    pub(super) droplet_limit: u32,
}

/// An error, whichever request it answers.
#[derive(Deserialize)]
pub(crate) struct Refusal {
    pub(super) id: String,
    pub(super) message: String,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct NewDroplets {
    pub(super) names: Vec<String>,
    pub(super) region: String,
    pub(super) size: String,
    pub(super) image: ImageName,
    pub(super) ssh_keys: Vec<u64>,
    pub(super) tags: Vec<String>,
    pub(super) ipv6: bool,
    pub(super) monitoring: bool,
    pub(super) with_droplet_agent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vpc_uuid: Option<String>,
}

/// An image of the cloud's by its slug, one of one's own by its number.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum ImageName {
    Slug(String),
    Number(u64),
}

#[derive(Serialize)]
pub(super) struct NewKey<'a> {
    pub(super) name: &'a str,
    pub(super) public_key: &'a str,
}

#[derive(Serialize)]
pub(super) struct NewTag<'a> {
    pub(super) name: &'a str,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct NewFirewall {
    pub(super) name: String,
    pub(super) tags: Vec<String>,
    pub(super) inbound_rules: Vec<Inbound>,
    pub(super) outbound_rules: Vec<Outbound>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Inbound {
    pub(super) protocol: &'static str,
    pub(super) ports: String,
    pub(super) sources: Addresses,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Outbound {
    pub(super) protocol: &'static str,
    pub(super) ports: String,
    pub(super) destinations: Addresses,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Addresses {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) addresses: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<String>,
}

pub(super) fn account() -> Call {
    Call::get("ask for the account", "/v2/account")
}

pub(crate) fn sizes() -> Call {
    Call::get("list sizes", "/v2/sizes").with("per_page", PER_PAGE)
}

pub(super) fn droplets(tag: &str) -> Call {
    Call::get("list droplets", "/v2/droplets").with("tag_name", tag).with("per_page", PER_PAGE)
}

pub(super) fn droplet(id: &str) -> Call {
    Call::get("look at a droplet", format!("/v2/droplets/{id}"))
}

pub(super) fn create_droplets(new: &NewDroplets) -> Call {
    Call::post("rent droplets", "/v2/droplets", new)
}

pub(super) fn delete_droplet(id: &str) -> Call {
    Call::delete("delete a droplet", format!("/v2/droplets/{id}"))
}

pub(super) fn delete_droplets(tag: &str) -> Call {
    Call::delete("delete the droplets of a pool", "/v2/droplets").with("tag_name", tag)
}

pub(super) fn keys() -> Call {
    Call::get("list keys", "/v2/account/keys").with("per_page", PER_PAGE).at(LIST_KEYS)
}

pub(super) fn create_key(name: &str, public_key: &str) -> Call {
    Call::post("store the pool's key", "/v2/account/keys", &NewKey { name, public_key })
}

pub(super) fn delete_key(id: u64) -> Call {
    Call::delete("delete the pool's key", format!("/v2/account/keys/{id}"))
}

/// A tag that is there already is the same tag.
pub(super) fn create_tag(name: &str) -> Call {
    Call::post("make the pool's tag", "/v2/tags", &NewTag { name }).repeatable()
}

pub(super) fn delete_tag(name: &str) -> Call {
    Call::delete("delete the pool's tag", format!("/v2/tags/{name}"))
}

pub(super) fn firewalls() -> Call {
    Call::get("list firewalls", "/v2/firewalls").with("per_page", PER_PAGE)
}

pub(super) fn create_firewall(new: &NewFirewall) -> Call {
    Call::post("make the pool's firewall", "/v2/firewalls", new)
}

pub(super) fn delete_firewall(id: &str) -> Call {
    Call::delete("delete the pool's firewall", format!("/v2/firewalls/{id}"))
}

/// The call for the page after this one. Only the page's number is taken from the address that is given.
pub(crate) fn next<P: Paged>(call: &Call, page: &P) -> Option<Call> {
    let next = page.links()?.pages.as_ref()?.next.as_deref()?;
    let (_, query) = next.split_once('?')?;
    let number = query.split('&').find_map(|it| it.strip_prefix("page="))?;
    Some(call.clone().with("page", number.parse::<u32>().ok()?))
}

/// The most that a page holds.
const PER_PAGE: u32 = 200;

#[test]
fn the_next_page_is_asked_for_by_its_number_alone() {
    let page = |text: &str| serde_json::from_str::<Sizes>(text).expect("a page");
    let call = |it: Option<Call>| it.map(|it| format!("{it:?}"));
    let next = |text| call(next(&sizes(), &page(text)));
    assert_eq!(next(r#"{"sizes": [], "links": {}}"#), None);
    assert_eq!(next(r#"{"sizes": [], "links": {"pages": {"last": "x"}}}"#), None);
    let given =
        r#"{"sizes": [], "links": {"pages": {"next": "https://else.invalid/v2/sizes?per_page=1&page=2"}}}"#;
    assert_eq!(next(given), call(Some(sizes().with("page", 2))));
}
