//! What an account may have of each family of machines. AWS counts processors, by family and by market, and
//! says only that there are too many: which quota it was, and how to ask for more, is said here.

use serde::Deserialize;
use skyward_runtime::model::Market;

use super::way::Service;

/// The service that knows what each quota is.
pub(super) const QUOTAS: Service = Service { host: "servicequotas", signs: "servicequotas" };

/// The operation.
pub(super) const GET_QUOTA: &str = "ServiceQuotasV20190624.GetServiceQuota";

/// One quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    /// Its code, such as `L-DB2E81BA`.
    pub(super) code: &'static str,
    /// What it is called in the console.
    pub(super) name: &'static str,
}

/// What the service answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Told {
    pub(super) quota: Value,
}

/// One quota of one account.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Value {
    pub(super) value: f64,
}

/// Which quota counts a kind of machine. `None` for a family that nobody has written down.
pub(super) fn of(instance_type: &str, market: Market) -> Option<Quota> {
    let family = instance_type.split('.').next()?;
    let letters: String = family.chars().take_while(char::is_ascii_alphabetic).collect();
    let is_p5 = ["p5", "p5e", "p5en", "p6"].iter().any(|it| family.split('-').next() == Some(*it));
    let spot = market == Market::Spot;
    let quota = |code, name| Some(Quota { code, name });
    match (letters.as_str(), spot) {
        ("g" | "gr" | "vt", false) => quota("L-DB2E81BA", "Running On-Demand G and VT instances"),
        ("g" | "gr" | "vt", true) => quota("L-3819A6DF", "All G and VT Spot Instance Requests"),
        ("p", false) => quota("L-417A185B", "Running On-Demand P instances"),
        ("p", true) if is_p5 => quota("L-C4BD4855", "All P5 Spot Instance Requests"),
        ("p", true) => quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
        ("inf", false) => quota("L-1945791B", "Running On-Demand Inf instances"),
        ("inf", true) => quota("L-B5D1601B", "All Inf Spot Instance Requests"),
        ("trn", false) => quota("L-2C3B7624", "Running On-Demand Trn instances"),
        ("trn", true) => quota("L-6B0D517C", "All Trn Spot Instance Requests"),
        ("f", false) => quota("L-74FC7D96", "Running On-Demand F instances"),
        ("f", true) => quota("L-88CF9481", "All F Spot Instance Requests"),
        ("dl", false) => quota("L-6E869C2A", "Running On-Demand DL instances"),
        ("dl", true) => quota("L-85EED4F7", "All DL Spot Instance Requests"),
        ("x", false) => quota("L-7295265B", "Running On-Demand X instances"),
        ("x", true) => quota("L-E3A00192", "All X Spot Instance Requests"),
        ("hpc", false) => quota("L-F7808C92", "Running On-Demand HPC instances"),
        ("hpc", true) => None,
        ("u", _) => quota("L-43DA4232", "Running On-Demand High Memory instances"),
        // c, m, r, and whatever else is a plain machine, with further letters for what is special about it.
        (letters, spot) if letters.starts_with(['a', 'c', 'd', 'h', 'i', 'm', 'r', 't', 'z']) => match spot {
            false => quota("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
            true => quota("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
        },
        _ => None,
    }
}

impl Quota {
    /// What a person can do. `value` is what it is now, where that could be read.
    pub(super) fn advice(&self, region: &str, value: Option<f64>, wanted_vcpus: u32) -> String {
        let Self { code, name } = self;
        let now = value.map_or_else(String::new, |it| format!(", {it} vCPUs now"));
        format!(
            "the quota is {code} ({name} in {region}{now}); this needs {wanted_vcpus} vCPUs beside what runs. Ask \
             for more: `aws service-quotas request-service-quota-increase --region {region} --service-code ec2 \
             --quota-code {code} --desired-value N`, or rent fewer, another kind, or from the other market"
        )
    }
}

#[test]
fn each_family_and_market_has_its_quota() {
    for (kind, market, code) in [
        ("g6.xlarge", Market::OnDemand, Some("L-DB2E81BA")),
        ("g6f.large", Market::Spot, Some("L-3819A6DF")),
        ("gr6.4xlarge", Market::OnDemand, Some("L-DB2E81BA")),
        ("p5.48xlarge", Market::OnDemand, Some("L-417A185B")),
        ("p5en.48xlarge", Market::Spot, Some("L-C4BD4855")),
        ("p4d.24xlarge", Market::Spot, Some("L-7212CCBC")),
        ("trn1n.32xlarge", Market::OnDemand, Some("L-2C3B7624")),
        ("inf2.xlarge", Market::Spot, Some("L-B5D1601B")),
        ("t4g.small", Market::OnDemand, Some("L-1216C47A")),
        ("c7gn.large", Market::Spot, Some("L-34B43A08")),
        ("im4gn.large", Market::OnDemand, Some("L-1216C47A")),
        ("u-6tb1.metal", Market::OnDemand, Some("L-43DA4232")),
        ("x2idn.16xlarge", Market::OnDemand, Some("L-7295265B")),
        ("q1.large", Market::OnDemand, None),
    ] {
        assert_eq!(of(kind, market).map(|it| it.code), code, "{kind} {market:?}");
    }
}
