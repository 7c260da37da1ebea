//! Money: exact US dollars. Prices, caps and bills are this type; no float is ever in between.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of US dollars, exact to a thousand-millionth of one. At most about nine thousand million
/// dollars; sums that would be more stay there.
///
/// ```
/// use skyward_runtime::model::Usd;
/// use skyward_runtime::usd;
/// let price: Usd = "2.50".parse().expect("an amount");
/// assert_eq!(price, usd!(2.50));
/// assert_eq!((price * 3).to_string(), "$7.50");
/// assert_eq!("0.0116".parse::<Usd>().expect("an amount").to_string(), "$0.0116");
/// ```
///
/// Text formats hold it as text (`"2.50"`), and take numbers as they are written, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i64);

/// Text that is no amount of dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUsd {
    /// What it was.
    pub text: String,
}

/// Exact dollars, as written: `usd!(2.50)`. What is no amount does not compile.
///
/// ```
/// use skyward_runtime::usd;
/// assert_eq!(usd!(1), usd!(1.00));
/// ```
///
/// ```compile_fail
/// let _ = skyward_runtime::usd!(2.5f64);
/// ```
#[macro_export]
macro_rules! usd {
    ($amount:literal) => {
        const {
            match $crate::model::Usd::written(::core::stringify!($amount)) {
                ::core::option::Option::Some(amount) => amount,
                ::core::option::Option::None => {
                    ::core::panic!("an amount of dollars is a decimal number such as 2.50")
                }
            }
        }
    };
}

/// The macro, among the words: nobody has to look for it at the root of the crate.
pub use usd;

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// More than anything costs: where sums stay.
    pub const MOST: Self = Self(i64::MAX);

    /// So many thousand-millionths of a dollar.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The amount in thousand-millionths of a dollar.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole cents.
    pub const fn from_cents(cents: i64) -> Self {
        Self(cents.saturating_mul(NANOS / 100))
    }

    /// The amount that a decimal number such as `2.50`, `1_000`, or `2.7e-5` stands for; `None` for
    /// anything else. What is below a thousand-millionth is rounded up, so that no price seems lower
    /// than it is.
    pub const fn written(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (mut at, mut digits, mut scale, mut point, mut any) = (0, 0_i128, 0_i32, false, false);
        while at < bytes.len() {
            let Some((byte, _)) = tail(bytes, at).split_first() else { return None };
            match *byte {
                b'0'..=b'9' => {
                    any = true;
                    if digits < DIGITS {
                        digits = digits * 10 + (*byte - b'0') as i128;
                        scale += point as i32;
                    } else if point {
                        // Too far behind the point to be more than a rounding.
                        if *byte != b'0' && digits % 10 == 0 {
                            digits += 1;
                        }
                    } else {
                        return None;
                    }
                }
                b'_' if any => {}
                b'.' if !point => point = true,
                b'e' | b'E' if any => {
                    let Some(exponent) = exponent(tail(bytes, at + 1)) else { return None };
                    scale -= exponent;
                    break;
                }
                _ => return None,
            }
            at += 1;
        }
        if any { scaled(digits, scale) } else { None }
    }

    /// The amount times a fraction, rounded up to a thousand-millionth. A divisor of zero counts as one.
    #[must_use]
    pub fn fraction(self, times: u128, of: u128) -> Self {
        let nanos = u128::try_from(self.0).unwrap_or_default();
        let whole = nanos.saturating_mul(times).div_ceil(of.max(1));
        Self(i64::try_from(whole).unwrap_or(i64::MAX))
    }

    /// The difference, or nothing where it would be negative.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        if other.0 >= self.0 { Self::ZERO } else { Self(self.0.saturating_sub(other.0)) }
    }
}

const fn tail(bytes: &[u8], from: usize) -> &[u8] {
    match bytes.split_at_checked(from) {
        Some((_, tail)) => tail,
        None => &[],
    }
}

/// The number after an `e`.
const fn exponent(bytes: &[u8]) -> Option<i32> {
    let (negative, mut rest) = match bytes.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, bytes),
    };
    if rest.is_empty() {
        return None;
    }
    let mut value = 0_i32;
    while let Some((byte, after)) = rest.split_first() {
        if !byte.is_ascii_digit() || value > 99 {
            return None;
        }
        value = value * 10 + (*byte - b'0') as i32;
        rest = after;
    }
    Some(if negative { -value } else { value })
}

/// `digits` with `scale` of them behind the point.
const fn scaled(mut digits: i128, mut scale: i32) -> Option<Usd> {
    while scale < PLACES {
        if digits > i64::MAX as i128 {
            return None;
        }
        digits *= 10;
        scale += 1;
        if digits == 0 {
            return Some(Usd(0));
        }
    }
    while scale > PLACES && digits > 1 {
        digits = digits / 10 + if digits % 10 == 0 { 0 } else { 1 };
        scale -= 1;
    }
    if digits > i64::MAX as i128 { None } else { Some(Usd(digits as i64)) }
}

