//! Ranges as they are typed: `8` is at least eight, `4..8` four to eight, `..8` at most, `=8` exactly.

use std::ops::Bound;
use std::str::FromStr;

/// A range of numbers with both ends in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range<T> {
    least: Option<T>,
    most: Option<T>,
}

impl<T: Copy> Range<T> {
    /// As the catalog takes it.
    pub(crate) fn bounds(self) -> (Bound<T>, Bound<T>) {
        let bound = |it: Option<T>| it.map_or(Bound::Unbounded, Bound::Included);
        (bound(self.least), bound(self.most))
    }
}

impl<T: FromStr + Copy + PartialOrd> FromStr for Range<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |it: &str| {
            let wrong = || format!("`{text}` is no range: write 8 (at least), 4..8, ..8 or =8");
            it.trim().parse::<T>().map_err(|_| wrong())
        };
        let end = |it: &str| if it.is_empty() { Ok(None) } else { number(it).map(Some) };
        let range = if let Some(exact) = text.strip_prefix('=') {
            let exact = number(exact)?;
            Self { least: Some(exact), most: Some(exact) }
        } else if let Some((least, most)) = text.split_once("..") {
            Self { least: end(least)?, most: end(most)? }
        } else {
            Self { least: Some(number(text)?), most: None }
        };
        if range.least.zip(range.most).is_some_and(|(least, most)| least > most) {
            return Err(format!("`{text}` holds no number: the first must not be above the second"));
        }
        Ok(range)
    }
}

#[test]
fn ranges_are_read_as_people_type_them() {
    for (typed, least, most) in
        [("8", Some(8), None), ("4..8", Some(4), Some(8)), ("..8", None, Some(8)), ("=8", Some(8), Some(8))]
    {
        assert_eq!(typed.parse(), Ok(Range { least, most }), "{typed}");
    }
    assert_eq!("0.5".parse(), Ok(Range { least: Some(0.5), most: None }));
    for wrong in ["", "many", "4..few", "8..4", "=", "-1"] {
        assert!(wrong.parse::<Range<u32>>().is_err(), "{wrong}");
    }
}
