//! Changes at random to bytes that are in order. Knows nothing of what they reach; that is `guided`'s to find.

/// Numbers at which decoders change their mind: none, one, the ends of each width.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x4000_0001, 1 << 62, u64::MAX];

/// The longest that changing makes anything.
const MOST: usize = 64 << 10;

/// A source of changes: the same seed makes the same ones.
#[derive(Clone, Debug)]
pub struct Mutation(u64);

impl Mutation {
    /// The changes of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of them, some changes further; what is put in comes from another of them at times.
    pub fn of(&mut self, all: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.one(all).to_vec();
        for _ in 0..=self.below(8) {
            self.change(&mut bytes, all);
        }
        bytes.truncate(MOST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, all: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let length = self.below(bytes.len() - at + 1);
        match self.below(9) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|it| *it ^= 1 << ((self.0 >> 40) % 8)),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|it| *it = (self.0 >> 32) as u8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + length.min(16))),
            4 => self.number(bytes, at),
            5 => bytes.extend_from_within(at..at + length),
            6 => bytes.insert(at, (self.0 >> 24) as u8),
            7 => {
                let other = self.one(all);
                let from = self.below(other.len() + 1);
                let piece = other.get(from..from + self.below(other.len() - from + 1)).unwrap_or_default();
                bytes.splice(at..at + length.min(piece.len()), piece.iter().copied());
            }
            // An item more, or the same again: what a list is made of.
            _ => {
                let piece = bytes.get(at..at + length.min(64)).unwrap_or_default().to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }

    /// A number of some width in either order, over what is there.
    fn number(&mut self, bytes: &mut [u8], at: usize) {
        let number = NUMBERS.get(self.below(NUMBERS.len())).copied().unwrap_or_default();
        let width = 1 << self.below(4);
        let (big, little) = (number.to_be_bytes(), number.to_le_bytes());
        let encoded = if self.below(2) == 0 { big.get(8 - width..) } else { little.get(..width) };
        for (place, byte) in bytes.iter_mut().skip(at).zip(encoded.unwrap_or_default()) {
            *place = *byte;
        }
    }

    fn one<'a>(&mut self, all: &'a [Vec<u8>]) -> &'a [u8] {
        let at = self.below(all.len().max(1));
        all.get(at).map(Vec::as_slice).unwrap_or_default()
    }

    /// A number below this one; zero below zero.
    fn below(&mut self, most: usize) -> usize {
        // The generator of Knuth's MMIX; its high digits are the ones that look like chance.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % most.max(1)
    }
}
