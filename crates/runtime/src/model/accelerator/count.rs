//! How many accelerators, with the fractions that clouds rent out.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many accelerators a machine has: whole ones, or a fraction of one. Exact to a ten-thousandth, so
/// that two of them can be compared.
///
/// ```
/// use skyward_runtime::model::accelerator::Count;
/// assert_eq!(Count::from(0.125).to_string(), "0.125");
/// assert_eq!(Count::from(8).whole(), Some(8));
/// ```
/// Text formats hold it as the number that it is, others as its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(u32);

impl Count {
    /// One.
    pub const ONE: Self = Self(Self::PARTS);

    /// How many parts one accelerator has.
    pub const PARTS: u32 = 10_000;

    /// So many ten-thousandths.
    pub const fn of_parts(parts: u32) -> Self {
        Self(parts)
    }

    /// In ten-thousandths.
    pub const fn parts(self) -> u32 {
        self.0
    }

    /// Whether it is none at all, which is also what a number below zero, or none, becomes.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The number, when there is no fraction.
    pub const fn whole(self) -> Option<u32> {
        if self.0.is_multiple_of(Self::PARTS) { Some(self.0 / Self::PARTS) } else { None }
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::ONE
    }
}

impl From<u32> for Count {
    fn from(whole: u32) -> Self {
        Self(whole.saturating_mul(Self::PARTS))
    }
}

impl From<f64> for Count {
    /// Rounded to a ten-thousandth. What is below zero, or no number, is none, which no spec may ask for.
    fn from(number: f64) -> Self {
        // A float that does not fit saturates, and NaN becomes 0: the language says so.
        Self((number * f64::from(Self::PARTS)).round() as u32)
    }
}

impl From<Count> for f64 {
    fn from(count: Count) -> Self {
        Self::from(count.0) / Self::from(Count::PARTS)
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.whole() {
            _ if !serializer.is_human_readable() => serializer.serialize_u32(self.0),
            Some(whole) => serializer.serialize_u32(whole),
            None => serializer.serialize_f64(f64::from(*self)),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            f64::deserialize(deserializer).map(Self::from)
        } else {
            u32::deserialize(deserializer).map(Self)
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, parts) = (self.0 / Self::PARTS, self.0 % Self::PARTS);
        if parts == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{parts:04}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[test]
fn a_count_is_exact_for_the_fractions_that_are_rented_out() {
    for (given, shown) in
        [(1.0, "1"), (0.5, "0.5"), (0.125, "0.125"), (0.0625, "0.0625"), (1.0 / 3.0, "0.3333")]
    {
        assert_eq!(Count::from(given).to_string(), shown);
    }
    assert_eq!(Count::from(16), Count::from(16.0));
    for none in [0.0, -1.0, f64::NAN, 0.000_01] {
        assert!(Count::from(none).is_zero(), "{none}");
    }
    assert_eq!(Count::from(f64::INFINITY), Count::from(u32::MAX));
}

#[test]
fn text_formats_hold_the_number_and_others_its_parts() {
    for (count, json) in [(Count::from(8), "8"), (Count::from(0.125), "0.125"), (Count::from(1.5), "1.5")] {
        assert_eq!(serde_json::to_string(&count).expect("json"), json);
        assert_eq!(serde_json::from_str::<Count>(json).expect("read"), count);
        let packed = rmp_serde::to_vec(&count).expect("packed");
        assert_eq!(rmp_serde::from_slice::<Count>(&packed).expect("read"), count);
    }
}
