//! Whether everything is there that a row of the table promises.

use std::path::Path;

use skyward_providers::cloud::{CLOUDS, named};

#[test]
fn every_cloud_has_its_files_its_page_and_a_name_of_its_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut missing = Vec::new();
    for cloud in CLOUDS {
        for file in ["mod.rs", "config.rs", "api.rs", "map.rs"] {
            let path = format!("crates/providers/src/{}/{file}", cloud.name);
            if !root.join(&path).is_file() {
                missing.push(path);
            }
        }
        let path = format!("docs/providers/{}.md", cloud.name);
        let page = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
        let title = format!("# {}", cloud.title);
        let variables = cloud.keys.variables.iter().copied();
        let parts = ["## Set-up", "## Permissions", "## Parameters", "## Leases", "## Common errors"];
        for part in [title.as_str()].into_iter().chain(parts).chain(variables) {
            if !page.contains(part) {
                missing.push(format!("{path}: {part}"));
            }
        }
        // A parameter that the page does not tell of is not there for anybody.
        let config = root.join(format!("crates/providers/src/{}/config.rs", cloud.name));
        let config = std::fs::read_to_string(config).unwrap_or_default();
        let fields = config.lines().filter_map(|it| it.trim().strip_prefix("pub ")?.split_once(": "));
        for (field, _) in fields.filter(|(it, _)| it.chars().all(|it| it.is_ascii_lowercase() || it == '_')) {
            if !page.contains(&format!("| `{field}` |")) {
                missing.push(format!("{path}: the parameter {field}"));
            }
        }
        assert_eq!(named(cloud.name).map(|it| it.title), Some(cloud.title), "two have one name");
    }
    assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
}

#[tokio::test]
async fn a_cloud_is_opened_by_its_settings_and_wrong_ones_are_named() {
    for cloud in CLOUDS {
        let provider = (cloud.open)(serde_json::json!({})).unwrap();
        assert_eq!(provider.name(), cloud.name);
        let settings = serde_json::json!({"regoins": []});
        let error = (cloud.open)(settings).err().unwrap().to_string();
        assert!(error.contains("regoins") && error.contains("docs/providers/"), "{error}");
    }
}
