//! Numbers as the C library reads them.

/// What `strtol` finds at the head of a text, in base 10.
struct Head<'a> {
    /// None beyond 64 bits.
    value: Option<i64>,
    rest: &'a str,
}

/// Blanks, a sign, digits; None without a digit.
fn head(text: &str) -> Option<Head<'_>> {
    let text = text.trim_start_matches(is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        return None;
    }
    let magnitude = digits[..length].parse::<i64>().ok();
    let value = magnitude.map(|value| if negative { -value } else { value });
    Some(Head { value, rest: &digits[length..] })
}

/// C's `isspace`.
pub(super) fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

/// A number and nothing behind it, between `least` and `most`.
pub(super) fn within<T: TryFrom<i64>>(text: &str, least: i64, most: i64) -> Option<T> {
    let head = head(text).filter(|head| head.rest.is_empty())?;
    let value = head.value.filter(|value| (least..=most).contains(value))?;
    T::try_from(value).ok()
}

/// C's `atoi`: what is no number is 0, and what follows a number is passed over.
pub(super) fn leading(text: &str) -> i64 {
    head(text).map_or(0, |head| head.value.unwrap_or(i64::MAX))
}
