//! What `sky` prints, with its exit code, over a catalog that is always the same. No provider is asked.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use skyward::accelerators::{A100, H100, L4, RTX_4090};
use skyward::catalog::{Catalog, Settings};
use skyward::provider::{Architecture, Conversion, InstanceType, Offer, Price};
use skyward::{Accelerator, Usd, usd};
use tempfile::TempDir;

/// A user's cache folder, with three clouds in it.
fn cache() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = Catalog::open(Settings::in_folder(folder.path().join("skyward"))).expect("a catalog");
    let kind = |name: &str, vcpus, memory_mb, accelerator: Option<Accelerator>| InstanceType {
        vcpus,
        memory_mb,
        accelerator,
        architecture: Some(Architecture::X86_64),
        ..InstanceType::named(name)
    };
    let both = |stays: Usd, spot: Usd| Price::on_demand(stays).with_spot(spot);
    let at = |region: &str, offer: Offer| Offer { region: Some(region.into()), ..offer };
    let arm = InstanceType { architecture: Some(Architecture::Aarch64), ..kind("m7g.large", 2, 8000, None) };
    let p4 = kind("p4d.24xlarge", 96, 1_152_000, Some(A100.count(8).memory_gb(40)));
    let g6 = kind("g6.xlarge", 4, 16_000, Some(L4.count(1).memory_gb(24)));
    let aws = [
        at("us-east-1", Offer::of("aws", kind("m7i.large", 2, 8000, None), both(usd!(0.1008), usd!(0.0375)))),
        at("eu-west-1", Offer::of("aws", kind("m7i.large", 2, 8000, None), Price::on_demand(usd!(0.1124)))),
        at("us-east-1", Offer::of("aws", arm, both(usd!(0.0816), usd!(0.031)))),
        at("us-east-1", Offer::of("aws", p4, both(usd!(32.7726), usd!(11.5655)))),
        at("us-east-1", Offer::of("aws", g6, Price::on_demand(usd!(0.8048)))),
    ];
    let card = |id: &str, stock, price, accelerator| {
        let offer = Offer::of("vast", kind("RTX 4090", 16, 64_500, Some(accelerator)), price);
        Offer { id: id.into(), stock: Some(stock), region: Some("Sweden, SE".into()), ..offer }
    };
    let vast = [
        card("101", 1, both(usd!(0.402), usd!(0.2)), RTX_4090.memory_mib(24_564)),
        card("102", 0, both(usd!(0.1), usd!(0.05)), RTX_4090.memory_mib(24_564)),
        card("103", 1, Price::on_demand(usd!(0.651)), RTX_4090.memory_mib(49_140)),
    ];
    let euro = Conversion::new("EUR", usd!(1.08));
    let h100 = kind("H100-1-80G", 24, 240_000, Some(H100.memory_gb(80)));
    let price = Price { converted: Some(euro), ..Price::on_demand(usd!(2.9484)) };
    let scaleway = [at("fr-par-2", Offer::of("scaleway", h100, price))];
    let now = SystemTime::now() - Duration::from_secs(60);
    for (provider, offers) in [("aws", &aws[..]), ("vast", &vast), ("scaleway", &scaleway)] {
        catalog.replace(provider, offers, now).expect("written");
    }
    folder
}

fn sky(cache: &TempDir, columns: Option<u32>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sky"));
    // The home folder has no keys in it: nobody is asked.
    command.env_clear().env("HOME", cache.path()).env("XDG_CACHE_HOME", cache.path()).args(arguments);
    if let Some(columns) = columns {
        command.env("COLUMNS", columns.to_string());
    }
    command.output().expect("it runs")
}

/// All that is seen of a run.
fn seen(cache: &TempDir, columns: Option<u32>, arguments: &[&str]) -> String {
    let output = sky(cache, columns, arguments);
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*cache.path().to_string_lossy(), "[cache]");
    let code = output.status.code().expect("an exit code");
    format!("{}--- stderr\n{}--- exit code {code}\n", text(&output.stdout), text(&output.stderr))
}

macro_rules! golden {
    ($($name:ident: $columns:expr, [$($argument:expr),*];)*) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(seen(&cache(), $columns, &[$($argument),*]));
            }
        )*
    };
}

