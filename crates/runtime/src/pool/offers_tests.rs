//! What is chosen from which offers: a case for each way in which choosing can go wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::usd;
use crate::model::{Accelerator, Allocation, InstanceType, Market, Price};

fn machine(name: &str, vcpus: u32, memory_gb: u64) -> InstanceType {
    InstanceType { vcpus, memory_mb: memory_gb * 1000, ..InstanceType::named(name) }
}

fn offer(name: &str, price: Price) -> Offer {
    Offer::of("cloud", machine(name, 4, 16), price)
}

fn asked<'a>(wanted: &'a Requirements, offers: &'a [Offer]) -> Asked<'a> {
    Asked {
        provider: "cloud",
        wanted,
        nodes: Nodes::from(2),
        sized_disk: false,
        disk_gb_hour: None,
        offers: Ok(offers),
    }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.candidates.iter().map(|it| it.offer.id.as_str()).collect()
}

fn chosen(wanted: &Requirements, offers: &[Offer]) -> Vec<String> {
    let plan = rank(&[asked(wanted, offers)], &Terms::default());
    names(&plan).into_iter().map(str::to_owned).collect()
}

fn paying(allocation: Allocation) -> Requirements {
    Requirements { allocation, ..Requirements::default() }
}

/// D1: the Python original stores the selection and takes the cheapest all the same.
#[test]
fn first_takes_the_first_spec_that_has_an_offer_however_dear_it_is() {
    let wanted = Requirements::default();
    let (dear, cheap) =
        ([offer("dear", Price::on_demand(usd!(9)))], [offer("cheap", Price::on_demand(usd!(1)))]);
    let specs = [asked(&wanted, &[]), asked(&wanted, &dear), asked(&wanted, &cheap)];
    let terms = |selection| Terms { selection, ..Terms::default() };
    assert_eq!(names(&rank(&specs, &terms(Selection::First))), ["dear", "cheap"]);
    assert_eq!(names(&rank(&specs, &terms(Selection::Cheapest))), ["cheap", "dear"]);
}

/// What a cloud meters beside its quote counts like the quote.
#[test]
fn a_disk_of_the_specs_own_size_is_in_every_price_and_said_where_nobody_knows_what_it_costs() {
    let with_disk = |name: &str, gb, hourly| {
        let kind = InstanceType { disk_gb: Some(gb), ..machine(name, 4, 16) };
        Offer::of("cloud", kind, Price::on_demand(hourly))
    };
    // The one whose quote is lower comes with less.
    let offers = [with_disk("small", 50, usd!(1.00)), with_disk("large", 1000, usd!(1.05))];
    let wanted =
        |disk_gb| Requirements { disk_gb, max_hourly_cost: Some(usd!(1.10)), ..paying(Allocation::OnDemand) };
    let plan = |disk_gb, gb_hour| {
        let wanted = wanted(disk_gb);
        let asked = Asked { sized_disk: true, disk_gb_hour: gb_hour, ..asked(&wanted, &offers) };
        rank(&[asked], &Terms::default())
    };
    let hourly = |plan: &Plan| -> Vec<(String, Usd)> {
        plan.candidates.iter().map(|it| (it.offer.id.clone(), it.tariff.hourly)).collect()
    };
    let rate = Some(usd!(0.0001));
    let both = |small, large| vec![("small".to_owned(), small), ("large".to_owned(), large)];
    assert_eq!(hourly(&plan(None, rate)), both(usd!(1.00), usd!(1.05)));
    assert_eq!(
        hourly(&plan(Some(100), rate)),
        [("large".to_owned(), usd!(0.96)), ("small".to_owned(), usd!(1.005))]
    );
    // What costs more than the cap with its disk is over the cap.
    assert_eq!(hourly(&plan(Some(1500), rate)), [("large".to_owned(), usd!(1.10))]);
    // So is what is paid in the other market.
    let wanted = Requirements { disk_gb: Some(1500), ..paying(Allocation::SpotIfAvailable) };
    let both_markets = [Offer { price: Price::on_demand(usd!(2)).with_spot(usd!(1)), ..offers[1].clone() }];
    let asked = Asked { sized_disk: true, disk_gb_hour: rate, ..asked(&wanted, &both_markets) };
    let first = rank(&[asked], &Terms::default()).candidates.remove(0);
    assert_eq!((first.tariff.hourly, first.otherwise.map(|it| it.hourly)), (usd!(1.05), Some(usd!(2.05))));
    let unknown = plan(Some(1500), None);
    assert_eq!(hourly(&unknown), both(usd!(1.00), usd!(1.05)));
    let told = unknown.to_string();
    assert!(told.contains("what a disk of 1500 GB costs is not known, and in no price"), "{told}");
    assert!(!plan(Some(1500), rate).to_string().contains("not known"));
}

