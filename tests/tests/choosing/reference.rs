//! The catalog beside a plain search that is written here once more, without its SQL and without the
//! runtime's filters: the same offers, in the same order, in the same number.

use std::sync::LazyLock;
use std::time::SystemTime;

use proptest::prelude::*;
use skyward_runtime::catalog::{Catalog, Settings};
use skyward_runtime::model::accelerator::Count;
use skyward_runtime::model::{
    Accelerator, Allocation, Architecture, Capabilities, InstanceType, Nodes, Offer, Price, Requirements, Usd,
};
use skyward_runtime::pool::{Asked, SHORTLIST, Terms, rank};
use tempfile::TempDir;

use crate::shared::{lists, offers};

const CAN: [Capabilities; 2] = [Capabilities::NONE, Capabilities { sized_disk: true, ..Capabilities::NONE }];

/// What fits, in order, each with what is paid in thousand-millionths of a dollar.
fn reference<'a>(offers: &'a [Offer], wanted: &Requirements, sized_disk: bool) -> Vec<(&'a Offer, i64)> {
    let mut found = Vec::new();
    for offer in offers {
        let kind = &offer.instance_type;
        let spot = offer.price.spot.map(Usd::nanos);
        let stays = offer.price.on_demand.map(Usd::nanos);
        let (paid, is_spot) = match (wanted.allocation, spot, stays) {
            (Allocation::Spot | Allocation::SpotIfAvailable, Some(spot), _) => (spot, true),
            (Allocation::OnDemand | Allocation::SpotIfAvailable, _, Some(stays)) => (stays, false),
            (Allocation::Cheapest, Some(spot), Some(stays)) => (spot.min(stays), spot < stays),
            (Allocation::Cheapest, Some(spot), None) => (spot, true),
            (Allocation::Cheapest, None, Some(stays)) => (stays, false),
            _ => continue,
        };
        if let Some(asked) = &wanted.accelerator {
            let Some(has) = &kind.accelerator else { continue };
            let memory = match (asked.memory_mib, has.memory_mib) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(asked), Some(has)) => {
                    i64::from(asked).abs_diff(i64::from(has)) * 10 <= u64::from(asked)
                }
            };
            let form = asked.form.is_none() || asked.form == has.form;
            if asked.name != has.name || asked.count != has.count || !memory || !form {
                continue;
            }
        }
        let disk = sized_disk || wanted.disk_gb.is_none_or(|it| kind.disk_gb.is_some_and(|has| has >= it));
        let processor = match (wanted.architecture, kind.architecture) {
            (Some(wanted), has) => has == Some(wanted),
            (None, Some(has)) => Architecture::here().is_none_or(|here| here == has),
            (None, None) => true,
        };
        let region = wanted
            .region
            .as_ref()
            .is_none_or(|it| offer.region.as_ref().is_some_and(|has| has.eq_ignore_ascii_case(it)));
        if kind.vcpus >= wanted.vcpus.unwrap_or(0)
            && kind.memory_mb >= u64::from(wanted.memory_gb.unwrap_or(0)) * 1000
            && wanted.max_hourly_cost.is_none_or(|cap| paid <= cap.nanos())
            && disk
            && processor
            && region
            && offer.stock != Some(0)
        {
            found.push((offer, paid, is_spot));
        }
    }
    found.sort_by(|(one, paid, spot), (other, other_paid, other_spot)| {
        let name = |it: &Offer| (it.provider.clone(), it.region.clone(), it.zone.clone(), it.id.clone());
        (paid, spot, name(one)).cmp(&(other_paid, other_spot, name(other)))
    });
    found.into_iter().map(|(offer, paid, _)| (offer, paid)).collect()
}

