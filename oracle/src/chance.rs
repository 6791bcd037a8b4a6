//! Numbers that look random and are the same everywhere: splitmix64 (Steele, Lea, Flood 2014).

/// A seeded generator. What a seed gives is part of the recordings: never change it.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.bits() % (high - low + 1)
    }

    /// One of several; `None` of none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let last = (all.len() as u64).checked_sub(1)?;
        all.get(usize::try_from(self.within(0, last)).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::Chance;

    /// The first numbers of seed 1234567, as published with the algorithm's C code.
    #[test]
    fn it_is_splitmix64() {
        let mut chance = Chance::new(1_234_567);
        assert_eq!(
            [chance.bits(), chance.bits(), chance.bits()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }
}
