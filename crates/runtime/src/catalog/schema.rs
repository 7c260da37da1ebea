//! The tables of the catalog, and the view that people may query.

/// The version of all of this. It is in the file's name, so programs of two versions do not take turns
/// in making it anew.
pub(super) const VERSION: i32 = 1;

/// The file's name.
pub(super) const FILE: &str = "offers-1.sqlite";

/// The names of all that [`SCHEMA`] makes, in order.
pub(super) const NAMES: [&str; 9] = [
    "by_accelerator",
    "by_provider",
    "catalog",
    "offers",
    "paid_cheapest",
    "paid_on_demand",
    "paid_spot",
    "paid_spot_if_available",
    "sources",
];

/// Tables, indexes and the view.
///
/// Money is in thousand-millionths of a dollar, counts of accelerators in ten-thousandths: whole numbers,
/// so nothing is rounded. The indexes by price hold what is filtered by most, so that the cheapest offers
/// that fit are found without reading all of the dear ones; `paid_*` must be written as in
/// `Filters::paid`.
pub(super) const SCHEMA: &str = "
CREATE TABLE sources (
    provider TEXT PRIMARY KEY,
    read_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE offers (
    seq INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    id TEXT NOT NULL,
    instance_type TEXT NOT NULL,
    region TEXT,
    zone TEXT,
    vcpus INTEGER NOT NULL,
    memory_mb INTEGER NOT NULL,
    disk_gb INTEGER,
    cpu_architecture TEXT,
    accelerator TEXT,
    accelerator_parts INTEGER,
    accelerator_mib INTEGER,
    accelerator_form TEXT,
    manufacturer TEXT,
    architecture TEXT,
    cuda_min TEXT,
    cuda_max TEXT,
    spot INTEGER,
    on_demand INTEGER,
    billing_unit TEXT NOT NULL,
    billing_minimum_ns INTEGER NOT NULL,
    currency TEXT,
    rate INTEGER,
    stock INTEGER,
    specific TEXT NOT NULL
);

CREATE INDEX by_provider ON offers (provider);
CREATE INDEX by_accelerator ON offers (accelerator, accelerator_parts);
CREATE INDEX paid_spot ON offers (spot, vcpus, memory_mb, accelerator, provider, region);
CREATE INDEX paid_on_demand ON offers (on_demand, vcpus, memory_mb, accelerator, provider, region);
CREATE INDEX paid_spot_if_available ON offers (COALESCE(spot, on_demand), vcpus, memory_mb, accelerator, provider, region);
CREATE INDEX paid_cheapest ON offers (COALESCE(MIN(spot, on_demand), spot, on_demand), vcpus, memory_mb, accelerator, provider, region);

CREATE VIEW catalog AS SELECT
    provider,
    instance_type,
    region,
    accelerator AS accelerator_name,
    accelerator_parts / 10000.0 AS accelerator_count,
    accelerator_mib / 1024.0 AS accelerator_memory_gb,
    manufacturer,
    architecture,
    cuda_min,
    cuda_max,
    vcpus,
    memory_mb / 1000.0 AS memory_gb,
    cpu_architecture,
    spot / 1000000000.0 AS spot_price,
    on_demand / 1000000000.0 AS on_demand_price,
    billing_unit,
    specific,
    zone,
    stock,
    id AS offer_id
FROM offers;
";
