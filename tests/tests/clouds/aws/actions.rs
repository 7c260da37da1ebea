//! What an account must allow: the list of the page is what is asked for, and nothing else is.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::TryStreamExt;
use serde_json::Value;
use skyward::provider::{Market, Request};

use super::{Aws, Moto, answer};
use crate::checks::request;
use crate::fake::Fake;

/// What a fleet does in our name without being asked for by us, and what it takes to give a machine a profile.
const IMPLIED: [&str; 4] =
    ["ec2:CreateTags", "ec2:RunInstances", "iam:CreateServiceLinkedRole", "iam:PassRole"];

/// Anybody may ask who they are.
const FREE: &str = "sts:GetCallerIdentity";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_called_that_the_page_does_not_name() {
    if Moto::get().is_none() {
        return;
    }
    let fake = Fake::start(Box::<Aws>::default()).await;
    let provider = fake.provider();
    provider.check().await.unwrap();
    provider.offers().try_collect::<Vec<_>>().await.unwrap();
    let request = request(&fake, "pool1");
    for market in [Market::OnDemand, Market::Spot] {
        let request = Request { market, ..request.clone() };
        provider.prepare(&request).await.unwrap();
        let rented = provider.provision(&request, 2).await.unwrap().instances;
        provider.describe(&request, &rented[0].id).await.unwrap();
        provider.terminate(&request, &[rented[0].id.clone()]).await.unwrap();
    }
    fake.face().script("CreateFleet", answer("error_vcpu_limit.400.xml"));
    provider.provision(&request, 1).await.unwrap_err();
    provider.teardown(&request).await.unwrap();
    let mut asked = fake.face().permissions();
    assert!(asked.remove(FREE));
    let asked: BTreeSet<_> = asked.into_iter().chain(IMPLIED.map(str::to_owned)).collect();
    assert_eq!(asked, documented());
}

/// The actions of every policy of the page.
fn documented() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/providers/aws.md");
    let page = std::fs::read_to_string(page).unwrap();
    let policies = page.split("```json\n").skip(1).map(|it| it.split("```").next().unwrap());
    let policies = policies.map(|it| serde_json::from_str::<Value>(it).expect("a policy"));
    let statements = policies.flat_map(|it| it["Statement"].as_array().cloned().unwrap_or_default());
    let actions = statements.flat_map(|it| match &it["Action"] {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    });
    actions.map(|it| it.as_str().expect("a name").to_owned()).collect()
}