/// Compares the catalog, and the ranking of a plan, with the reference. Returns how many offers fit.
fn compare(catalog: &Catalog, offers: &[Offer], wanted: &Requirements, can: &Capabilities) -> usize {
    let expected = reference(offers, wanted, can.sized_disk);
    let query = catalog.offers().fitting(wanted, can);
    let found = query.all().expect("read");
    assert_eq!(query.count().expect("read"), expected.len(), "the number for {wanted:?}");
    let told: Vec<_> = found.iter().map(|it| (&it.offer, it.tariff.hourly.nanos())).collect();
    assert!(
        told == expected,
        "the order for {wanted:?}: {:?}",
        told.iter().zip(&expected).find(|(a, b)| a != b)
    );
    let pick = query.first().expect("read").map(|it| it.offer);
    assert_eq!(pick.as_ref(), expected.first().map(|(offer, _)| *offer), "the pick for {wanted:?}");
    let cheapest = query.cheapest(3).expect("read");
    assert_eq!(cheapest, found.get(..3.min(found.len())).unwrap_or_default());

    let terms = Terms { architecture: Architecture::here(), ..Terms::default() };
    let asked = Asked {
        provider: "all",
        wanted,
        nodes: Nodes::default(),
        sized_disk: can.sized_disk,
        disk_gb_hour: None,
        offers: Ok(offers),
    };
    let plan = rank(&[asked], &terms);
    let ranked: Vec<_> = plan.candidates.iter().map(|it| (&it.offer, it.tariff.hourly.nanos())).collect();
    assert!(
        ranked == expected.get(..SHORTLIST.min(expected.len())).unwrap_or_default(),
        "the plan for {wanted:?}"
    );
    assert_eq!(plan.specs.first().map(|it| it.fitting), Some(expected.len()), "the plan for {wanted:?}");
    expected.len()
}

fn filled(offers: &[Offer]) -> (TempDir, Catalog) {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = Catalog::open(Settings::in_folder(folder.path())).expect("a catalog");
    fill(&catalog, offers);
    (folder, catalog)
}

/// Each provider's offers, those that had some before included.
fn fill(catalog: &Catalog, offers: &[Offer]) {
    for source in catalog.sources().expect("read") {
        catalog.forget(&source.provider).expect("written");
    }
    let mut providers: Vec<_> = offers.iter().map(|it| it.provider.as_str()).collect();
    providers.sort_unstable();
    providers.dedup();
    for provider in providers {
        let own: Vec<_> = offers.iter().filter(|it| it.provider == provider).cloned().collect();
        catalog.replace(provider, &own, SystemTime::now()).expect("written");
    }
}

/// Numbers from a seed: the same specs in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % most.max(1)
    }

    fn one_in(&mut self, most: usize) -> bool {
        self.below(most) == 0
    }

    /// A spec that some offer may fit: parts of what a drawn one has, a little changed.
    fn spec(&mut self, offers: &[Offer]) -> Requirements {
        let model = offers.get(self.below(offers.len())).expect("there are offers");
        // Nineteen of twenty offers have no accelerator, which is what people look for here.
        let with: Vec<_> = offers.iter().filter(|it| it.instance_type.accelerator.is_some()).collect();
        let model =
            if self.one_in(2) { with.get(self.below(with.len())).copied().unwrap_or(model) } else { model };
        let kind = &model.instance_type;
        let mut wanted = Requirements::default();
        if let Some(has) = kind.accelerator.clone().filter(|_| !self.one_in(6)) {
            let mut asked = Accelerator::custom(has.name).count(has.count);
            if self.one_in(2) {
                asked.memory_mib = has.memory_mib.map(|it| it / 1000 * (850 + self.below(300) as u32));
            }
            asked.form = has.form.filter(|_| self.one_in(4));
            if self.one_in(8) {
                asked.count = Count::from(1);
            }
            wanted.accelerator = Some(asked);
        }
        if self.one_in(2) {
            wanted.vcpus = Some(kind.vcpus.max(1).div_ceil(1 + self.below(3) as u32));
        }
        if self.one_in(2) {
            wanted.memory_gb =
                u32::try_from(kind.memory_mb / 1000 / (1 + self.below(3) as u64)).ok().filter(|it| *it > 0);
        }
        if self.one_in(8) {
            wanted.disk_gb = Some(1 + self.below(200) as u32);
        }
        wanted.region = model.region.clone().filter(|_| self.one_in(3)).map(|it| it.to_uppercase());
        wanted.architecture = match self.below(6) {
            0 => Some(Architecture::X86_64),
            1 => kind.architecture,
            _ => None,
        };
        wanted.allocation =
            [Allocation::Spot, Allocation::OnDemand, Allocation::SpotIfAvailable, Allocation::Cheapest]
                .get(self.below(4))
                .copied()
                .unwrap_or_default();
        if self.one_in(2) {
            let price = model.price.on_demand.or(model.price.spot).unwrap_or(Usd::ZERO);
            wanted.max_hourly_cost = Some(price.fraction(self.below(300) as u128, 100));
        }
        wanted
    }
}

