//! From our words to what Vast.ai is asked, and from what it says of instances and failures back to ours.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::json;
use skyward_runtime::model::{
    End, HostKey, InstanceId, InstanceState, Loss, Market, Notice, Offer, PoolId, SshEndpoint, Usd,
};
use skyward_runtime::provider::{ProviderErrorKind as Kind, Request};

use super::api::{Create, Failed, Instance, PER_SEARCH, SERVICE, Search};
use super::market::{BID, CLUSTER, COUNT, CUDA, DIRECT_PORTS, MODEL};
use super::{Config, VastAi, guard};
use crate::cloud::pool_name;
use crate::http::{Answer, Said};

/// The search for everything that can be taken; for the likes of an offer, when there is one. CUDA is not
/// among its filters: the market's own is unreliable, so it is looked at when the asks are here.
pub(super) fn search(config: &Config, like: Option<&Offer>) -> Search {
    let countries = config.countries();
    let told = |name: &str| like.and_then(|it| it.specific.get(name));
    let count = told(COUNT).and_then(|it| it.parse::<u32>().ok());
    Search {
        rentable: json!({"eq": true}),
        rented: json!({"eq": false}),
        verified: config.verified_only.then(|| json!({"eq": true})),
        reliability: json!({"gte": config.min_reliability}),
        disk_space: json!({"gte": config.disk_gb}),
        direct_port_count: config.require_direct_port.then(|| json!({"gte": 1})),
        geolocation: (!countries.is_empty()).then(|| json!({"in": countries})),
        gpu_name: told(MODEL).map(|it| json!({"in": [it]})),
        num_gpus: count.map(|it| json!({"in": [it]})),
        dph_total: None,
        kind: "on-demand",
        order: vec![["dph_total", "asc"]],
        limit: PER_SEARCH,
        allocated_storage: config.disk_gb,
    }
}

/// What the private network of a pool in a cluster is called: it is good for machines of this cluster alone.
pub(super) fn overlay(pool: &PoolId, cluster: impl std::fmt::Display) -> String {
    format!("{}-{cluster}", pool_name(pool))
}

/// The request for the machine of one ask.
pub(super) fn create(request: &Request, config: &Config, ask: &Offer, label: &str) -> Create {
    let told = |name: &str| ask.specific.get(name);
    let bid = told(BID).and_then(|it| it.parse::<Usd>().ok());
    let overlay = told(CLUSTER).map(|it| (format!("-n {}", overlay(&request.pool, it)), "1".to_owned()));
    Create {
        image: config.docker_image.clone().unwrap_or_else(|| image(told(CUDA))),
        label: label.to_owned(),
        disk: config.disk_gb,
        runtype: match told(DIRECT_PORTS).map(String::as_str) {
            None | Some("0") => "ssh_proxy",
            Some(_) => "ssh_direc ssh_proxy",
        },
        target_state: "running",
        cancel_unavail: true,
        onstart: guard::onstart(base_url(config), &request.ssh_key, request.lease),
        price: match request.market {
            // Thousand-millionths of a dollar fit a float of this size many times.
            Market::Spot => bid.map(|it| it.nanos() as f64 / 1e9),
            Market::OnDemand => None,
        },
        env: overlay.into_iter().collect(),
    }
}

/// The image of a host whose driver runs this version of CUDA: one with a newer version does not start.
fn image(cuda: Option<&String>) -> String {
    let runs: f64 = cuda.and_then(|it| it.parse().ok()).unwrap_or_default();
    let (_, ubuntu, cuda) = IMAGES.iter().find(|(least, ..)| runs >= *least).unwrap_or(&OLDEST);
    VastAi::ubuntu(ubuntu, cuda)
}

/// What a driver must run at least, and the versions of Ubuntu and CUDA for it; newest first.
const IMAGES: [(f64, &str, &str); 6] = [
    (12.9, "24.04", "12.9.1"),
    (12.8, "24.04", "12.8.1"),
    (12.6, "24.04", "12.6.3"),
    (12.4, "22.04", "12.4.1"),
    (12.2, "22.04", "12.2.2"),
    OLDEST,
];

const OLDEST: (f64, &str, &str) = (12.0, "22.04", "12.0.1");

fn base_url(config: &Config) -> &str {
    config.access.base_url.as_deref().unwrap_or(SERVICE.base_url)
}

