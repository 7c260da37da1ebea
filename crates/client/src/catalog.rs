//! What clouds have for rent and what it costs, kept on this computer: search it, or plan a pool with it.
//!
//! ```
//! use skyward::catalog::{Asked, Catalog, Settings, Terms, rank};
//! use skyward::provider::{InstanceType, Offer, Price};
//! use skyward::{Nodes, Requirements, usd};
//! use std::time::SystemTime;
//!
//! # let folder = std::env::temp_dir().join(format!("skyward-doc-plan-{}", std::process::id()));
//! let catalog = Catalog::open(Settings::in_folder(&folder))?;
//! let kind = InstanceType { vcpus: 8, memory_mb: 32_000, ..InstanceType::named("c8") };
//! let offers = [Offer::of("cloud", kind, Price::on_demand(usd!(0.34)))];
//! catalog.replace("cloud", &offers, SystemTime::now())?;
//!
//! let known = catalog.offers_of("cloud")?;
//! let wanted = Requirements { vcpus: Some(4), ..Requirements::default() };
//! let nodes = Nodes::from(10);
//! let asked = Asked { provider: "cloud", wanted: &wanted, nodes, sized_disk: false, disk_gb_hour: None, offers: Ok(&known) };
//! let plan = rank(&[asked], &Terms::default());
//! assert_eq!(plan.chosen().expect("one fits").hourly(), usd!(3.40));
//! # drop(catalog);
//! # std::fs::remove_dir_all(folder).expect("it can be removed");
//! # Ok::<(), skyward::catalog::CatalogError>(())
//! ```

pub use skyward_runtime::catalog::{
    Catalog, CatalogError, Cell, Order, Priced, Query, RefreshError, Settings, Source, Summary, Table,
    refresh,
};
pub use skyward_runtime::pool::{Asked, SHORTLIST, Terms, rank};