/// D9: there, a cheap spot price lets an offer pass whose on-demand price is paid.
#[test]
fn a_cap_is_compared_with_the_price_that_is_paid() {
    let offers = [offer("trap", Price::on_demand(usd!(3)).with_spot(usd!(0.50)))];
    let wanted = |allocation| Requirements { max_hourly_cost: Some(usd!(1)), ..paying(allocation) };
    assert!(chosen(&wanted(Allocation::OnDemand), &offers).is_empty());
    assert_eq!(chosen(&wanted(Allocation::Spot), &offers), ["trap"]);
    let plan = rank(&[asked(&wanted(Allocation::OnDemand), &offers)], &Terms::default());
    assert_eq!(
        plan.to_string(),
        "spec 0 on cloud: 0 of 1 offers fit (1 removed by max_hourly_cost); the nearest is cloud trap: $3.00/h, at \
         most $1.00/h wanted\n"
    );
    // What is too dear is no way out either when the spot market is empty.
    let plan = rank(&[asked(&wanted(Allocation::SpotIfAvailable), &offers)], &Terms::default());
    assert_eq!(plan.chosen().expect("spot fits").otherwise, None);
}

/// D10: there, `cheapest` looks at on-demand prices alone, and an offer without a spot price comes last.
#[test]
fn cheapest_compares_both_markets_and_spot_if_available_falls_back_for_each_offer() {
    let offers = [
        offer("stays", Price::on_demand(usd!(2))),
        offer("both", Price::on_demand(usd!(4)).with_spot(usd!(1))),
        offer("taken-back", Price::spot(usd!(3))),
        offer("odd", Price::on_demand(usd!(1.50)).with_spot(usd!(5))),
    ];
    assert_eq!(chosen(&paying(Allocation::Cheapest), &offers), ["both", "odd", "stays", "taken-back"]);
    assert_eq!(chosen(&paying(Allocation::SpotIfAvailable), &offers), ["both", "stays", "taken-back", "odd"]);
    assert_eq!(chosen(&paying(Allocation::Spot), &offers), ["both", "taken-back", "odd"]);
    assert_eq!(chosen(&paying(Allocation::OnDemand), &offers), ["odd", "stays", "both"]);
}

/// D11: there, a machine with more than what is asked for does not fit.
#[test]
fn vcpus_and_memory_are_minimums() {
    let price = || Price::on_demand(usd!(1));
    let offers = [
        Offer::of("cloud", machine("small", 2, 8), price()),
        Offer::of("cloud", machine("exact", 4, 16), price()),
        Offer::of("cloud", machine("large", 8, 64), price()),
    ];
    let wanted = Requirements { vcpus: Some(4), memory_gb: Some(16), ..Requirements::default() };
    assert_eq!(chosen(&wanted, &offers), ["exact", "large"]);
}

/// D12: there, neither is part of the question.
#[test]
fn region_and_architecture_filter() {
    let at = |name: &str, region: &str, architecture| {
        let kind = InstanceType { architecture, ..machine(name, 4, 16) };
        let offer = Offer::of("cloud", kind, Price::on_demand(usd!(1)));
        Offer { region: Some(region.to_owned()), ..offer }
    };
    let (x86, arm) = (Some(Architecture::X86_64), Some(Architecture::Aarch64));
    let offers = [
        at("a", "eu-west-1", x86),
        at("b", "us-east-1", x86),
        at("c", "eu-west-1", arm),
        at("d", "eu-west-1", None),
    ];
    let wanted = |region: Option<&str>, architecture| Requirements {
        region: region.map(str::to_owned),
        architecture,
        ..Requirements::default()
    };
    assert_eq!(chosen(&wanted(Some("EU-West-1"), x86), &offers), ["a"]);
    assert_eq!(chosen(&wanted(None, arm), &offers), ["c"]);
    // The program's own processor filters too, but for offers that do not say.
    let here = Terms { architecture: x86, ..Terms::default() };
    let wanted = wanted(None, None);
    assert_eq!(names(&rank(&[asked(&wanted, &offers)], &here)), ["a", "d", "b"]);
}