#[test]
fn the_catalog_finds_of_real_offers_what_a_plain_search_finds() {
    let Some(folder) = lists("the_catalog_finds_of_real_offers") else { return };
    let offers = offers(&folder);
    assert_eq!(offers.len(), 20_194 + 257 + 310);
    let (_kept, catalog) = filled(&offers);
    let mut dice = Dice(7);
    let (mut some, mut all) = (0, 0);
    for at in 0..200 {
        let wanted = dice.spec(&offers);
        let found = compare(&catalog, &offers, &wanted, CAN.get(at % 2).expect("two"));
        some += usize::from(found > 0);
        all += found;
    }
    println!("200 specs: {some} found something, {all} offers in all");
    assert!(some >= 120, "only {some} of 200 specs found anything");
}

/// One catalog for all generated cases: making a file for each would be most of the time.
static SHARED: LazyLock<(TempDir, Catalog)> = LazyLock::new(|| filled(&[]));

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["A100", "L4", "own"])
}

fn count() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![0.5, 1.0, 8.0])
}

prop_compose! {
    /// Offers of few kinds, so that many are equal in price; some without prices, some sold out.
    fn generated()(
        provider in 0..3_u8,
        region in proptest::option::of(0..2_u8),
        zone in proptest::option::of(0..2_u8),
        vcpus in 0..4_u32,
        memory_mb in prop::sample::select(vec![0_u64, 500, 1999, 2000, 4000]),
        disk_gb in proptest::option::of(0..3_u32),
        architecture in prop::sample::select(vec![None, Some(Architecture::X86_64), Some(Architecture::Aarch64)]),
        accelerator in proptest::option::of((name(), count(), proptest::option::of(
            prop::sample::select(vec![36_863_u32, 36_864, 40_960]),
        ))),
        spot in proptest::option::of(0..4_i64),
        on_demand in proptest::option::of(0..4_i64),
        stock in proptest::option::of(0..2_u32),
    ) -> Offer {
        let accelerator = accelerator.map(|(name, count, memory)| {
            let mut sold = Accelerator::custom(name).count(count);
            sold.memory_mib = memory;
            sold.completed()
        });
        let named = |it: Option<u8>| it.map(|it| format!("r{it}"));
        let kind = InstanceType { vcpus, memory_mb, disk_gb, architecture, accelerator, ..InstanceType::named("m") };
        let price = Price {
            spot: spot.map(Usd::from_nanos),
            on_demand: on_demand.map(Usd::from_nanos),
            ..Price::default()
        };
        Offer { region: named(region), zone: named(zone), stock, ..Offer::of(format!("p{provider}"), kind, price) }
    }
}

prop_compose! {
    fn requirements()(
        accelerator in proptest::option::of((name(), count(), proptest::option::of(39..41_u32))),
        vcpus in proptest::option::of(1..4_u32),
        memory_gb in proptest::option::of(1..4_u32),
        disk_gb in proptest::option::of(1..3_u32),
        architecture in prop::sample::select(vec![None, None, Some(Architecture::X86_64), Some(Architecture::Aarch64)]),
        allocation in prop::sample::select(vec![
            Allocation::Spot, Allocation::OnDemand, Allocation::SpotIfAvailable, Allocation::Cheapest,
        ]),
        region in prop::sample::select(vec![None, None, Some("R0".to_owned())]),
        cap in proptest::option::of(0..4_i64),
    ) -> Requirements {
        let accelerator = accelerator.map(|(name, count, memory)| {
            let asked = Accelerator::custom(name).count(count);
            match memory {
                Some(gb) => asked.memory_gb(gb),
                None => asked,
            }
        });
        Requirements {
            accelerator, vcpus, memory_gb, disk_gb, architecture, allocation, region,
            max_hourly_cost: cap.map(Usd::from_nanos),
            ..Requirements::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn the_catalog_finds_of_generated_offers_what_a_plain_search_finds(
        mut offers in prop::collection::vec(generated(), 0..60),
        specs in prop::collection::vec((requirements(), 0..2_usize), 1..6),
    ) {
        // Offers of one provider have ids of their own; apart from that everything may be equal.
        for (at, offer) in offers.iter_mut().enumerate() {
            offer.id = format!("m{:02}", at * 37 % 60);
        }
        let (_, catalog) = &*SHARED;
        fill(catalog, &offers);
        for (wanted, can) in specs {
            compare(catalog, &offers, &wanted, &CAN[can]);
        }
    }
}
