//! A cache line of atomic words, and what is asked of all its words at once.

use std::sync::atomic::AtomicU64;

/// One cache line of atomic words.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Line(pub [AtomicU64; 8]);

impl Line {
    /// The upper halves of its words, each as it was at some moment of the call
    /// ([`Relaxed`](std::sync::atomic::Ordering::Relaxed)).
    #[inline(always)]
    pub fn upper_halves(&self) -> UpperHalves {
        UpperHalves(load(self))
    }
}

/// The upper halves of a [`Line`]'s words. Answers are bit masks: bit n is of word n.
#[derive(Clone, Copy, Debug)]
pub struct UpperHalves(Lanes);

impl UpperHalves {
    /// Which of them are this one.
    #[inline(always)]
    pub fn equal(self, half: u32) -> u8 {
        equal(self.0, half)
    }

    /// Which of them have their highest bit set.
    #[inline(always)]
    pub fn highest_bits(self) -> u8 {
        highest_bits(self.0)
    }
}

#[cfg(target_arch = "x86_64")]
use sse2::{Lanes, equal, highest_bits, load};

/// Four words in a register: all of x86-64 has SSE2.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::{
        asm,
        x86_64::{__m128i, _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_movemask_ps, _mm_set1_epi32},
    };

    use super::Line;

    pub(super) type Lanes = [__m128i; 2];

    #[inline(always)]
    pub(super) fn load(line: &Line) -> Lanes {
        let [first, last];
        // SAFETY: the reads lie within the line, which is aligned to 64, and nothing is written.
        // Other threads may store to its words meanwhile, which is a race for Rust's plain reads
        // but not for the processor's: it reads each aligned word at once (Intel SDM 3A 9.1.1).
        unsafe {
            asm!(
                "movaps {first}, xmmword ptr [{line}]",
                "shufps {first}, xmmword ptr [{line} + 16], 0xdd",
                "movaps {last}, xmmword ptr [{line} + 32]",
                "shufps {last}, xmmword ptr [{line} + 48], 0xdd",
                line = in(reg) line,
                first = out(xmm_reg) first,
                last = out(xmm_reg) last,
                options(nostack, readonly, preserves_flags),
            );
        }
        [first, last]
    }

    #[inline(always)]
    pub(super) fn equal([first, last]: Lanes, half: u32) -> u8 {
        // SAFETY: they need SSE2, which all of x86-64 has.
        let equal = unsafe {
            let wanted = _mm_set1_epi32(half.cast_signed());
            [_mm_cmpeq_epi32(first, wanted), _mm_cmpeq_epi32(last, wanted)]
        };
        highest_bits(equal)
    }

    #[inline(always)]
    pub(super) fn highest_bits([first, last]: Lanes) -> u8 {
        // SAFETY: as above.
        let [first, last] = unsafe {
            [_mm_movemask_ps(_mm_castsi128_ps(first)), _mm_movemask_ps(_mm_castsi128_ps(last))]
        };
        (first | last << 4) as u8
    }
}

#[cfg(not(target_arch = "x86_64"))]
use plain::{Lanes, equal, highest_bits, load};

/// Word by word.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    use std::sync::atomic::Ordering::Relaxed;

    use super::Line;

    pub(super) type Lanes = [u32; 8];

    pub(super) fn load(line: &Line) -> Lanes {
        line.0.each_ref().map(|word| (word.load(Relaxed) >> 32) as u32)
    }

    pub(super) fn equal(lanes: Lanes, half: u32) -> u8 {
        mask(lanes, |lane| lane == half)
    }

    pub(super) fn highest_bits(lanes: Lanes) -> u8 {
        mask(lanes, |lane| lane >> 31 == 1)
    }

    fn mask(lanes: Lanes, holds: impl Fn(u32) -> bool) -> u8 {
        lanes.into_iter().rev().fold(0, |bits, lane| bits << 1 | u8::from(holds(lane)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: u32 = 0x8123_4567;

    fn line(halves: [u32; 8]) -> Line {
        // Lower halves that look like upper ones.
        Line(halves.map(|half| AtomicU64::new(u64::from(half) << 32 | u64::from(TAG))))
    }

    #[test]
    fn bit_n_is_of_word_n() {
        let table = [
            ([0; 8], 0, 0),
            ([TAG; 8], 0xff, 0xff),
            ([TAG, 0, 0, 0, 0, 0, 0, 0], 0x01, 0x01),
            ([0, 0, 0, TAG, TAG ^ 1, 0, 0, 0], 0x08, 0x18),
            ([0x7fff_ffff, 0, 0, 0, u32::MAX, 0, 1 << 31, TAG], 0x80, 0xd0),
        ];
        for (halves, equal, highest) in table {
            let seen = line(halves).upper_halves();
            assert_eq!((seen.equal(TAG), seen.highest_bits()), (equal, highest), "{halves:x?}");
        }
    }

    /// Every pattern of equal, taken and free words, by both ways.
    #[test]
    fn registers_say_what_words_say() {
        for pattern in 0..3_u32.pow(8) {
            let line = line(std::array::from_fn(|n| {
                [0, TAG, !TAG][(pattern / 3_u32.pow(n as u32) % 3) as usize]
            }));
            let (seen, words) = (line.upper_halves(), plain::load(&line));
            assert_eq!(seen.equal(TAG), plain::equal(words, TAG), "{words:x?}");
            assert_eq!(seen.highest_bits(), plain::highest_bits(words), "{words:x?}");
        }
    }
}
