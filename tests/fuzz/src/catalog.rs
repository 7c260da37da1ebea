//! SQL of the user's own: it reads the catalog and does nothing else.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use skyward_runtime::catalog::{Catalog, Settings, Table};
use skyward_runtime::model::{InstanceType, Offer, Price, usd};
use skyward_runtime::testing::read;
use tempfile::TempDir;

/// How long a query may take here.
const BUSY: Duration = Duration::from_millis(100);

fn catalog() -> &'static (TempDir, Catalog) {
    static CATALOG: OnceLock<(TempDir, Catalog)> = OnceLock::new();
    CATALOG.get_or_init(|| {
        let folder = read(tempfile::tempdir());
        let catalog = read(Catalog::open(Settings { busy: BUSY, ..Settings::in_folder(folder.path()) }));
        let kind = InstanceType { vcpus: 4, memory_mb: 16_000, ..InstanceType::named("large") };
        let offers = [Offer::of("cloud", kind, Price::on_demand(usd!(1.5)).with_spot(usd!(0.5)))];
        read(catalog.replace("cloud", &offers, SystemTime::UNIX_EPOCH));
        (folder, catalog)
    })
}

/// What an answer may claim: its table has a limit of its own, and a list that grows is there twice for a moment.
pub(crate) const MOST_ANSWERED: u64 = 2 * Table::MOST_BYTES as u64;

pub(crate) fn sql(bytes: &[u8]) {
    let (folder, catalog) = catalog();
    let Ok(query) = std::str::from_utf8(bytes) else { return };
    if let Ok(table) = catalog.sql(query) {
        assert!(table.rows.iter().all(|it| it.len() == table.columns.len()));
    }
    let offers = read(catalog.offers().all());
    assert_eq!(offers.len(), 1, "it changes what there is");
    assert!(catalog.rebuilt().is_empty(), "it damages the file");
    let strangers = read(folder.path().read_dir())
        .flatten()
        .filter(|it| !it.file_name().to_string_lossy().starts_with("offers"));
    assert_eq!(strangers.count(), 0, "it writes files");
}

pub(crate) fn sql_seeds() -> Vec<Vec<u8>> {
    [
        "SELECT * FROM catalog LIMIT 1",
        "SELECT count(*), max(provider) FROM catalog WHERE vcpus >= 4 ORDER BY 1",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 9) SELECT x, hex(x) FROM n",
        "DELETE FROM offers",
        "ATTACH 'x.db' AS x",
        "PRAGMA query_only = false",
        "SELECT printf('%.*c', 100000000, 'x')",
        "SELECT load_extension('x'), zeroblob(9)",
        "VACUUM INTO 'x'",
        "CREATE TEMP TABLE t AS SELECT 1",
    ]
    .map(|it| it.as_bytes().to_vec())
    .to_vec()
}