#[test]
fn accelerators_fit_by_name_number_and_memory_within_a_tenth() {
    let sized = |model: &str, count: u32, memory_gb: Option<u32>| {
        let plain = Accelerator::custom(model).count(count);
        memory_gb.map_or(plain.clone(), |it| plain.memory_gb(it))
    };
    let with = |name: &str, model: &str, count, memory_gb| {
        let has = sized(model, count, memory_gb);
        let kind = InstanceType { accelerator: Some(has), ..machine(name, 4, 16) };
        Offer::of("cloud", kind, Price::on_demand(usd!(1)))
    };
    let offers = [
        with("a", "A100", 1, Some(80)),
        with("b", "A100", 1, Some(40)),
        with("c", "A100", 8, Some(40)),
        with("d", "H100", 1, Some(80)),
        with("e", "A100", 1, Some(42)),
        offer("f", Price::on_demand(usd!(1))),
    ];
    let wanted = |memory_gb| Requirements {
        accelerator: Some(sized("A100", 1, memory_gb)),
        ..Requirements::default()
    };
    assert_eq!(chosen(&wanted(None), &offers), ["a", "b", "e"]);
    assert_eq!(chosen(&wanted(Some(40)), &offers), ["b", "e"]);
}

#[test]
fn a_failing_provider_is_told_and_does_not_spoil_the_rest() {
    let wanted = Requirements::default();
    let offers = [offer("good", Price::on_demand(usd!(1)))];
    let broken = Asked { provider: "broken", offers: Err("no answer"), ..asked(&wanted, &[]) };
    let plan = rank(&[broken, asked(&wanted, &offers)], &Terms::default());
    assert_eq!(names(&plan), ["good"]);
    assert_eq!(plan.specs[0].to_string(), "spec 0 on broken: no answer");
    assert_eq!(plan.chosen().expect("the other").spec, 1);
}

#[test]
fn what_removed_each_offer_is_counted_and_the_nearest_miss_is_named() {
    let price = |hourly| Price::on_demand(hourly);
    let offers = [
        Offer::of("cloud", machine("tiny", 1, 1), price(usd!(0.10))),
        Offer::of("cloud", machine("slim", 8, 15), price(usd!(0.40))),
        Offer::of("cloud", machine("dear", 8, 64), price(usd!(9))),
        Offer { stock: Some(1), ..Offer::of("cloud", machine("scarce", 8, 64), price(usd!(0.50))) },
    ];
    let wanted = Requirements {
        vcpus: Some(4),
        memory_gb: Some(16),
        max_hourly_cost: Some(usd!(1)),
        ..Requirements::default()
    };
    let plan = rank(&[asked(&wanted, &offers)], &Terms::default());
    let report = &plan.specs[0];
    let removed = [(Filter::Vcpus, 1), (Filter::Memory, 1), (Filter::Price, 1), (Filter::Stock, 1)];
    assert_eq!((report.offers, report.fitting, report.removed.as_slice()), (4, 0, removed.as_slice()));
    let nearest = report.nearest.as_ref().expect("one is near");
    assert_eq!((nearest.offer.id.as_str(), nearest.reason.as_str()), ("slim", "15 GB of memory, 16 wanted"));
}

#[test]
fn the_pool_may_not_cost_more_than_its_own_cap() {
    let wanted = Requirements::default();
    let offers = [offer("one", Price::on_demand(usd!(1))), offer("two", Price::on_demand(usd!(2)))];
    let terms = Terms { max_hourly_cost: Some(usd!(3)), ..Terms::default() };
    let plan = rank(&[asked(&wanted, &offers)], &terms);
    assert_eq!(names(&plan), ["one"]);
    assert_eq!(plan.chosen().expect("fits").hourly(), usd!(2));
    let told = &plan.specs[0].nearest.as_ref().expect("the other").reason;
    assert_eq!(told, "$4.00/h for 2 nodes, at most $3.00/h wanted");
}

#[test]
fn available_prefers_what_is_known_to_be_free() {
    let wanted = Requirements { mixed: true, ..Requirements::default() };
    let stocked = |name: &str, hourly, stock| Offer { stock, ..offer(name, Price::on_demand(hourly)) };
    let offers = [
        stocked("few", usd!(1), Some(1)),
        stocked("silent", usd!(2), None),
        stocked("sold-out", usd!(1), Some(0)),
        stocked("enough", usd!(3), Some(2)),
    ];
    let terms = Terms { selection: Selection::Available, ..Terms::default() };
    assert_eq!(names(&rank(&[asked(&wanted, &offers)], &terms)), ["enough", "silent", "few"]);
}

