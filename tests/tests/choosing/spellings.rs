//! Every accelerator that the real price lists spell is read, or is left out with a reason.

use std::collections::BTreeMap;
use std::fs;

use skyward_runtime::model::Accelerator;
use skyward_runtime::model::accelerator::Unsold;

use crate::shared::{asks, lines, listed, lists};

#[test]
fn every_spelling_of_the_real_price_lists_is_mapped_or_left_out_with_a_reason() {
    let Some(folder) = lists("every_spelling_of_the_real_price_lists") else { return };
    // How often each spelling occurs, and the memory of each card where it is said.
    let mut spellings: BTreeMap<String, (usize, Vec<u32>)> = BTreeMap::new();
    let mut add = |spelling: String, mib: Option<u32>| {
        let (times, sizes) = spellings.entry(spelling).or_default();
        *times += 1;
        sizes.extend(mib);
    };
    for file in ["aws_azure_prices.csv", "server_specs_7_clouds.csv"] {
        for line in lines(&folder, file) {
            if line.gpu_count > 0 || !line.gpu_model.is_empty() {
                let mib = line.each_mib().filter(|_| line.gpu_count > 0);
                add(line.gpu_model, mib);
            }
        }
    }
    listed(&folder).into_iter().for_each(|it| add(it.gpu_model, Some(it.vram_gb * 1024)));
    asks(&folder).into_iter().for_each(|it| add(it.gpu_name, Some(it.gpu_ram)));

    let (mut mapped, mut refused, mut unknown, mut odd) = (0, BTreeMap::<_, usize>::new(), vec![], vec![]);
    for (spelling, (times, sizes)) in &spellings {
        match Accelerator::as_sold(spelling) {
            Ok(sold) => {
                mapped += times;
                let model = sold.model().expect("a spelling is mapped to a model of the catalog");
                let is_usual = |mib: &u32| {
                    model
                        .memory_gb
                        .iter()
                        .any(|it| model.memory_gb(*it).fits(&model.count(1).memory_mib(*mib)))
                };
                // Slices of a card have less, and owners rebuild some; but most must be as the catalog says.
                let usual = sizes.iter().filter(|it| is_usual(it)).count();
                if usual * 2 < sizes.len() {
                    odd.push(spelling.as_str());
                }
            }
            Err(Unsold::Refused { reason, .. }) => *refused.entry(reason).or_default() += times,
            Err(other) => unknown.push(other.to_string()),
        }
    }
    println!("{} spellings: {mapped} lines mapped, refused {refused:?}", spellings.len());
    assert_eq!(unknown, [""; 0]);
    assert_eq!(odd, ODD);
    assert!(spellings.len() > 150 && mapped > 1500, "{} spellings, {mapped} lines", spellings.len());
}

/// Cards to which the lists themselves give a memory that their model never had: an error, and a slice.
const ODD: [&str; 2] = ["GeForce GTX 1070", "H20"];

#[test]
fn the_price_list_without_specs_names_no_accelerator() {
    let Some(folder) = lists("the_price_list_without_specs") else { return };
    let text = fs::read_to_string(folder.join("libcloud-pricing.json")).expect("the list is there");
    let words = text.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| it.len() > 1);
    let makers = ["nvidia", "tesla", "quadro", "geforce", "radeon", "instinct", "gaudi", "habana"];
    let named: Vec<_> = words.filter(|it| makers.contains(&it.to_ascii_lowercase().as_str())).collect();
    assert_eq!(named, [""; 0], "they are to be mapped too");
}
