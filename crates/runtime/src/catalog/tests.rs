//! The catalog's promises, on files of their own.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::schema::FILE;
use super::{Catalog, CatalogError, Cell, Order, Settings};
use crate::model::accelerator::Manufacturer;
use crate::model::accelerators::{A100, H100, L4};
use crate::model::usd;
use crate::model::{
    Accelerator, Allocation, Architecture, BillingUnit, Capabilities, Conversion, InstanceType, Offer, Price,
    Requirements, Usd,
};

fn made() -> (TempDir, Catalog) {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = Catalog::open(Settings::in_folder(folder.path())).expect("a catalog");
    (folder, catalog)
}

/// An offer with all that an offer can have.
fn rich() -> Offer {
    let kind = InstanceType {
        vcpus: 96,
        memory_mb: 1_152_000,
        disk_gb: Some(8000),
        architecture: Some(Architecture::X86_64),
        accelerator: Some(A100.count(8).memory_gb(80)),
        ..InstanceType::named("p4de.24xlarge")
    };
    let price = Price {
        converted: Some(Conversion::new("EUR", usd!(1.0812345))),
        ..Price::on_demand(usd!(40.966))
            .with_spot(usd!(12.000000001))
            .billed(BillingUnit::Minute, Duration::from_secs(61))
    };
    Offer {
        id: "p4de/eu".into(),
        region: Some("eu-west-1".into()),
        zone: Some("eu-west-1a".into()),
        stock: Some(3),
        specific: [("cuda".to_owned(), "13 \"x\" 'y'".to_owned())].into(),
        ..Offer::of("aws", kind, price)
    }
}

/// A plain offer of this name and price.
fn plain(name: &str, hourly: Usd) -> Offer {
    let kind = InstanceType { vcpus: 4, memory_mb: 16_000, ..InstanceType::named(name) };
    Offer::of("cloud", kind, Price::on_demand(hourly))
}

fn names(found: &[super::Priced]) -> Vec<&str> {
    found.iter().map(|it| it.offer.id.as_str()).collect()
}

#[test]
fn an_offer_comes_back_as_it_was_with_its_exact_price() {
    let (_folder, catalog) = made();
    let mut offers = vec![rich(), plain("bare", usd!(0.000000001))];
    catalog.replace("aws", &offers, SystemTime::now()).expect("written");
    offers[1].provider = "aws".into();
    // The form and the memory of this one are not said, and its model leaves no choice.
    let l4 = InstanceType { accelerator: Some(L4.count(1)), ..InstanceType::named("g6") };
    catalog
        .replace("gcp", &[Offer::of("gcp", l4, Price::spot(usd!(0.2)))], SystemTime::now())
        .expect("written");

    let found = catalog.offers().all().expect("read");
    assert_eq!(names(&found), ["bare", "g6", "p4de/eu"]);
    assert_eq!(found[0].offer, offers[1]);
    assert_eq!(found[1].offer.instance_type.accelerator, Some(L4.count(1).completed()));
    assert_eq!(found[2].offer, offers[0]);
    assert_eq!(found[2].tariff.hourly, usd!(12.000000001), "spot where there is spot");
}

#[test]
fn a_provider_s_offers_are_replaced_as_a_whole_and_forgotten_as_a_whole() {
    let (_folder, catalog) = made();
    let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    catalog.replace("one", &[plain("a", usd!(1)), plain("b", usd!(2))], at).expect("written");
    catalog.replace("two", &[plain("c", usd!(3))], at).expect("written");
    catalog.replace("one", &[plain("d", usd!(4))], at + Duration::from_secs(60)).expect("written");
    assert_eq!(names(&catalog.offers().all().expect("read")), ["c", "d"]);
    let sources = catalog.sources().expect("read");
    let told: Vec<_> = sources.iter().map(|it| (it.provider.as_str(), it.read_at, it.offers)).collect();
    assert_eq!(told, [("one", at + Duration::from_secs(60), 1), ("two", at, 1)]);
    catalog.forget("one").expect("written");
    assert_eq!(names(&catalog.offers().all().expect("read")), ["c"]);
    assert_eq!(catalog.sources().expect("read").len(), 1);
}