#[test]
fn a_custom_selection_puts_them_in_order_and_may_refuse_all() {
    let wanted = Requirements::default();
    let offers = [offer("a", Price::on_demand(usd!(1))), offer("b", Price::on_demand(usd!(2)))];
    let with = |selection| rank(&[asked(&wanted, &offers)], &Terms { selection, ..Terms::default() });
    assert_eq!(names(&with(Selection::custom(|it| it.reverse()))), ["b", "a"]);
    assert!(with(Selection::custom(|it| it.clear())).candidates.is_empty());
    let plan = with(Selection::custom(|_| panic!("on purpose")));
    assert_eq!(plan.trouble.as_deref(), Some("the pool's custom selection panicked"));
}

#[test]
fn a_plan_is_text_and_data() {
    let wanted = Requirements::default();
    let offers = [
        Offer { region: Some("r1".into()), ..offer("a", Price::on_demand(usd!(2)).with_spot(usd!(1))) },
        offer("b", Price::on_demand(usd!(1.25))),
    ];
    let plan = rank(&[asked(&wanted, &offers)], &Terms::default());
    assert_eq!(
        plan.to_string(),
        "1. $2.00/h for 2 x cloud a in r1, $1.00/h spot\n2. $2.50/h for 2 x cloud b, $1.25/h on-demand: $0.50/h \
         dearer\nspec 0 on cloud: 2 of 2 offers fit\n"
    );
    let json = serde_json::to_string(&plan).expect("json");
    assert_eq!(serde_json::from_str::<Plan>(&json).expect("read"), plan);
}

fn any_offers() -> impl Strategy<Value = Vec<Offer>> {
    let price = prop::option::of(0_i64..5);
    let one = (0_u32..6, 0_u64..6, price.clone(), price, prop::option::of(0_u32..4), 0_u32..3);
    let offer = one.prop_map(|(vcpus, memory, spot, on_demand, stock, id)| {
        let kind = machine(&format!("k{id}"), vcpus, memory);
        let cents = |it: Option<i64>| it.map(Usd::from_cents);
        let price = Price { spot: cents(spot), on_demand: cents(on_demand), ..Price::default() };
        Offer { stock, ..Offer::of("cloud", kind, price) }
    });
    prop::collection::vec(offer, 0..60)
}

proptest! {
    /// The same by hand: filter one by one, sort all, take the first.
    #[test]
    fn the_ranking_is_that_of_a_plain_filter_and_sort(
        offers in any_offers(), vcpus in 1_u32..5, memory in 1_u32..5, cap in prop::option::of(0_i64..5), cheapest: bool,
    ) {
        let allocation = if cheapest { Allocation::Cheapest } else { Allocation::SpotIfAvailable };
        let wanted = Requirements {
            vcpus: Some(vcpus), memory_gb: Some(memory), max_hourly_cost: cap.map(Usd::from_cents), ..paying(allocation)
        };
        let plan = rank(&[asked(&wanted, &offers)], &Terms::default());
        let mut expected: Vec<(i64, Market, String)> = Vec::new();
        for it in &offers {
            let (spot, stays) = (it.price.spot, it.price.on_demand);
            let Some((hourly, market)) = (match (cheapest, spot, stays) {
                (_, None, None) => None,
                (_, None, Some(stays)) => Some((stays, Market::OnDemand)),
                (true, Some(spot), Some(stays)) if stays <= spot => Some((stays, Market::OnDemand)),
                (_, Some(spot), _) => Some((spot, Market::Spot)),
            }) else { continue };
            let enough = it.instance_type.vcpus >= vcpus && it.instance_type.memory_mb >= u64::from(memory) * 1000;
            let affordable = cap.is_none_or(|cap| hourly <= Usd::from_cents(cap));
            if enough && affordable && it.stock.is_none_or(|free| free >= 2) {
                expected.push((hourly.nanos(), market, it.id.clone()));
            }
        }
        expected.sort_by(|one, other| {
            let key = |it: &(i64, Market, String)| (it.0, it.1 == Market::Spot, it.2.clone());
            key(one).cmp(&key(other))
        });
        prop_assert_eq!(plan.specs[0].fitting, expected.len());
        let removed: BTreeMap<Filter, usize> = plan.specs[0].removed.iter().copied().collect();
        prop_assert_eq!(removed.values().sum::<usize>(), offers.len() - expected.len());
        expected.truncate(SHORTLIST);
        let got: Vec<_> = plan.candidates.iter().map(|it| (it.tariff.hourly.nanos(), it.tariff.market, it.offer.id.clone())).collect();
        prop_assert_eq!(got, expected);
    }
}