impl FromStr for Usd {
    type Err = InvalidUsd;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.trim();
        let number = number.strip_prefix('$').unwrap_or(number);
        Self::written(number).ok_or_else(|| InvalidUsd { text: text.to_owned() })
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        f.pad(&format!("{sign}${}", decimal(self.0)))
    }
}

/// The number without a sign: at least two digits behind the point, and as many as it takes.
fn decimal(nanos: i64) -> String {
    let (nanos, unit) = (nanos.unsigned_abs(), NANOS.unsigned_abs());
    let fraction = format!("{:09}", nanos % unit);
    let (cents, below) = fraction.split_at_checked(2).unwrap_or((&fraction, ""));
    format!("{}.{cents}{}", nanos / unit, below.trim_end_matches('0'))
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u32> for Usd {
    type Output = Self;

    fn mul(self, times: u32) -> Self {
        Self(self.0.saturating_mul(i64::from(times)))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for InvalidUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no amount of dollars: write a decimal number such as 2.50", self.text)
    }
}

impl std::error::Error for InvalidUsd {}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let sign = if self.0 < 0 { "-" } else { "" };
            serializer.serialize_str(&format!("{sign}{}", decimal(self.0)))
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Written)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

struct Written;

impl Visitor<'_> for Written {
    type Value = Usd;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of dollars such as \"2.50\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Usd, E> {
        match text.strip_prefix('-') {
            Some(text) => text.parse().map(|it: Usd| Usd(-it.0)).map_err(E::custom),
            None => text.parse().map_err(E::custom),
        }
    }

    fn visit_u64<E: de::Error>(self, dollars: u64) -> Result<Usd, E> {
        self.visit_str(&dollars.to_string())
    }

    fn visit_i64<E: de::Error>(self, dollars: i64) -> Result<Usd, E> {
        self.visit_str(&dollars.to_string())
    }

    /// A float prints as the shortest decimal that it stands for, which is the one that was written.
    fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<Usd, E> {
        self.visit_str(&dollars.to_string())
    }
}

/// Parts of a dollar, and how many digits that is.
const NANOS: i64 = 1_000_000_000;
const PLACES: i32 = 9;

/// Where reading digits stops: far above any amount, far below where an `i128` overflows.
const DIGITS: i128 = 1_000_000_000_000_000_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_exactly() {
        for (text, nanos) in [
            ("2.50", 2_500_000_000),
            ("$2.5", 2_500_000_000),
            ("0", 0),
            ("0.0", 0),
            (".5", 500_000_000),
            ("1_000.", 1_000_000_000_000),
            ("0.0116", 11_600_000),
            ("2.777777777777778e-05", 27_778),
            ("1e2", 100_000_000_000),
            ("0.1", 100_000_000),
            ("0.0000000001", 1),
            ("3.3333333333333333333333333333333333333", 3_333_333_334),
        ] {
            assert_eq!(text.parse::<Usd>(), Ok(Usd(nanos)), "{text}");
        }
        for text in ["", ".", "-1", "1.2.3", "1e", "2,50", "ten", "1e400", "99999999999", "$", "1 2", "_1"] {
            assert_eq!(text.parse::<Usd>(), Err(InvalidUsd { text: text.to_owned() }), "{text}");
        }
    }

    #[test]
    fn an_amount_prints_what_it_is() {
        for (amount, printed) in [
            (usd!(2.50), "$2.50"),
            (usd!(0.0116), "$0.0116"),
            (usd!(1000), "$1000.00"),
            (Usd::ZERO - usd!(1.5), "-$1.50"),
            (Usd::from_cents(7), "$0.07"),
        ] {
            assert_eq!(amount.to_string(), printed);
        }
    }

    #[test]
    fn sums_stay_at_the_most_and_fractions_are_rounded_up() {
        assert_eq!(Usd::MOST + usd!(1), Usd::MOST);
        assert_eq!(usd!(1).less(usd!(2)), Usd::ZERO);
        assert_eq!(usd!(3.60).fraction(1, 3600), usd!(0.001));
        assert_eq!(usd!(1).fraction(1, 3), Usd(333_333_334));
        assert_eq!([usd!(1), usd!(2)].into_iter().sum::<Usd>(), usd!(3));
    }

    #[test]
    fn text_formats_hold_text_and_take_numbers() {
        assert_eq!(serde_json::to_string(&usd!(2.50)).expect("json"), "\"2.50\"");
        for json in ["\"2.50\"", "2.5", "2.50"] {
            assert_eq!(serde_json::from_str::<Usd>(json).expect(json), usd!(2.50));
        }
        let packed = rmp_serde::to_vec(&usd!(2.50)).expect("packed");
        assert_eq!(rmp_serde::from_slice::<Usd>(&packed).expect("read"), usd!(2.50));
    }
}
