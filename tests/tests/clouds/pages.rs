//! How much is held of a list that never seems to end.

use std::time::Duration;

use futures_util::TryStreamExt;
use serde_json::json;
use skyward::Secret;
use skyward::provider::Provider;
use skyward_providers::digitalocean::{Config, DigitalOcean};
use skyward_providers::http::Access;

use crate::server::{Reply, Seen, Server};

const PAGES: u32 = 1000;

fn page(seen: &Seen) -> Reply {
    let number: u32 = seen.query.get("page").map_or(1, |it| it.parse().unwrap());
    let size = |at: u32| {
        json!({
            "slug": format!("s-{number}-{at}"), "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0,
            "price_monthly": 5.0, "price_hourly": 0.01, "regions": ["nyc1"], "available": true,
            "description": "x".repeat(200)
        })
    };
    let sizes: Vec<_> = (0..200).map(size).collect();
    let next = format!("https://api.digitalocean.com/v2/sizes?page={}", number + 1);
    let pages = if number < PAGES { json!({"next": next}) } else { json!({}) };
    Reply::json(200, &json!({"sizes": sizes, "links": {"pages": pages}, "meta": {"total": PAGES * 200}}))
}

/// What this process holds of the computer's memory, in KiB.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
}

/// What other tests hold must not be counted, so it has a process of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_thousand_pages_of_offers_are_never_all_in_memory() {
    let own = std::env::current_exe().unwrap();
    let test = "pages::a_process_reads_a_thousand_pages";
    let done = std::process::Command::new(own).args([test, "--exact", "--ignored", "--nocapture"]).output();
    let done = done.unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("memory grew"), "{text}");
    println!("{}", text.lines().find(|it| it.contains("memory grew")).unwrap());
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "the test above runs it in a process of its own"]
async fn a_process_reads_a_thousand_pages() {
    let server = Server::of(page).await;
    let access = Access {
        base_url: Some(server.url.clone()),
        request_timeout: Duration::from_secs(20),
        pace: 10_000,
        ..Access::default()
    };
    let token = Some(Secret::new("t".to_owned()));
    let provider = DigitalOcean::new(Config { token, access, ..Config::default() });
    let mut offers = provider.offers();
    let (mut seen, mut first, mut most) = (0_u32, 0, 0);
    while let Some(offer) = offers.try_next().await.unwrap() {
        assert_eq!(offer.region.as_deref(), Some("nyc1"));
        seen += 1;
        if seen == 2000 {
            first = resident();
        } else if seen.is_multiple_of(2000) {
            most = most.max(resident());
        }
    }
    assert_eq!(seen, PAGES * 200);
    let grown = most.saturating_sub(first) / 1024;
    println!("{PAGES} pages of 200 offers: memory grew by {grown} MiB");
    assert!(grown < 20, "memory grew by {grown} MiB");
}