golden! {
    a_list_is_a_table_cheapest_first: None, ["offers", "list", "--cached"];
    a_list_fits_a_narrow_terminal: Some(64), ["offers", "list", "--cached", "--limit", "3"];
    a_list_can_be_filtered: None, [
        "offers", "list", "--cached", "--accelerator", "rtx4090-24gb", "--on-demand", "--max-price", "0.5", "--sold-out"
    ];
    a_list_can_be_ordered: None, ["offers", "list", "--cached", "--order", "vcpus", "--limit", "2", "--vcpus", "4..24"];
    a_list_in_json_has_exact_prices: None, ["offers", "list", "--cached", "--json", "--accelerator", "A100:8"];
    a_list_of_nothing_says_what_to_do: None, ["offers", "list", "--cached", "--vcpus", "1000"];
    the_cheapest_is_one: None, ["offers", "cheapest", "--cached", "--manufacturer", "nvidia", "--memory", "100"];
    no_cheapest_is_a_failure: None, ["offers", "cheapest", "--cached", "--generation", "Volta"];
    a_summary_counts_by_provider_and_accelerator: None, ["offers", "summary", "--cached"];
    a_query_prints_its_columns: None, [
        "offers", "sql", "--cached", "SELECT provider, count(*) AS offers FROM catalog GROUP BY provider"
    ];
    a_query_in_json_has_an_object_for_each_line: None, [
        "offers", "sql", "--cached", "--json", "SELECT instance_type, spot_price FROM catalog WHERE region = 'fr-par-2'"
    ];
    a_query_that_would_write_is_refused: None, ["offers", "sql", "--cached", "DROP VIEW catalog"];
    a_misspelt_accelerator_is_answered_with_the_nearest: None, ["offers", "list", "--accelerator", "H10O"];
    a_misspelt_generation_is_answered_with_the_nearest: None, ["offers", "list", "--cached", "--generation", "Hoper"];
    an_unknown_provider_is_answered_with_the_known: None, ["offers", "list", "--cached", "--provider", "aws2"];
    one_that_cannot_be_asked_is_said: None, ["offers", "refresh", "--provider", "aws"];
    a_plan_ranks_and_says_why_each_lost: None, [
        "plan", "--cached", "--provider", "aws", "--provider", "vast", "--provider", "scaleway", "--nodes", "4",
        "--vcpus", "2", "--architecture", "x86_64", "--allocation", "cheapest"
    ];
    a_plan_of_specs_takes_the_first_that_has_an_offer: None, [
        "plan", "--cached", "--selection", "first", "--architecture", "x86_64",
        "--spec", "provider=scaleway accelerator=H100 max-hourly-cost=2.50",
        "--spec", "provider=scaleway accelerator=H100 nodes=2",
        "--spec", "provider=aws accelerator=A100-40GB:8 allocation=spot"
    ];
    a_plan_fits_a_narrow_terminal: Some(72), [
        "plan", "--cached", "--provider", "aws", "--architecture", "x86_64", "--limit", "2"
    ];
    a_plan_of_which_nothing_fits_says_what_removed_what: None, [
        "plan", "--cached", "--provider", "aws", "--provider", "vast", "--provider", "local", "--architecture",
        "x86_64", "--memory-gb", "32", "--max-hourly-cost", "0.10"
    ];
    a_plan_in_json_has_exact_prices: None, [
        "plan", "--cached", "--provider", "scaleway", "--json", "--architecture", "x86_64", "--nodes", "2:8"
    ];
    a_spec_with_a_word_too_many_is_answered_like_a_flag: None, ["plan", "--cached", "--spec", "provider=aws gpus=4"];
    nodes_that_do_not_fit_each_other_are_refused: None, ["plan", "--cached", "--nodes", "4:2"];
}

#[test]
fn what_is_known_is_refreshed_where_it_is_old() {
    let cache = tempfile::tempdir().expect("a folder");
    let listed = sky(&cache, None, &["offers", "list", "--provider", "local"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.status.success() && text.contains("local"), "{listed:?}");
    assert!(text.contains("$0.00"), "{text}");
    let again = sky(&cache, None, &["offers", "refresh", "--json"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("\"offers\": 1"), "{again:?}");
}

#[test]
fn a_damaged_catalog_is_said_and_goes_on() {
    let cache = cache();
    let file = cache.path().join("skyward/offers-1.sqlite");
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(cache.path().join(format!("skyward/offers-1.sqlite{end}")));
    }
    fs::write(&file, "this is no catalog").expect("spoilt");
    let output = sky(&cache, None, &["offers", "list", "--cached"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("was damaged") && told.contains("`sky offers refresh` fills it"), "{told}");
    assert_eq!(output.status.code(), Some(1), "nothing is known any more");
}

#[test]
fn without_a_folder_for_the_catalog_it_says_which_to_set() {
    let output = Command::new(env!("CARGO_BIN_EXE_sky"))
        .env_clear()
        .args(["offers", "list"])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("set XDG_CACHE_HOME or HOME"), "{told}");
    assert_eq!(output.status.code(), Some(1));
}