#[test]
fn each_provider_has_its_own_age() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::in_folder(folder.path());
    settings.ages.insert("market".into(), Duration::from_secs(60));
    let catalog = Catalog::open(settings).expect("a catalog");
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (provider, age) in [("market", 61), ("cloud", 61), ("old", 901)] {
        catalog.replace(provider, &[], now - Duration::from_secs(age)).expect("written");
    }
    catalog.replace("ahead", &[], now + Duration::from_secs(5)).expect("written");
    let all = ["market", "cloud", "old", "ahead", "never"];
    assert_eq!(catalog.stale(&all, now).expect("read"), ["market", "old", "ahead", "never"]);
}

#[test]
fn filters_narrow_and_terminals_answer() {
    let (_folder, catalog) = made();
    let gpu = |name: &str, accelerator: Accelerator, hourly| {
        let mut offer = plain(name, hourly);
        offer.instance_type.accelerator = Some(accelerator);
        offer
    };
    let mut arm = plain("arm", usd!(0.1));
    arm.instance_type.architecture = Some(Architecture::Aarch64);
    arm.region = Some("EU-1".into());
    let mut sold_out = plain("gone", usd!(0.01));
    sold_out.stock = Some(0);
    let mut tagged = plain("tagged", usd!(0.3));
    tagged.instance_type.architecture = Some(Architecture::X86_64);
    tagged.specific.insert("tier".into(), "secure".into());
    let spot = |mut offer: Offer, hourly| {
        offer.price.spot = Some(hourly);
        offer
    };
    let offers = [
        arm,
        sold_out,
        tagged,
        gpu("a100", A100.count(8).memory_mib(81_920), usd!(9)),
        spot(gpu("h100", H100.count(8).memory_gb(80), usd!(20)), usd!(8)),
        gpu("half", L4.count(0.5), usd!(0.4)),
        gpu("own", Accelerator::custom("X1"), usd!(0.5)),
        Offer { price: Price::default(), ..plain("unpriced", usd!(1)) },
    ];
    catalog.replace("cloud", &offers, SystemTime::now()).expect("written");
    let query = || catalog.offers();
    for (found, expected) in [
        (query(), vec!["arm", "tagged", "half", "own", "h100", "a100"]),
        (query().free(0).limit(2), vec!["gone", "arm"]),
        (query().spot(), vec!["h100"]),
        (query().on_demand(), vec!["arm", "tagged", "half", "own", "a100", "h100"]),
        (query().on_demand().max_price(usd!(9)), vec!["arm", "tagged", "half", "own", "a100"]),
        (query().max_price(usd!(8)), vec!["arm", "tagged", "half", "own", "h100"]),
        (query().cpu_only(), vec!["arm", "tagged"]),
        (query().cpu_architecture(Architecture::X86_64).cpu_only(), vec!["tagged"]),
        (query().region("eu-1"), vec!["arm"]),
        (query().specific("tier", "secure"), vec!["tagged"]),
        (query().accelerator(A100), vec!["a100"]),
        (query().accelerator(A100.memory_gb(80)), vec!["a100"]),
        (query().accelerator(A100.memory_gb(40)), vec![]),
        (query().accelerator(A100).accelerator_count(..8), vec![]),
        (query().accelerator_count(0.5..=0.5), vec!["half"]),
        (query().accelerator_count(1..), vec!["own", "h100", "a100"]),
        (query().accelerator_memory_gb(30..), vec!["h100", "a100"]),
        (query().architecture("hopper"), vec!["h100"]),
        (query().manufacturer(Manufacturer::Nvidia), vec!["half", "h100", "a100"]),
        (query().accelerator(Accelerator::custom("X1")), vec!["own"]),
        (query().vcpus(5..), vec![]),
        (query().vcpus(4..=4).memory_gb(16..17).provider("cloud").provider("other").limit(1), vec!["arm"]),
        (query().provider("other"), vec![]),
        (query().accelerator_count(1..).order_by(Order::PricePerAccelerator), vec!["own", "h100", "a100"]),
        (query().order_by(Order::Accelerators).limit(3), vec!["h100", "a100", "own"]),
    ] {
        assert_eq!(names(&found.all().expect("read")), expected, "{found:?}");
        assert_eq!(found.count().expect("read"), expected.len(), "{found:?}");
        assert_eq!(found.first().expect("read").map(|it| it.offer.id).as_deref(), expected.first().copied());
    }
    let dearest = query().order_by(Order::AcceleratorMemory).cheapest(2).expect("read");
    assert_eq!(names(&dearest), ["arm", "tagged"], "the cheapest, whatever the order");
    let modest = Requirements {
        memory_gb: Some(16),
        architecture: Some(Architecture::Aarch64),
        ..Requirements::default()
    };
    assert_eq!(names(&query().fitting(&modest, &Capabilities::NONE).limit(1).all().expect("read")), ["arm"]);
    let error = query().architecture("Hoper").count().expect_err("misspelt").to_string();
    assert!(error.ends_with("did you mean Hopper?"), "{error}");

    let summary = catalog.summary().expect("read");
    let first = &summary[0];
    assert_eq!((first.accelerator.as_deref(), first.offers, first.regions), (None, 2, 1));
    assert_eq!((first.cheapest, first.dearest), (usd!(0.1), usd!(0.3)));
    assert_eq!(summary.iter().map(|it| it.offers).sum::<u64>(), 6);
}

