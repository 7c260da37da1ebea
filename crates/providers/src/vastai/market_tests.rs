//! The market's asks as they really were on one day, and what becomes of them.

use std::path::Path;

use serde_json::Value;
use skyward_runtime::model::{Market, Offer};

use super::api::Ask;
use super::{Config, market};

/// All 257 asks of the recorded day; `None`, and said so, where the catalog is not there.
fn asks() -> Option<Vec<Ask>> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = "shared/catalog/vast-offers-2026-03-06.json";
    let Some(path) = own.ancestors().map(|it| it.join(file)).find(|it| it.is_file()) else {
        eprintln!("SKIPPED: no {file}: no real offers are read");
        return None;
    };
    let text = std::fs::read_to_string(path).expect("the catalog");
    let day: Value = serde_json::from_str(&text).expect("JSON");
    let models = day["offers_by_model"].as_object().expect("models");
    let asks = models.values().flat_map(|it| it.as_array().cloned().unwrap_or_default());
    Some(asks.map(|it| serde_json::from_value(it).expect("an ask")).collect())
}

/// Takes whatever there is.
fn open() -> Config {
    Config { min_reliability: 0.0, verified_only: false, min_cuda: 0.0, disk_gb: 8, ..Config::default() }
}

#[test]
fn every_real_ask_is_an_offer_or_is_refused_with_a_reason() {
    let Some(asks) = asks() else { return };
    assert_eq!(asks.len(), 257);
    let (offers, refused) = market::offers(&asks, &open());
    println!("open: {} offers, {} refused", offers.len(), refused.len());
    assert_eq!((offers.len(), refused.len()), (257, 0), "{refused:?}");
    for offer in &offers {
        let kind = &offer.instance_type;
        let accelerator = kind.accelerator.as_ref().expect("an accelerator");
        assert!(accelerator.memory_mib.is_some_and(|it| it >= 16_000), "{offer:?}");
        assert!(kind.memory_mb > 0 && kind.architecture.is_some(), "{offer:?}");
        assert!(offer.stock.is_some_and(|it| it >= 1), "it is one of its likes itself: {offer:?}");
        let paid = |market| offer.price.tariff(market).map(|it| it.hourly);
        assert!(paid(Market::Spot) < paid(Market::OnDemand), "{offer:?}");
    }
    let silent = offers.iter().filter(|it| it.instance_type.vcpus == 0).count();
    assert_eq!(silent, 3, "one host does not say how many processors it has");

    let (offers, refused) = market::offers(&asks, &Config::default());
    assert_eq!(offers.len() + refused.len(), 257, "none is lost");
    let mut reasons = std::collections::BTreeMap::<&str, u32>::new();
    for reason in refused.values() {
        let words =
            ["its host is ", "its host's reliability is ", "its driver runs CUDA ", "GB of disk left"];
        let known =
            words.iter().find(|it| reason.contains(**it)).expect("a reason that a person understands");
        *reasons.entry(known).or_default() += 1;
    }
    println!("by default: {} offers, {} refused: {reasons:?}", offers.len(), refused.len());
    assert!(offers.len() > 50 && reasons.len() > 2, "{reasons:?}");
}

#[test]
fn each_setting_refuses_what_it_says() {
    let Some(asks) = asks() else { return };
    let refused = |config: Config| market::offers(&asks, &config).1.into_values().collect::<Vec<_>>();
    let in_europe = Config { geolocation: Some("EU".into()), ..open() };
    assert!(refused(in_europe).iter().any(|it| it == "it is in Japan, JP"));
    let (offers, _) = market::offers(&asks, &Config { geolocation: Some("is".into()), ..open() });
    assert!(!offers.is_empty() && offers.iter().all(|it| it.region.as_deref() == Some("IS")));
    let direct = refused(Config { require_direct_port: true, ..open() });
    assert!(direct.iter().all(|it| it == "it has no port of its own"));
    let cuda = refused(Config { min_cuda: 13.0, ..open() });
    assert!(cuda.iter().any(|it| it == "its driver runs CUDA 12.8, and 13 is wanted"));
}

#[test]
fn what_stands_for_an_offer_is_as_good_and_costs_no_more() {
    let Some(asks) = asks() else { return };
    let (offers, _) = market::offers(&asks, &open());
    let paid = |it: &Offer, market| it.price.tariff(market).map(|it| it.hourly);
    for wanted in &offers {
        let likes = market::likes(wanted, Market::OnDemand, offers.clone());
        assert_eq!(likes[0].id, wanted.id, "itself first");
        assert!(likes.len() >= wanted.stock.expect("counted") as usize);
        for like in likes {
            assert_eq!(like.instance_type.accelerator, wanted.instance_type.accelerator);
            assert_eq!(like.region, wanted.region);
            assert!(paid(&like, Market::OnDemand) <= paid(wanted, Market::OnDemand));
            assert!(like.instance_type.vcpus >= wanted.instance_type.vcpus);
        }
    }
}
