//! Python's random numbers, to the bit: `random.Random(seed)` and its `shuffle`, so that a program that
//! moves here from Python keeps the order of its data. Called by the shards.

/// The Mersenne Twister MT19937, seeded as CPython seeds it with a whole number.
pub(super) struct Twister {
    state: [u32; N],
    next: usize,
}

const N: usize = 624;
const M: usize = 397;

#[expect(clippy::indexing_slicing, reason = "the algorithm is written in indices, all of them below N")]
impl Twister {
    /// `random.Random(seed)`.
    pub(super) fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        // CPython takes as many words as the number has, and one for zero.
        let words = [low, high];
        let key = if high == 0 { &words[..1] } else { &words[..] };
        let mut state = [0_u32; N];
        state[0] = 19_650_218;
        for at in 1..N {
            state[at] = mixed(state[at - 1]).wrapping_mul(1_812_433_253).wrapping_add(at as u32);
        }
        let (mut at, mut word) = (1, 0);
        for _ in 0..N {
            state[at] = (state[at] ^ mixed(state[at - 1]).wrapping_mul(1_664_525))
                .wrapping_add(key[word])
                .wrapping_add(word as u32);
            at = forward(&mut state, at);
            word = (word + 1) % key.len();
        }
        for _ in 1..N {
            state[at] =
                (state[at] ^ mixed(state[at - 1]).wrapping_mul(1_566_083_941)).wrapping_sub(at as u32);
            at = forward(&mut state, at);
        }
        state[0] = 0x8000_0000;
        Self { state, next: N }
    }

    fn word(&mut self) -> u32 {
        if self.next == N {
            for at in 0..N {
                let joined = (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % N] & 0x7fff_ffff);
                let twisted = (joined >> 1) ^ if joined & 1 == 0 { 0 } else { 0x9908_b0df };
                self.state[at] = self.state[(at + M) % N] ^ twisted;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }
}

impl Twister {
    /// `shuffle(items)`.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1);
            items.swap(last, usize::try_from(other).unwrap_or(last));
        }
    }

    /// `_randbelow(n)`: a number below `n`, which is at least 1.
    fn below(&mut self, n: u64) -> u64 {
        let bits = u64::BITS - n.leading_zeros();
        loop {
            let number = self.bits(bits);
            if number < n {
                return number;
            }
        }
    }

    /// `getrandbits(bits)`, of 1 to 64 bits: whole words from the lowest on, the last one's upper bits.
    fn bits(&mut self, bits: u32) -> u64 {
        if bits <= u32::BITS {
            return u64::from(self.word() >> (u32::BITS - bits));
        }
        let low = u64::from(self.word());
        let high = u64::from(self.word() >> (u64::BITS - bits));
        (high << u32::BITS) | low
    }
}

const fn mixed(word: u32) -> u32 {
    word ^ (word >> 30)
}

fn forward(state: &mut [u32; N], at: usize) -> usize {
    if at + 1 < N {
        return at + 1;
    }
    state[0] = state[N - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_python() {
        // [random.Random(seed).getrandbits(32) for _ in range(4)] of CPython 3.11.
        for (seed, expected) in [
            (0, [3_626_764_237, 1_654_615_998, 3_255_389_356, 3_823_568_514]),
            (42, [2_746_317_213, 478_163_327, 107_420_369, 3_184_935_163]),
            (1 << 32, [485_306_839, 1_508_871_100, 1_794_561_286, 4_014_597_330]),
            ((1 << 40) + 7, [2_635_837_658, 3_209_733_218, 3_500_038_837, 4_028_389_051]),
            (u64::MAX, [93_740_670, 1_068_495_656, 1_452_108_352, 2_657_516_307]),
        ] {
            let mut twister = Twister::new(seed);
            assert_eq!(expected.map(|_| twister.word()), expected, "{seed}");
        }
    }

    #[test]
    fn bits_are_those_of_python() {
        // [r.getrandbits(k) for k in (1, 5, 31, 33, 48, 64)].
        for (seed, expected) in [
            (0, [1, 12, 1_627_694_678, 3_823_568_514, 72_877_178_957_620, 9_431_353_882_395_063_546]),
            (42, [1, 3, 53_710_184, 3_184_935_163, 62_827_833_408_400, 13_585_496_030_504_862_185]),
            (
                (1 << 40) + 7,
                [1, 23, 1_750_019_418, 8_323_356_347, 160_552_919_224_897, 8_779_250_061_879_139_715],
            ),
        ] {
            let mut twister = Twister::new(seed);
            assert_eq!([1, 5, 31, 33, 48, 64].map(|it| twister.bits(it)), expected, "{seed}");
        }
    }

    #[test]
    fn a_shuffle_is_that_of_python() {
        let shuffled = |seed, length| {
            let mut items: Vec<u64> = (0..length).collect();
            Twister::new(seed).shuffle(&mut items);
            items
        };
        for (seed, expected) in [
            (0, &[7, 8, 1, 5, 3, 4, 2, 0, 9, 6][..]),
            (42, &[7, 3, 2, 8, 5, 6, 9, 4, 0, 1]),
            (7, &[]),
            (7, &[0]),
            (7, &[0, 1]),
            ((1 << 40) + 7, &[4, 0, 14, 10, 1, 13, 3, 7, 11, 5, 12, 6, 16, 2, 9, 8, 15]),
            (
                u64::MAX,
                &[
                    20, 24, 16, 21, 26, 25, 7, 8, 12, 13, 5, 0, 9, 27, 4, 18, 30, 2, 31, 17, 28, 32, 22, 23,
                    11, 3, 29, 14, 6, 19, 10, 15, 1,
                ],
            ),
        ] {
            assert_eq!(shuffled(seed, expected.len() as u64), expected, "{seed}");
        }
        // Longer than one generation of words, as a sum over places.
        let long = shuffled(1, 100_000);
        assert_eq!(long[..6], [63_229, 7_871, 74_587, 59_445, 71_381, 5_404]);
        assert_eq!((0..).zip(&long).map(|(at, it): (u64, _)| at * it).sum::<u64>(), 250_156_808_791_575);
    }
}
