//! The models of accelerators, as data. A new model is one line in the file of its family.

use super::{Accelerator, Count, Cuda, Form, Manufacturer};

/// A model of accelerator: what every one of its kind has.
///
/// ```
/// use skyward_runtime::model::accelerators;
/// assert_eq!(accelerators::H100.architecture, "Hopper");
/// assert_eq!(accelerators::H100.count(8).to_string(), "H100:8");
/// ```
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Model {
    /// Its name, such as `RTX 4090`.
    pub name: &'static str,
    /// Who makes it.
    pub manufacturer: Manufacturer,
    /// The generation of its design, such as `Hopper`.
    pub architecture: &'static str,
    /// The sizes of memory that it is sold with, in GB each, the smallest first. A shared or rebuilt card
    /// can have another.
    pub memory_gb: &'static [u32],
    /// The forms that it is built in.
    pub forms: &'static [Form],
    /// The oldest CUDA that knows it, and the newest that still does; nothing for what does not run CUDA.
    pub cuda: Option<(Cuda, Option<Cuda>)>,
    /// Other names by which people and clouds call it, in lower case without blanks and punctuation.
    pub aliases: &'static [&'static str],
}

impl Model {
    /// So many of them on each machine. Takes whole numbers and fractions.
    pub fn count(&self, count: impl Into<Count>) -> Accelerator {
        Accelerator::from(self).count(count)
    }

    /// One, with this much memory.
    pub fn memory_gb(&self, memory_gb: u32) -> Accelerator {
        Accelerator::from(self).memory_gb(memory_gb)
    }

    /// One, with this much memory in MiB, as marketplaces report it.
    pub fn memory_mib(&self, memory_mib: u32) -> Accelerator {
        Accelerator::from(self).memory_mib(memory_mib)
    }

    /// One, in this form.
    pub fn form(&self, form: Form) -> Accelerator {
        Accelerator::from(self).form(form)
    }

    /// The model of this exact name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|it| it.name == name)
    }

    /// All models.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        let nvidia = [super::nvidia::ALL, super::workstation::ALL, super::geforce::ALL];
        nvidia.into_iter().chain(super::others::ALL).flatten().copied()
    }
}

/// A constant for each model, by its name: `accelerators::RTX_4090`.
pub mod accelerators {
    pub use super::super::{geforce::*, nvidia::*, others::*, workstation::*};
}

/// The range of CUDA versions of one compute capability.
pub(super) const fn cuda(from: (u8, u8), to: Option<(u8, u8)>) -> Option<(Cuda, Option<Cuda>)> {
    let to = match to {
        Some((major, minor)) => Some(Cuda { major, minor }),
        None => None,
    };
    Some((Cuda { major: from.0, minor: from.1 }, to))
}

/// One constant for each line, and `ALL` of them.
macro_rules! models {
    ($manufacturer:ident; $($id:ident $name:literal $architecture:literal [$($memory:literal)*] [$($form:ident)*] $cuda:tt $([$($alias:literal)*])?)*) => {
        $(
            #[doc = concat!("The ", $name, ".")]
            pub const $id: &Model = &Model {
                name: $name,
                manufacturer: Manufacturer::$manufacturer,
                architecture: $architecture,
                memory_gb: &[$($memory),*],
                forms: &[$(Form::$form),*],
                cuda: $cuda,
                aliases: &[$($($alias),*)?],
            };
        )*
        pub(super) const ALL: &[&Model] = &[$($id),*];
    };
}
pub(super) use models;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::accelerator::nearest::squash;

    #[test]
    fn no_two_models_share_a_name() {
        let mut owner: BTreeMap<String, &str> = BTreeMap::new();
        for model in Model::all() {
            let names = model.aliases.iter().map(|it| (*it).to_owned());
            for name in names.chain([squash(model.name)]) {
                assert_eq!(name, squash(&name), "the alias `{name}` of {} is never found", model.name);
                let before = owner.insert(name.clone(), model.name);
                assert_eq!(before, None, "`{name}` is {} and {}", before.unwrap_or_default(), model.name);
            }
        }
        assert!(owner.len() > 150, "{}", owner.len());
    }

    #[test]
    fn every_model_says_its_memory_in_rising_order_and_its_form() {
        for model in Model::all() {
            assert!(model.memory_gb.is_sorted() && !model.memory_gb.is_empty(), "{model:?}");
            assert!(!model.forms.is_empty(), "{model:?}");
            assert_eq!(model.cuda.is_some(), model.manufacturer == Manufacturer::Nvidia, "{model:?}");
        }
    }
}
