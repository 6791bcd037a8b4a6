//! A line of keepalived.conf: comments, braces, words.

/// A line without its comment and the blanks around it (`decomment` in keepalived's
/// lib/parser.c): `!` and `#` begin a comment wherever they stand, but for double quotes and a
/// backslash before them.
pub(super) fn without_comment(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut quoted = false;
    let mut chars = line.trim_matches([' ', '\t', '\r']).chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' => match chars.peek() {
                Some(next @ ('#' | '!')) if !quoted => {
                    text.push(*next);
                    chars.next();
                    continue;
                }
                Some(_) => {
                    text.push(c);
                    text.extend(chars.next());
                    continue;
                }
                None => {}
            },
            '!' | '#' if !quoted => break,
            _ => {}
        }
        text.push(c);
    }
    text.trim_end_matches([' ', '\t']).to_owned()
}

/// What a line is made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A keyword and what belongs to it.
    Words(Vec<String>),
    /// `{`.
    Open,
    /// `}`.
    Close,
}

/// The words of a line, parted by braces outside of quotes.
pub(super) fn parts(line: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = brace(rest).unwrap_or(rest.len());
        let words = words(&rest[..end]);
        if !words.is_empty() {
            parts.push(Part::Words(words));
        }
        match rest[end..].chars().next() {
            Some('{') => parts.push(Part::Open),
            Some(_) => parts.push(Part::Close),
            None => {}
        }
        rest = rest.get(end + 1..).unwrap_or("");
    }
    parts
}

/// Where the first brace is that opens or closes a block; `${NAME}` that nobody defined does not.
fn brace(text: &str) -> Option<usize> {
    let (mut quoted, mut name, mut before) = (false, false, ' ');
    for (at, c) in text.char_indices() {
        match c {
            '"' if before != '\\' => quoted = !quoted,
            '{' if before == '$' => name = true,
            '}' if name => name = false,
            '{' | '}' if !quoted => return Some(at),
            _ => {}
        }
        before = c;
    }
    None
}

/// Words parted by blanks; quotes of both kinds keep blanks, and a backslash keeps what follows
/// it or stands for a control character (`alloc_strvec_quoted_escaped`).
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (' ' | '\t', None) => words.extend(word.take()),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            ('\\', _) => word.get_or_insert_default().extend(escaped(&mut chars)),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn escaped(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    let mut digits = |radix: u32, most: usize, first: u32| {
        let (mut value, mut seen) = (first, 0);
        while seen < most {
            let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix)) else { break };
            value = value * radix + digit;
            chars.next();
            seen += 1;
        }
        (seen > 0 || first > 0).then(|| char::from(value as u8))
    };
    let c = match digits(8, 3, 0) {
        Some(octal) => return Some(octal),
        None => chars.next()?,
    };
    Some(match c {
        'a' => '\x07',
        'b' => '\x08',
        'E' => '\x1b',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'x' => {
            let mut value = None;
            for _ in 0..2 {
                let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
                value = Some(value.unwrap_or(0) * 16 + digit);
                chars.next();
            }
            value.map_or('x', |value| char::from(value as u8))
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments() {
        let table = [
            ("  weight 1  ! one", "weight 1"),
            ("delay_loop 6 # six", "delay_loop 6"),
            ("! all of it", ""),
            ("path \"/a#b\" # c", "path \"/a#b\""),
            ("path /a\\#b", "path /a#b"),
            ("path /a#b", "path /a"),
            ("$RS= \\", "$RS= \\"),
            ("\"a\\\"#b\" #c", "\"a\\\"#b\""),
        ];
        for (line, left) in table {
            assert_eq!(without_comment(line), left, "{line}");
        }
    }

    #[test]
    fn words_and_braces() {
        let words = |text: &str| words(text).join("|");
        assert_eq!(words(r#"a "b c"  d'e f'g"#), "a|b c|de fg");
        assert_eq!(words(r#"regex "^\\d+\x41\101\q$""#), "regex|^\\d+AAq$");
        assert_eq!(words(r#"x """#), "x|");
        let part = |words: &[&str]| Part::Words(words.iter().map(|w| (*w).to_owned()).collect());
        assert_eq!(parts("a b {"), [part(&["a", "b"]), Part::Open]);
        assert_eq!(parts("}"), [Part::Close]);
        assert_eq!(
            parts("a{b}c"),
            [part(&["a"]), Part::Open, part(&["b"]), Part::Close, part(&["c"])]
        );
        assert_eq!(parts("a \"{\" ${B}"), [part(&["a", "{", "${B}"])]);
    }
}