/// An instance as a machine.
pub(super) fn instance(instance: &Instance, config: &Config) -> skyward_runtime::model::Instance {
    let state = match (dead(instance), ssh(instance)) {
        (Some((reason, loss)), _) => InstanceState::Gone { reason, loss },
        (None, Some(ssh)) if instance.actual_status.as_deref() == Some("running") => {
            // Nothing but the SSH server is reached from outside, so the address is for people.
            let address = instance.public_ipaddr.as_ref().and_then(|it| it.trim().parse().ok());
            let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let end = End::Command { shell: guard::end(base_url(config)) };
            InstanceState::Running { ssh, address, private: None, end, notice: Notice::None }
        }
        _ => InstanceState::Pending,
    };
    skyward_runtime::model::Instance { id: InstanceId::new(instance.id.to_string()), state }
}

/// Why an instance will never run, or not again.
fn dead(instance: &Instance) -> Option<(String, Loss)> {
    let status = instance.actual_status.as_deref().unwrap_or_default();
    let said = instance.status_msg.as_deref().unwrap_or_default().trim();
    let states = [&instance.cur_state, &instance.intended_status, &instance.next_state];
    if states.iter().all(|it| it.as_deref() == Some("stopped")) {
        // We never stop one: it was outbid, or its host wants its accelerators for somebody who pays more.
        let reason = "it was outbid, and is stopped; its disk still costs until it is destroyed";
        return Some((reason.to_owned(), Loss::Preempted));
    }
    if said.contains("OCI runtime create failed") {
        return Some((format!("its container cannot start: {said}"), Loss::Crashed));
    }
    let over = matches!(status, "exited" | "unknown" | "offline" | "stopped");
    let loss = if status == "stopped" { Loss::Stopped } else { Loss::Crashed };
    over.then(|| (format!("it is {status}{}{said}", if said.is_empty() { "" } else { ": " }), loss))
}

/// How an instance is reached: at its own port where it has one, else through the market's proxy.
fn ssh(instance: &Instance) -> Option<SshEndpoint> {
    let at = |host: &str, port| SshEndpoint {
        host: host.to_owned(),
        port,
        user: "root".to_owned(),
        host_key: HostKey::PinOnFirstUse,
        login: Box::default(),
    };
    let own = || {
        let host = instance.public_ipaddr.as_deref().map(str::trim).filter(|it| !it.is_empty())?;
        let port = instance.ports.as_ref()?.get("22/tcp")?.first()?.host_port.as_ref()?;
        Some(at(host, port.trim().parse().ok()?))
    };
    let proxy = || {
        let host = instance.ssh_host.as_deref().map(str::trim).filter(|it| !it.is_empty())?;
        Some(at(host, u16::try_from(instance.ssh_port?).ok()?))
    };
    own().or_else(proxy)
}

/// What an error says, in its code or its words; some come with a 200.
pub(super) fn said(answer: &Answer) -> Option<Said> {
    let failed: Failed = answer.json().unwrap_or_default();
    // Without a word, the status says all that there is.
    if answer.body.is_empty() || answer.is_success() && failed.success != Some(false) {
        return None;
    }
    let text = String::from_utf8_lossy(&answer.body);
    let message = failed.msg.or(failed.detail).unwrap_or_else(|| text.chars().take(200).collect());
    let words = format!("{} {message}", failed.error.unwrap_or_default()).to_ascii_lowercase();
    let has = |any: &[&str]| any.iter().any(|it| words.contains(it));
    let kind = match answer.status {
        401 => Kind::Auth,
        429 => Kind::RateLimited,
        _ if has(&["too frequent"]) => Kind::RateLimited,
        _ if has(&["no_such_ask", "invalid_price"]) => Kind::OfferGone,
        _ if has(&["no_such_instance"]) => Kind::NotFound,
        _ if has(&["credit", "balance", "billing"]) => Kind::InsufficientFunds,
        500.. => Kind::Transient,
        _ if has(&["quota", "limit"]) => Kind::Quota,
        403 => Kind::Permission,
        404 | 410 => Kind::NotFound,
        409 => Kind::Conflict,
        _ => Kind::InvalidRequest,
    };
    Some(Said::new(kind, message).after(threshold(&text)))
}

/// `endpoint threshold=4.5`: how many seconds there must be between two requests.
fn threshold(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once("threshold=")?;
    let number: String = rest.chars().take_while(|it| it.is_ascii_digit() || *it == '.').collect();
    Duration::try_from_secs_f64(number.trim_end_matches('.').parse().ok()?).ok()
}
