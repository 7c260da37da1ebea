//! Accelerators of one kind: what a spec asks for and what a machine has, in one word.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Count, Form, Manufacturer, Model, Unsold, sold, spelling};
use crate::model::InvalidRequest;

/// Accelerators of one kind on one machine. In a spec it is what is asked for, in an offer and inside a
/// function what there is.
///
/// ```
/// use skyward_runtime::model::{Accelerator, accelerators};
///
/// let asked = accelerators::A100.count(4).memory_gb(80);
/// assert_eq!("A100-80GB:4".parse::<Accelerator>()?, asked);
/// assert_eq!(asked.to_string(), "A100-80GB:4");
/// # Ok::<(), skyward_runtime::model::InvalidRequest>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Accelerator {
    /// What it is called, such as `RTX 4090`: the name of its [`Model`], where there is one.
    pub name: String,
    /// How many of them on each machine. Default 1.
    pub count: Count,
    /// The memory of each, in MiB. `None` in a spec is any, in an offer not known.
    pub memory_mib: Option<u32>,
    /// How it is built in. `None` in a spec is any, in an offer not known.
    pub form: Option<Form>,
}

impl Accelerator {
    /// One of a model that the catalog does not have, by the exact name that its provider gives it.
    pub fn custom(name: impl Into<String>) -> Self {
        Self { name: name.into(), count: Count::ONE, memory_mib: None, form: None }
    }

    /// What a cloud calls `spelling`, in our words. Every provider reads its cloud's names here.
    ///
    /// ```
    /// use skyward_runtime::model::{Accelerator, accelerators};
    /// let sold = Accelerator::as_sold("NVIDIA A100-SXM4-80GB")?;
    /// assert!(accelerators::A100.memory_gb(80).fits(&sold));
    /// # Ok::<(), skyward_runtime::model::accelerator::Unsold>(())
    /// ```
    ///
    /// # Errors
    /// [`Unsold::Refused`] for what is no accelerator that a program could ask for, with the reason;
    /// [`Unsold::Unknown`] for a name that nobody has written down yet.
    pub fn as_sold(spelling: &str) -> Result<Self, Unsold> {
        sold::read(spelling)
    }

    /// So many of them on each machine. Takes whole numbers and fractions: `0.5` is half of one.
    #[must_use]
    pub fn count(mut self, count: impl Into<Count>) -> Self {
        self.count = count.into();
        self
    }

    /// Each with this much memory. What is offered may differ by a tenth, because clouds round.
    #[must_use]
    pub fn memory_gb(self, memory_gb: u32) -> Self {
        self.memory_mib(memory_gb.saturating_mul(MIB_PER_GB))
    }

    /// Each with this much memory, in MiB.
    #[must_use]
    pub const fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = Some(memory_mib);
        self
    }

    /// Built in this way.
    #[must_use]
    pub const fn form(mut self, form: Form) -> Self {
        self.form = Some(form);
        self
    }

    /// What is known of all of this name; `None` for a custom one.
    pub fn model(&self) -> Option<&'static Model> {
        Model::named(&self.name)
    }

    /// Who makes it, where the catalog knows.
    pub fn manufacturer(&self) -> Option<Manufacturer> {
        self.model().map(|it| it.manufacturer)
    }

    /// With what its model alone decides: the memory, where there is only one size; and without a form,
    /// where there is only one, because that says nothing.
    #[must_use]
    pub fn completed(mut self) -> Self {
        if let Some(model) = self.model() {
            if let [only] = model.memory_gb {
                self.memory_mib = self.memory_mib.or(Some(only.saturating_mul(MIB_PER_GB)));
            }
            self.form = self.form.filter(|_| model.forms.len() > 1);
        }
        self
    }

    /// Whether a machine with `offered` has what is asked for here: the same name, the same number, and
    /// where they are asked for memory that differs by a tenth at most, and the same form, where the
    /// model has several.
    pub fn fits(&self, offered: &Self) -> bool {
        self.name == offered.name
            && self.count == offered.count
            && self.memory_bounds_mib().is_none_or(|(least, most)| {
                let known = || offered.clone().completed().memory_mib;
                offered.memory_mib.or_else(known).is_some_and(|it| (least..=most).contains(&it))
            })
            && self.telling_form().is_none_or(|form| offered.form == Some(form))
    }

    /// The form, where it tells two machines apart: its model has several.
    pub fn telling_form(&self) -> Option<Form> {
        let form = self.form?;
        let several = self.model().is_none_or(|it| it.forms.len() > 1);
        several.then_some(form)
    }

    /// The least and the most memory that an offer may have, in MiB, when memory is asked for.
    pub fn memory_bounds_mib(&self) -> Option<(u32, u32)> {
        let asked = u64::from(self.memory_mib?);
        let within = |parts: u64| u32::try_from(parts).unwrap_or(u32::MAX);
        Some((within((asked * 9).div_ceil(10)), within(asked * 11 / 10)))
    }

    /// Checks what has been asked for.
    ///
    /// # Errors
    /// When the name is empty, the number is 0, or the model is never sold with this memory or in this
    /// form; the error says what there is.
    pub fn validated(&self) -> Result<(), InvalidRequest> {
        let invalid = |allowed: String| Err(InvalidRequest::new("accelerator", self, allowed));
        if self.name.trim().is_empty() {
            return invalid("must have a name, such as `A100` or `RTX 4090`".to_owned());
        }
        if self.count.is_zero() {
            return invalid("must be at least 0.0001 of one; a half is `0.5`".to_owned());
        }
        let Some(model) = self.model() else { return Ok(()) };
        if let Some((least, most)) = self.memory_bounds_mib() {
            let near = |gb: &u32| (least..=most).contains(&gb.saturating_mul(MIB_PER_GB));
            if !model.memory_gb.iter().any(near) {
                let sizes: Vec<_> = model.memory_gb.iter().map(ToString::to_string).collect();
                return invalid(format!("{} is sold with {} GB", model.name, sizes.join(" or ")));
            }
        }
        if let Some(form) = self.form
            && !model.forms.contains(&form)
        {
            let forms: Vec<_> = model.forms.iter().map(ToString::to_string).collect();
            return invalid(format!("{} is built as {}", model.name, forms.join(" or ")));
        }
        Ok(())
    }
}

