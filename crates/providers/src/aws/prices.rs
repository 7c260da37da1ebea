//! What machines cost on demand: the price list's answers, and what is asked of it. The list has products of
//! every kind, so a question names everything that tells one machine from another.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use skyward_runtime::model::Usd;

use super::way::Service;

/// The price list. It is the same in each of the few regions in which it can be asked.
pub(super) const PRICES: Service = Service { host: "api.pricing", signs: "pricing" };

/// Where it is asked.
pub(super) const PRICES_REGION: &str = "us-east-1";

/// The operation.
pub(super) const GET_PRODUCTS: &str = "AWSPriceListService.GetProducts";

/// One page.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    /// Each is a document by itself.
    #[serde(default)]
    price_list: Vec<String>,
    pub(super) next_token: Option<String>,
}

/// A question for what plain Linux costs on machines that are shared and not reserved.
pub(super) fn question(region: &str, instance_types: &[String], next: Option<&str>) -> Value {
    let mut filters = vec![
        ("regionCode", region),
        ("operatingSystem", "Linux"),
        ("tenancy", "Shared"),
        ("preInstalledSw", "NA"),
        ("capacitystatus", "Used"),
        ("marketoption", "OnDemand"),
    ];
    // Several cannot be named in one question, and a name with a star is none.
    if let [only] = instance_types
        && !only.contains('*')
    {
        filters.push(("instanceType", only));
    }
    let filter = |(field, value): (&str, &str)| json!({"Type": "TERM_MATCH", "Field": field, "Value": value});
    let filters: Vec<_> = filters.into_iter().map(filter).collect();
    let mut question = json!({"ServiceCode": "AmazonEC2", "Filters": filters, "MaxResults": 100});
    if let (Some(next), Some(fields)) = (next, question.as_object_mut()) {
        fields.insert("NextToken".to_owned(), json!(next));
    }
    question
}

impl Page {
    /// The price of each kind of machine for an hour. What cannot be read has none, and is not offered.
    pub(super) fn hourly(&self) -> BTreeMap<String, Usd> {
        self.price_list.iter().filter_map(|it| serde_json::from_str(it).ok()).filter_map(price).collect()
    }
}

fn price(product: Product) -> Option<(String, Usd)> {
    let dimensions = product.terms.on_demand.into_values().flat_map(|it| it.price_dimensions.into_values());
    let hourly = dimensions
        .filter(|it| it.unit == "Hrs")
        .find_map(|it| Usd::written(it.price_per_unit.usd.as_deref()?));
    // A price of nothing is one of a machine that is paid for in another way.
    Some((product.product.attributes.instance_type, hourly.filter(|it| *it > Usd::ZERO)?))
}

#[derive(Deserialize)]
struct Product {
    product: Sold,
    terms: Terms,
}

#[derive(Deserialize)]
struct Sold {
    attributes: Attributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    instance_type: String,
}

#[derive(Deserialize)]
struct Terms {
    #[serde(rename = "OnDemand", default)]
    on_demand: BTreeMap<String, Term>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    price_dimensions: BTreeMap<String, Dimension>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dimension {
    unit: String,
    price_per_unit: PerUnit,
}

#[derive(Deserialize)]
struct PerUnit {
    #[serde(rename = "USD")]
    usd: Option<String>,
}

#[cfg(test)]
mod tests {
    use skyward_runtime::usd;

    use super::*;

    #[test]
    fn a_price_is_read_out_of_its_document_and_what_is_no_price_is_left_out() {
        let product = |kind: &str, unit: &str, price: &str| {
            json!({"product": {"attributes": {"instanceType": kind}}, "terms": {"OnDemand": {"a.b": {
                "priceDimensions": {"a.b.c": {"unit": unit, "pricePerUnit": {"USD": price}}}}}}})
            .to_string()
        };
        let list = vec![
            product("g6.xlarge", "Hrs", "0.8048000000"),
            product("p5.48xlarge", "Quantity", "1.0"),
            product("mac2.metal", "Hrs", "0.0000000000"),
            "{}".to_owned(),
        ];
        let page: Page =
            serde_json::from_value(json!({"PriceList": list, "FormatVersion": "aws_v1"})).expect("a page");
        assert_eq!(page.hourly(), BTreeMap::from([("g6.xlarge".to_owned(), usd!(0.8048))]));
    }

    #[test]
    fn one_kind_alone_is_asked_for_by_its_name() {
        let named = |kinds: &[&str]| {
            let kinds: Vec<_> = kinds.iter().map(|it| (*it).to_owned()).collect();
            question("eu-west-1", &kinds, Some("page2")).to_string().contains("instanceType")
        };
        assert!(named(&["g6.xlarge"]));
        assert!(!named(&["g6.*"]) && !named(&["g6.xlarge", "g6.2xlarge"]) && !named(&[]));
    }
}
