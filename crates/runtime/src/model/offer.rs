//! What providers have for rent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Accelerator, Architecture, Price};

/// Something that a provider has for rent: a kind of machine, in one place, at a price.
///
/// ```
/// use skyward_runtime::model::{InstanceType, Offer, Price};
/// use skyward_runtime::usd;
/// let small = InstanceType { vcpus: 2, memory_mb: 500, ..InstanceType::named("t3.nano") };
/// let offer = Offer { region: Some("us-east-1".into()), ..Offer::of("aws", small, Price::on_demand(usd!(0.0052))) };
/// assert_eq!(offer.instance_type.memory_gb(), "0.5");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The provider's id of this offer, meaningful to the provider alone.
    pub id: String,
    /// The name of the provider that made the offer, and that it is taken from.
    pub provider: String,
    /// The kind of machine.
    pub instance_type: InstanceType,
    /// The region, in the provider's words; `None` where the provider has none.
    #[serde(default)]
    pub region: Option<String>,
    /// The zone within it, where the offer is bound to one.
    #[serde(default)]
    pub zone: Option<String>,
    /// What it costs. A market without a price is one from which it cannot be had.
    pub price: Price,
    /// How many of them are free, where the provider says so. 0 is sold out.
    #[serde(default)]
    pub stock: Option<u32>,
    /// What else the provider says, for people and for the provider itself.
    #[serde(default)]
    pub specific: BTreeMap<String, String>,
}

/// A kind of machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    /// Its name, in the provider's words.
    pub name: String,
    /// Processors as the provider counts them, whole ones; a part of one is 0.
    pub vcpus: u32,
    /// Memory, in thousandths of what the provider sells as a GB.
    pub memory_mb: u64,
    /// The disk that it comes with, in GB; `None` where the size is chosen when it is rented.
    #[serde(default)]
    pub disk_gb: Option<u32>,
    /// Its processor; `None` where the provider does not say.
    #[serde(default)]
    pub architecture: Option<Architecture>,
    /// Its accelerators, if it has any.
    #[serde(default)]
    pub accelerator: Option<Accelerator>,
}

impl Offer {
    /// An offer that is named for its kind of machine, in no region, of unknown stock.
    pub fn of(provider: impl Into<String>, instance_type: InstanceType, price: Price) -> Self {
        Self {
            id: instance_type.name.clone(),
            provider: provider.into(),
            instance_type,
            region: None,
            zone: None,
            price,
            stock: None,
            specific: BTreeMap::new(),
        }
    }
}

impl InstanceType {
    /// A kind of machine of which nothing but the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Its memory in GB, for people.
    pub fn memory_gb(&self) -> String {
        let (whole, part) = (self.memory_mb / 1000, self.memory_mb % 1000);
        match part {
            0 => whole.to_string(),
            _ => format!("{whole}.{}", format!("{part:03}").trim_end_matches('0')),
        }
    }
}

impl std::fmt::Display for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.provider, self.instance_type.name)?;
        match self.zone.as_ref().or(self.region.as_ref()) {
            Some(place) => write!(f, " in {place}"),
            None => Ok(()),
        }
    }
}
