//! What a rule does to a mark.

/// `mark & keep ^ flip`: every chain of ands, ors and xors with constants is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marking {
    keep: u32,
    flip: u32,
}

impl Marking {
    /// Leaves the mark as it is.
    pub const NONE: Self = Self { keep: u32::MAX, flip: 0 };

    /// `--set-xmark VALUE/MASK`: clears the bits of the mask, then flips those of the value.
    pub const fn set_xmark(value: u32, mask: u32) -> Self {
        Self { keep: !mask, flip: value }
    }

    /// The mark becomes this.
    pub const fn constant(value: u32) -> Self {
        Self { keep: 0, flip: value }
    }

    /// And then `& value`.
    pub const fn and(self, value: u32) -> Self {
        Self { keep: self.keep & value, flip: self.flip & value }
    }

    /// And then `| value`.
    pub const fn or(self, value: u32) -> Self {
        Self { keep: self.keep & !value, flip: self.flip | value }
    }

    /// And then `^ value`.
    pub const fn xor(self, value: u32) -> Self {
        Self { keep: self.keep, flip: self.flip ^ value }
    }

    /// As mark and mask of a `marks:` entry; nothing if bits are flipped, which only a mark
    /// that is known already could tell.
    pub const fn mark_and_mask(self) -> Option<(u32, u32)> {
        if self.flip & self.keep == 0 { Some((self.flip, !self.keep)) } else { None }
    }
}

/// A number as netfilter's programs print it.
pub(super) fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
