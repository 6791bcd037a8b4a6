//! Values behind keywords.

use super::tree::Statement;
use crate::note::Notes;

/// The one word of a statement that has no other.
pub(super) fn word<'a>(statement: &'a Statement, notes: &mut Notes) -> Option<&'a str> {
    only(statement, 1, notes);
    let word = statement.word(1);
    if word.is_none() {
        notes.lost(&statement.place, format!("{}: nothing behind it", statement.keyword()));
    }
    word
}

/// Says which words are there beyond the first `most`, and a block that should not be.
pub(super) fn only(statement: &Statement, most: usize, notes: &mut Notes) {
    if let Some(more) = statement.words.get(most + 1..).filter(|more| !more.is_empty()) {
        let text = format!("{}: more words than it takes: {}", statement.keyword(), more.join(" "));
        notes.lost(&statement.place, text);
    }
    if let Some(block) = &statement.block {
        let inner: Vec<String> = block.statements.iter().map(Statement::text).collect();
        let text =
            format!("{}: a block, which it has not: {}", statement.keyword(), inner.join(" "));
        notes.lost(&statement.place, text);
    }
}

/// A whole number.
pub(super) fn number(statement: &Statement, notes: &mut Notes) -> Option<u64> {
    let text = word(statement, notes)?;
    let number = text.parse().ok();
    if number.is_none() {
        not_read(statement, "a number", notes);
    }
    number
}

/// A port.
pub(super) fn port(statement: &Statement, notes: &mut Notes) -> Option<u16> {
    let text = word(statement, notes)?;
    let port = text.parse().ok().filter(|port| *port > 0);
    if port.is_none() {
        not_read(statement, "a port", notes);
    }
    port
}

/// Seconds, with a fraction or without, as milliseconds.
pub(super) fn time(statement: &Statement, notes: &mut Notes) -> Option<u64> {
    let text = word(statement, notes)?;
    let time = milliseconds(text);
    if time.is_none() {
        not_read(statement, "a time in seconds", notes);
    }
    time
}

/// Rounded up: keepalived counts microseconds.
fn milliseconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let micros: u64 = fraction.parse().ok()?;
    whole.checked_mul(1000)?.checked_add(micros.div_ceil(1000))
}

/// A truth that needs no word.
pub(super) fn truth(statement: &Statement, notes: &mut Notes) -> Option<bool> {
    only(statement, 1, notes);
    match statement.word(1).map(str::to_ascii_lowercase).as_deref() {
        None | Some("true" | "on" | "yes") => Some(true),
        Some("false" | "off" | "no") => Some(false),
        Some(_) => {
            not_read(statement, "on or off", notes);
            None
        }
    }
}

/// A keyword that stands for itself.
pub(super) fn alone(statement: &Statement, notes: &mut Notes) -> bool {
    only(statement, 0, notes);
    true
}

pub(super) fn not_read(statement: &Statement, what: &str, notes: &mut Notes) {
    notes.lost(&statement.place, format!("not {what}: {}", statement.text()));
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn seconds() {
        let table = [
            ("3", Some(3000)),
            ("0.5", Some(500)),
            ("2.25", Some(2250)),
            (".000001", Some(1)),
            ("0", Some(0)),
            ("", None),
            (".", None),
            ("-1", None),
            ("1e3", None),
            ("99999999999999999999", None),
        ];
        for (text, time) in table {
            assert_eq!(milliseconds(text), time, "{text}");
        }
    }
}
