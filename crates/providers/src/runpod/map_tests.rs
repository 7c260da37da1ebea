//! What RunPod's words become.

use super::*;
use crate::runpod::api::{Port, Runtime};

#[test]
fn a_moment_is_written_as_a_date() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_740_787_200, "2025-03-01T00:00:00Z"),
        (1_795_305_600, "2026-11-22T00:00:00Z"),
        (4_107_542_399, "2100-02-28T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(moment(seconds), expected, "{seconds}");
    }
}

#[test]
fn a_bid_is_rounded_up_to_what_the_cloud_can_write() {
    let config = |bid_multiplier| Config { bid_multiplier, ..Config::default() };
    assert_eq!(bid(0.2, &config(1.0)), Some(0.2));
    assert_eq!(bid(0.2, &config(1.5)), Some(0.3));
    assert_eq!(bid(0.123_41, &config(1.0)), Some(0.1235));
    assert_eq!(bid(0.2, &config(f64::NAN)), None);
    assert_eq!(bid(0.2, &config(0.0)), None);
    assert_eq!(dollars(0.439_999_997_615_814_2, 2), Usd::written("0.88"));
}

#[test]
fn a_credential_is_given_to_its_registry_alone() {
    let named = |name: &str| Config { registry_auth: Some(name.to_owned()), ..Config::default() };
    for (image, config, expected) in [
        ("ubuntu:24.04", Config::default(), Some("docker hub")),
        ("me/image", Config::default(), Some("docker hub")),
        ("docker.io/me/image", Config::default(), Some("docker hub")),
        ("nvcr.io/nvidia/cuda:12", Config::default(), None),
        ("localhost:5000/image", Config::default(), None),
        ("ghcr.io/me/image", named("mine"), Some("mine")),
        ("ubuntu:24.04", Config { registry_auth: None, ..Config::default() }, None),
    ] {
        assert_eq!(credential(image, &config), expected, "{image}");
    }
}

#[test]
fn a_pod_is_there_when_its_port_is_reached_from_everywhere() {
    let port = |private, public, ip: &str| Port { private: Some(private), public, ip: Some(ip.to_owned()) };
    let pod = |status: &str, ports: Option<Vec<Port>>| Pod {
        id: "p1".to_owned(),
        name: "n".to_owned(),
        status: status.to_owned(),
        runtime: ports.map(|ports| Runtime { ports }),
    };
    let open = || Some(vec![port(8888, Some(1), "9.9.9.9"), port(22, Some(34_446), "9.9.9.9")]);
    let there = |pod: &Pod| match instance(pod, Market::OnDemand).state {
        InstanceState::Running { ssh, .. } => Some(ssh.to_string()),
        InstanceState::Pending => None,
        InstanceState::Leaving { reason, .. } | InstanceState::Gone { reason, .. } => Some(reason),
    };
    assert_eq!(there(&pod("RUNNING", open())).as_deref(), Some("root@9.9.9.9:34446"));
    for ports in [None, Some(vec![]), Some(vec![port(22, None, "9.9.9.9")])] {
        assert_eq!(there(&pod("RUNNING", ports)), None);
    }
    for inside in ["10.0.0.1", "100.65.1.2", "172.16.0.1", "fd00::1", "nowhere"] {
        assert_eq!(there(&pod("RUNNING", Some(vec![port(22, Some(1), inside)]))), None, "{inside}");
    }
    assert_eq!(there(&pod("STARTING", open())), None);
    assert_eq!(there(&pod("UNHEARD", open())), None);
    for gone in ["EXITED", "ERROR", "TERMINATED"] {
        assert!(there(&pod(gone, open())).is_some_and(|it| !it.starts_with("root@")), "{gone}");
    }
}
