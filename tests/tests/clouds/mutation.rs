//! Whether the contracts see anything: each request that a provider makes is made wrong by hand, and must
//! then be refused.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use skyward::provider::{Market, Request};

use crate::checks::request;
use crate::conformance::{clouds, face};
use crate::fake::Fake;
use crate::server::Seen;

#[tokio::test]
async fn a_misspelt_field_and_a_wrong_type_are_seen_in_every_request_of_every_cloud() {
    for cloud in clouds() {
        let fake = Fake::start(face(cloud.name)).await;
        let Some(contract) = fake.contract() else { continue };
        let provider = fake.provider();
        provider.offers().try_collect::<Vec<_>>().await.unwrap();
        // A life in each market, and one with the last of what it has, for their requests.
        let first = request(&fake, "pool1");
        let spot = Request { market: Market::Spot, ..first.clone() };
        let offer = fake.face().offers().into_iter().rfind(|it| it.stock != Some(0)).unwrap();
        let last = Request { offer, ..first.clone() };
        for request in [first, spot, last] {
            if request.offer.price.tariff(request.market).is_none() {
                continue;
            }
            provider.prepare(&request).await.unwrap();
            let rented = provider.provision(&request, 2).await.unwrap();
            let ids: Vec<_> = rented.instances.into_iter().map(|it| it.id).collect();
            provider.terminate(&request, &ids).await.unwrap();
            provider.teardown(&request).await.unwrap();
        }
        assert_eq!(fake.violations(), [""; 0]);

        let bodies = fake.server.seen().into_iter().filter(|it| !it.body.is_empty());
        // Some have one path for all that they can do, and a path may take several things.
        let what = |it: &Seen| {
            let body = it.json();
            let fields: Vec<_> = body.as_object().into_iter().flat_map(|it| it.keys()).collect();
            format!("{} {} {} {fields:?}", it.method, it.path, body["operationName"])
        };
        let each: BTreeMap<String, Seen> = bodies.map(|it| (what(&it), it)).collect();
        assert!(each.len() > 2, "{}: only {} kinds of request", cloud.name, each.len());
        let mut mutants = 0;
        for seen in each.values() {
            let operation = contract.operation(&seen.method, &seen.path).unwrap();
            let check = |body: &Value| contract.request(&operation, seen.query.keys(), Some(body));
            let body = seen.json();
            assert_eq!(check(&body), [""; 0]);
            for mutant in mutants_of(&body) {
                assert!(!check(&mutant).is_empty(), "{}: {} lets through {mutant}", cloud.name, seen.path);
                mutants += 1;
            }
            assert!(!contract.request(&operation, [&"pge".to_owned()].into_iter(), Some(&body)).is_empty());
        }
        println!("{}: {mutants} mutants of {} requests, all refused", cloud.name, each.len());
    }
}

/// The value with one field misspelt or of another type, for each field at any depth.
fn mutants_of(value: &Value) -> Vec<Value> {
    let mut mutants = Vec::new();
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                // A flag or a variable of a container is a name of our own choice, which no contract can know.
                if !name.starts_with('-') && !NAMED_BY_US.contains(&name.as_str()) {
                    let mut misspelt = fields.clone();
                    misspelt.remove(name);
                    misspelt.insert(format!("{name}x"), field.clone());
                    mutants.push(Value::Object(misspelt));
                }
                let replaced = |with: Value| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), with);
                    Value::Object(fields)
                };
                mutants.push(replaced(json!({"of another": ["type"]})));
                mutants.extend(mutants_of(field).into_iter().map(replaced));
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                mutants.extend(mutants_of(first).into_iter().map(|it| json!([it])));
                mutants.push(json!([{"of another": ["type"]}]));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    mutants
}

/// Fields that no contract names: variables of a container's environment.
const NAMED_BY_US: [&str; 4] = ["PUBLIC_KEY", "SKYWARD_API", "SKYWARD_ARRIVAL", "SKYWARD_LEASE"];
