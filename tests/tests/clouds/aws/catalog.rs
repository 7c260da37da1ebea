//! What there is for rent: what the price list answers, and what the provider must make of all lists.

use std::time::Duration;

use serde_json::{Value, json};
use skyward::provider::{BillingUnit, InstanceType, Offer, Price};
use skyward::{accelerators, usd};
use skyward_runtime::model::accelerator::Form;
use skyward_runtime::model::{Accelerator, Architecture, Usd};

use super::{ELSEWHERE, REGION};
use crate::server::Reply;

/// The price list, in two pages.
pub(super) fn prices(body: &Value) -> Reply {
    let asks = |field: &str, value: &str| {
        body["Filters"].as_array().unwrap().iter().any(|it| it["Field"] == field && it["Value"] == value)
    };
    assert!(
        (asks("regionCode", REGION) || asks("regionCode", ELSEWHERE)) && asks("operatingSystem", "Linux"),
        "{body}"
    );
    let product = |(kind, price): &(&str, &str)| {
        let dimension = json!({"unit": "Hrs", "pricePerUnit": {"USD": price}});
        let term = json!({"priceDimensions": {"S.T.D": dimension}, "sku": "S"});
        let attributes = json!({"instanceType": kind, "regionCode": REGION});
        json!({"product": {"attributes": attributes}, "terms": {"OnDemand": {"S.T": term}}}).to_string()
    };
    let (first, second) = PRICES.split_at(4);
    match body["NextToken"].as_str() {
        None => {
            let list: Vec<_> = first.iter().map(product).collect();
            Reply::json(200, &json!({"FormatVersion": "aws_v1", "PriceList": list, "NextToken": "page2"}))
        }
        Some("page2") => {
            let list: Vec<_> = second.iter().map(product).collect();
            Reply::json(200, &json!({"FormatVersion": "aws_v1", "PriceList": list}))
        }
        Some(_) => Reply::json(400, &json!({"__type": "InvalidNextTokenException", "Message": "no"})),
    }
}

/// What the provider must make of it.
pub(super) fn offers() -> Vec<Offer> {
    let offer = |name: &str, price: Usd, vcpus, memory_mb, zones: &str, accelerator: Option<Accelerator>| {
        let architecture = if name.starts_with("c7g") { Architecture::Aarch64 } else { Architecture::X86_64 };
        let drivers = match accelerator.as_ref().map(|it| it.name.as_str()) {
            None => None,
            Some("Inferentia2" | "Trainium1") => Some("neuron"),
            Some(_) => Some("nvidia"),
        };
        let kind = InstanceType {
            vcpus,
            memory_mb,
            disk_gb: Some(100),
            architecture: Some(architecture),
            accelerator,
            ..InstanceType::named(name)
        };
        // With a disk of 100 GB and a public address.
        let beside = usd!(0.08).fraction(100, 730) + usd!(0.005);
        let price = Price::on_demand(price + beside).with_spot(usd!(0.00001) + beside);
        let price = price.billed(BillingUnit::Second, Duration::from_secs(60));
        let zones: Vec<_> = zones.chars().map(|it| format!("us-east-1{it}")).collect();
        let mut offer = Offer::of("aws", kind, price);
        offer.specific.insert("zones".into(), zones.join(" "));
        offer.specific.extend(drivers.map(|it| ("drivers".to_owned(), it.to_owned())));
        Offer { id: format!("{name}@{REGION}"), region: Some(REGION.into()), ..offer }
    };
    let (t4, a100) = (accelerators::T4, accelerators::A100);
    let (inf2, trn1) = (accelerators::INFERENTIA2, accelerators::TRAINIUM1);
    vec![
        offer("t3.micro", usd!(0.0104), 2, 1000, "abcdf", None),
        offer("c7g.large", usd!(0.0725), 2, 4000, "abcdf", None),
        offer("g4dn.xlarge", usd!(0.526), 4, 16_000, "abcdf", Some(t4.memory_gb(16))),
        offer(
            "p4d.24xlarge",
            usd!(21.9576),
            96,
            1_152_000,
            "abcd",
            Some(a100.count(8).memory_gb(40).form(Form::Sxm)),
        ),
        offer("inf2.xlarge", usd!(0.7582), 4, 16_000, "abcf", Some(inf2.memory_gb(32))),
        offer("trn1.2xlarge", usd!(1.34375), 8, 32_000, "cf", Some(trn1.memory_gb(32))),
    ]
}

/// What machines cost by the hour.
pub(super) const PRICES: [(&str, &str); 8] = [
    ("t3.micro", "0.0104000000"),
    ("c7g.large", "0.0725000000"),
    ("g4dn.xlarge", "0.5260000000"),
    ("g6f.large", "0.2020000000"),
    ("p4d.24xlarge", "21.9576000000"),
    ("inf2.xlarge", "0.7582000000"),
    ("trn1.2xlarge", "1.3437500000"),
    ("m5.large", "0.0960000000"),
];