impl From<&Model> for Accelerator {
    fn from(model: &Model) -> Self {
        Self::custom(model.name)
    }
}

impl FromStr for Accelerator {
    type Err = InvalidRequest;

    /// What people type: `A100`, `A100:4`, `A100-80GB:8`, `RTX 4090`, `rtx4090`, `H100-SXM`, `8x H100`,
    /// `TPU-v4-8`. The number behind a TPU is the one that its cloud uses for the size of a slice, which
    /// counts cores, two of a chip, up to v4 and for v5p; the count here is always in chips.
    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        spelling::typed(typed)
    }
}

impl fmt::Display for Accelerator {
    /// As it can be typed: name, memory, form, and the number when it is not one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(mib) = self.memory_mib {
            let tenths = (u64::from(mib) * 10 + u64::from(MIB_PER_GB) / 2) / u64::from(MIB_PER_GB);
            match (tenths / 10, tenths % 10) {
                (whole, 0) => write!(f, "-{whole}GB")?,
                (whole, tenth) => write!(f, "-{whole}.{tenth}GB")?,
            }
        }
        if let Some(form) = self.form {
            write!(f, "-{form}")?;
        }
        if self.count == Count::ONE { Ok(()) } else { write!(f, ":{}", self.count) }
    }
}

/// Cards are named in GB that are GiB.
const MIB_PER_GB: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::accelerators::{A100, H100, L4, TPU_V4};

    #[test]
    fn a_match_is_the_exact_name_the_exact_number_and_memory_within_a_tenth() {
        let sold = A100.count(8).memory_mib(81_251);
        for (asked, met) in [
            (A100.count(8), true),
            (A100.count(8).memory_gb(80), true),
            (A100.count(8).memory_gb(40), false),
            (A100.count(4), false),
            (A100.count(0.5), false),
            (H100.count(8), false),
            (A100.count(8).form(Form::Sxm), false),
        ] {
            assert_eq!(asked.fits(&sold), met, "{asked}");
        }
        assert!(A100.form(Form::Sxm).fits(&A100.form(Form::Sxm)));
        let exactly_a_tenth = L4.memory_gb(20);
        assert!(exactly_a_tenth.fits(&L4.memory_mib(22 * 1024)));
        assert!(!exactly_a_tenth.fits(&L4.memory_mib(22 * 1024 + 1)));
        assert!(exactly_a_tenth.fits(&L4.memory_mib(18 * 1024)));
        assert!(!exactly_a_tenth.fits(&L4.memory_mib(18 * 1024 - 1)));
    }

    #[test]
    fn what_an_offer_does_not_say_is_taken_from_its_model_where_there_is_one_answer() {
        assert!(L4.memory_gb(24).form(Form::Pcie).fits(&L4.count(1)));
        assert!(!A100.memory_gb(80).fits(&A100.count(1)), "it may be one of 40 GB");
        assert!(!Accelerator::custom("X1").memory_gb(1).fits(&Accelerator::custom("X1")));
        assert!(Accelerator::custom("X1").fits(&Accelerator::custom("X1").memory_gb(1)));
    }

    #[test]
    fn what_is_never_sold_is_refused_with_what_is() {
        for (given, error) in [
            (A100.memory_gb(60), "accelerator is A100-60GB: A100 is sold with 40 or 80 GB"),
            (A100.form(Form::Oam), "accelerator is A100-OAM: A100 is built as SXM or PCIe"),
            (
                TPU_V4.count(f64::NAN),
                "accelerator is TPU v4:0: must be at least 0.0001 of one; a half is `0.5`",
            ),
            (Accelerator::custom(""), "accelerator is : must have a name, such as `A100` or `RTX 4090`"),
        ] {
            assert_eq!(given.validated().map_err(|it| it.to_string()), Err(error.to_owned()));
        }
        assert!(H100.memory_gb(79).validated().is_ok());
    }
}