#[test]
fn offers_that_cost_the_same_come_by_provider_region_zone_and_id() {
    let (_folder, catalog) = made();
    let at = |id: &str, region: Option<&str>, zone: Option<&str>| Offer {
        region: region.map(Into::into),
        zone: zone.map(Into::into),
        ..plain(id, usd!(1))
    };
    let mut offers = vec![
        at("c", None, None),
        at("a", Some("r"), Some("y")),
        at("b", Some("r"), Some("x")),
        at("a", Some("s"), None),
    ];
    for _ in 0..offers.len() {
        offers.rotate_left(1);
        catalog.replace("beta", &offers, SystemTime::now()).expect("written");
        catalog.replace("alpha", &offers[..1], SystemTime::now()).expect("written");
        let found = catalog.offers().provider("beta").all().expect("read");
        assert_eq!(names(&found), ["c", "b", "a", "a"]);
        assert_eq!(catalog.offers().first().expect("read").expect("there").offer.provider, "alpha");
    }
}

#[test]
fn of_two_at_one_price_the_one_that_stays_comes_first() {
    let (_folder, catalog) = made();
    let both = Offer { price: Price::on_demand(usd!(1)).with_spot(usd!(1)), ..plain("a", usd!(1)) };
    let taken_back = Offer { price: Price::spot(usd!(1)), ..plain("b", usd!(1)) };
    catalog.replace("cloud", &[both, taken_back, plain("c", usd!(1))], SystemTime::now()).expect("written");
    for (allocation, expected) in [
        (Allocation::SpotIfAvailable, vec!["c", "a", "b"]),
        (Allocation::Cheapest, vec!["a", "c", "b"]),
        (Allocation::Spot, vec!["a", "b"]),
        (Allocation::OnDemand, vec!["a", "c"]),
    ] {
        let found = catalog.offers().allocation(allocation).all().expect("read");
        assert_eq!(names(&found), expected, "{allocation}");
        assert!(found.iter().all(|it| it.tariff.hourly == usd!(1)));
    }
}

#[test]
fn what_was_read_once_is_read_again_when_it_has_changed() {
    let (folder, catalog) = made();
    catalog.replace("cloud", &[plain("a", usd!(1))], SystemTime::now()).expect("written");
    let first = catalog.offers_of("cloud").expect("read");
    let again = catalog.offers_of("cloud").expect("read");
    assert!(std::sync::Arc::ptr_eq(&first, &again));
    let other = Catalog::open(Settings::in_folder(folder.path())).expect("a catalog");
    other.replace("cloud", &[plain("b", usd!(1)), plain("a", usd!(2))], SystemTime::now()).expect("written");
    let ids = |offers: &[Offer]| offers.iter().map(|it| it.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&catalog.offers_of("cloud").expect("read")), ["b", "a"], "as the provider gave them");
    catalog.forget("cloud").expect("written");
    assert_eq!(ids(&catalog.offers_of("cloud").expect("read")), [""; 0]);
    assert_eq!(ids(&other.offers_of("cloud").expect("read")), [""; 0]);
}

