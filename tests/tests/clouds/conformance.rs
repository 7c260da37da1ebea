//! One suite of checks for every cloud of the table, each against a fresh stand-in. Prints which check held
//! where; a cloud that is in the table and has no stand-in fails.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::FutureExt;
use skyward_providers::cloud::{CLOUDS, Cloud};

#[cfg(feature = "aws")]
use crate::aws::{Aws, Moto};
use crate::checks;
use crate::digitalocean::DigitalOcean;
use crate::fake::{Face, Fake};
use crate::lambda::Lambda;
use crate::logs;
use crate::runpod::RunPod;
use crate::vastai::VastAi;
use crate::verda::Verda;

/// The ways of each cloud of the table.
pub(crate) fn face(cloud: &str) -> Box<dyn Face> {
    match cloud {
        #[cfg(feature = "aws")]
        "aws" => Box::<Aws>::default(),
        "digitalocean" => Box::<DigitalOcean>::default(),
        "lambda" => Box::<Lambda>::default(),
        "runpod" => Box::<RunPod>::default(),
        "vastai" => Box::<VastAi>::default(),
        "verda" => Box::<Verda>::default(),
        other => panic!("{other} is in the table and has no stand-in: write one beside the others"),
    }
}

/// The clouds that a stand-in can be made of here.
pub(crate) fn clouds() -> Vec<&'static Cloud> {
    #[cfg(feature = "aws")]
    let there = |it: &&Cloud| it.name != "aws" || Moto::get().is_some();
    #[cfg(not(feature = "aws"))]
    let there = |_: &&Cloud| true;
    CLOUDS.iter().filter(there).collect()
}

type Check = for<'a> fn(&'a Fake) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), (|fake| Box::pin(checks::$name(fake))) as Check)),*]
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn every_check_holds_for_every_cloud() {
    logs::capture();
    let checks = checks![
        the_offers_are_all_there_with_units_and_currency_right,
        preparing_twice_makes_everything_once,
        as_many_machines_as_were_asked_for,
        some_machines_and_why_there_are_no_more,
        no_capacity,
        the_limit_of_the_account,
        a_key_that_is_wrong,
        no_money,
        a_limit_that_says_how_long,
        a_limit_that_does_not_say,
        a_server_that_fails_for_a_moment,
        a_server_that_goes_on_failing,
        a_machine_that_was_rented_although_the_answer_was_lost,
        a_machine_that_was_not_rented_when_the_answer_was_lost,
        a_machine_that_is_refused_when_the_first_answer_was_lost,
        a_machine_that_cannot_be_looked_for_when_the_answer_was_lost,
        a_machine_in_each_of_its_states,
        a_machine_that_the_cloud_takes_back,
        a_machine_that_vanished,
        a_machine_that_nobody_rented,
        terminating_twice,
        a_teardown_after_half_a_preparation,
        a_later_preparation_that_fails_leaves_the_machines_alone,
        a_leak_is_found_by_its_tag_and_other_pools_are_left_alone,
        machines_of_all_pools_are_seen_with_their_age,
        only_giving_back_ends_the_bill,
        a_market_that_is_not_there,
        the_account_is_checked_with_one_call,
        nothing_secret_in_any_log_line,
    ];
    let mut table = format!("{:<66}", "");
    let mut failed = Vec::new();
    let clouds = clouds();
    for cloud in &clouds {
        table.push_str(&format!("{:>14}", cloud.name));
    }
    for (name, check) in checks {
        table.push_str(&format!("\n{:<66}", name.replace('_', " ")));
        for cloud in &clouds {
            let fake = Fake::start(face(cloud.name)).await;
            let held = AssertUnwindSafe(check(&fake)).catch_unwind().await.is_ok();
            let violations = fake.violations();
            let cell = if held && violations.is_empty() { "ok" } else { "FAILED" };
            table.push_str(&format!("{cell:>14}"));
            if cell != "ok" {
                failed.push(format!("{}: {name}: {violations:?}", cloud.name));
            }
        }
    }
    println!("\n{table}\n");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