#[test]
fn sql_reads_the_documented_view_and_nothing_else() {
    let (folder, catalog) = made();
    catalog.replace("aws", &[rich()], SystemTime::now()).expect("written");
    let table = catalog.sql("SELECT * FROM catalog").expect("read");
    assert_eq!(
        table.columns.join(" "),
        concat!(
            "provider instance_type region accelerator_name accelerator_count accelerator_memory_gb manufacturer ",
            "architecture cuda_min cuda_max vcpus memory_gb cpu_architecture spot_price on_demand_price billing_unit ",
            "specific zone stock offer_id"
        )
    );
    let text = |it: &str| Cell::Text(it.to_owned());
    let row = &table.rows[0];
    assert_eq!(row[..4], [text("aws"), text("p4de.24xlarge"), text("eu-west-1"), text("A100")]);
    assert_eq!(row[4..9], [Cell::Real(8.0), Cell::Real(80.0), text("NVIDIA"), text("Ampere"), text("11.0")]);
    assert_eq!(row[9..13], [Cell::Null, Cell::Integer(96), Cell::Real(1152.0), text("x86_64")]);
    assert_eq!(row[14..16], [Cell::Real(40.966), text("minute")]);
    let both = catalog
        .sql("WITH x AS (SELECT 1 AS y UNION ALL SELECT y + 1 FROM x WHERE y < 3) SELECT sum(y) FROM x");
    assert_eq!(both.expect("read").rows, [[Cell::Integer(6)]]);

    let other = folder.path().join("other.sqlite");
    for refused in [
        "DELETE FROM offers".to_owned(),
        "UPDATE offers SET spot = 0".to_owned(),
        "DROP VIEW catalog".to_owned(),
        "CREATE TABLE mine (a)".to_owned(),
        "CREATE TEMP TABLE mine (a)".to_owned(),
        format!("ATTACH '{}' AS other", other.display()),
        "PRAGMA query_only = off".to_owned(),
        "PRAGMA journal_mode = delete".to_owned(),
        "VACUUM".to_owned(),
        "BEGIN".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        "SELECT 1; DELETE FROM offers".to_owned(),
        "SELECT nothing FROM catalog".to_owned(),
        "SELECT 1 +".to_owned(),
        String::new(),
    ] {
        let answer = catalog.sql(&refused);
        assert!(matches!(answer, Err(CatalogError::Sql { .. })), "{refused}: {answer:?}");
    }
    assert!(!other.exists());
    assert_eq!(catalog.offers().count().expect("read"), 1);
    let error = catalog.sql("DELETE FROM offers").expect_err("refused").to_string();
    assert_eq!(error, "failed to run the query: it may only read; write one SELECT on the view `catalog`");
}

#[test]
fn a_query_without_end_is_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { busy: Duration::from_millis(50), ..Settings::in_folder(folder.path()) };
    let catalog = Catalog::open(settings).expect("a catalog");
    let error =
        catalog.sql("WITH RECURSIVE x(y) AS (SELECT 1 UNION ALL SELECT y + 1 FROM x) SELECT sum(y) FROM x");
    assert!(error.expect_err("ended").to_string().contains("it took longer than 50ms; ask for less"));
}

/// What is done to the bytes of a file.
type Damage = fn(Vec<u8>) -> Vec<u8>;

#[test]
fn a_damaged_file_is_made_anew_and_that_is_said() {
    let many: Vec<_> = (0..2000_i64).map(|it| plain(&format!("m{it}"), Usd::from_nanos(it + 1))).collect();
    let spoil: [(&str, Damage); 5] = [
        ("another file", |_| b"these are not the offers that were kept".repeat(500)),
        ("cut off", |mut it| it.split_off(it.len() / 2)),
        ("shortened", |mut it| {
            it.truncate(it.len() / 2);
            it
        }),
        ("overwritten in the middle", |mut it| {
            for byte in it.iter_mut().skip(8192) {
                *byte = 0x5a;
            }
            it
        }),
        ("of another program", |_| {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("it");
            let other = rusqlite::Connection::open(&path).expect("opened");
            other.execute_batch("CREATE TABLE offers (a); PRAGMA user_version = 7").expect("written");
            drop(other);
            fs::read(path).expect("read")
        }),
    ];
    for (how, spoil) in spoil {
        let (folder, catalog) = made();
        catalog.replace("cloud", &many, SystemTime::now()).expect("written");
        // Closed, so that all of it is in the one file.
        drop(catalog);
        let path = folder.path().join(FILE);
        fs::write(&path, spoil(fs::read(&path).expect("read"))).expect("spoilt");

        let catalog = Catalog::open(Settings::in_folder(folder.path())).expect(how);
        let found = catalog.offers().order_by(Order::Memory).all().expect(how);
        assert_eq!((found.len(), catalog.rebuilt().len()), (0, 1), "{how}: {:?}", catalog.rebuilt());
        assert!(folder.path().join(format!("{FILE}.damaged")).exists(), "{how}");
        catalog.replace("cloud", &many, SystemTime::now()).expect(how);
        assert_eq!(catalog.offers().count().expect(how), many.len(), "{how}");
        assert_eq!(catalog.sql("SELECT 1").expect(how).rows.len(), 1);
    }
}

#[test]
fn a_table_that_somebody_dropped_is_damage_and_a_search_that_is_too_large_is_not() {
    let (folder, catalog) = made();
    catalog.replace("cloud", &[plain("a", usd!(1))], SystemTime::now()).expect("written");
    let many = (0..40_000).fold(catalog.offers(), |query, it| query.provider(format!("p{it}")));
    let error = many.all().expect_err("more providers than a statement may name");
    assert!(matches!(error, CatalogError::Broken { .. }), "{error}");
    assert_eq!((catalog.offers().count().expect("read"), catalog.rebuilt().len()), (1, 0));

    let other = rusqlite::Connection::open(folder.path().join(FILE)).expect("opened");
    other.execute_batch("DROP TABLE offers").expect("dropped");
    drop(other);
    assert_eq!((catalog.offers().count().expect("made anew"), catalog.rebuilt().len()), (0, 1));
}

#[test]
fn a_file_that_another_program_made_anew_or_removed_is_opened_again() {
    let (folder, catalog) = made();
    catalog.replace("cloud", &[plain("a", usd!(1))], SystemTime::now()).expect("written");
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(folder.path().join(format!("{FILE}{end}")));
    }
    let other = Catalog::open(Settings::in_folder(folder.path())).expect("a catalog");
    other.replace("cloud", &[plain("b", usd!(1))], SystemTime::now()).expect("written");
    assert_eq!(names(&catalog.offers().all().expect("read")), ["b"]);
    fs::remove_dir_all(folder.path()).expect("removed");
    assert_eq!(catalog.offers().count().expect("made again"), 0);
    fs::create_dir_all(folder.path()).expect("for the clean-up");
}

#[test]
fn a_full_disk_is_said_and_what_was_there_stays() {
    let (_folder, catalog) = made();
    catalog.replace("cloud", &[plain("a", usd!(1))], SystemTime::now()).expect("written");
    catalog
        .with("limit", |connection| {
            let pages: i64 = connection.pragma_query_value(None, "page_count", |it| it.get(0))?;
            connection.pragma_update_and_check(None, "max_page_count", pages + 2, |_| Ok(()))?;
            Ok(())
        })
        .expect("limited");
    let many: Vec<_> = (0..5000).map(|it| plain(&format!("m{it}"), usd!(2))).collect();
    let error = catalog.replace("cloud", &many, SystemTime::now()).expect_err("it does not fit");
    assert!(matches!(error, CatalogError::Full { .. }), "{error}");
    assert!(error.to_string().contains("the disk is full; free some space"), "{error}");
    assert_eq!(names(&catalog.offers().all().expect("read")), ["a"]);
    assert_eq!(catalog.rebuilt(), [""; 0]);
}

#[test]
fn a_folder_that_cannot_be_made_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let error = Catalog::open(Settings::in_folder(file.join("below"))).expect_err("no folder").to_string();
    assert!(error.contains("make the folder writable, or set XDG_CACHE_HOME"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 24, ..Default::default() })]
    #[test]
    fn no_bytes_in_the_file_can_make_it_panic_or_stay_broken(
        spots in proptest::collection::vec((0.0..1.0_f64, proptest::prelude::any::<u8>()), 1..40),
    ) {
        let (folder, catalog) = made();
        let many: Vec<_> = (0..200).map(|it| plain(&format!("m{it}"), usd!(2))).collect();
        catalog.replace("cloud", &many, SystemTime::now()).expect("written");
        drop(catalog);
        let path = folder.path().join(FILE);
        let mut bytes = fs::read(&path).expect("read");
        for (at, byte) in spots {
            let at = (at * bytes.len() as f64) as usize;
            if let Some(there) = bytes.get_mut(at) {
                *there = byte;
            }
        }
        fs::write(&path, bytes).expect("spoilt");
        if let Ok(catalog) = Catalog::open(Settings::in_folder(folder.path())) {
            let _ = catalog.offers().order_by(Order::Vcpus).all();
            let _ = catalog.sql("SELECT * FROM catalog");
            let _ = catalog.summary();
            let _ = catalog.replace("cloud", &many, SystemTime::now());
        }
    }
}
