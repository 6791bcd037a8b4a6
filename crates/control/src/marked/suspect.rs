//! When the text is not YAML: the usual causes, which the parser's own words do not name.

use std::net::Ipv6Addr;

use crate::fault::{Fault, Place};

/// Looks through the text for what is known to break it. Tabs count up to the line at which
/// the parser gave up, unquoted IPv6 addresses everywhere.
pub(super) fn suspects(text: &str, broken: Place) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..indent].find('\t').filter(|_| number <= broken.line) {
            let place = Place { line: number, column: tab + 1 };
            faults.push(fault(place, "a tab in the indentation".to_owned(), "indent with spaces"));
        }
        if let Some((start, address)) = unquoted_ipv6(line) {
            let place = Place { line: number, column: line[..start].chars().count() + 1 };
            let sentence = format!("{address}: an IPv6 address without quotes");
            faults.push(fault(place, sentence, &format!("quote it: \"{address}\"")));
        }
    }
    faults
}

fn fault(place: Place, sentence: String, remedy: &str) -> Fault {
    Fault { place: Some(place), path: String::new(), sentence, remedy: remedy.to_owned() }
}

/// The first `[v6]:port...`, or word that ends in a colon, that stands outside quotes.
fn unquoted_ipv6(line: &str) -> Option<(usize, &str)> {
    let mut quote = None;
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '#') if at == 0 || line[..at].ends_with([' ', '\t']) => return None,
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, _) if starts_word(line, at) => {
                if let Some(word) = ipv6_word(&line[at..]) {
                    return Some((at, word));
                }
            }
            _ => {}
        }
    }
    None
}

fn starts_word(line: &str, at: usize) -> bool {
    at == 0 || line[..at].ends_with([' ', '\t', '[', '{', ','])
}

fn ipv6_word(rest: &str) -> Option<&str> {
    let end = rest.find([' ', '\t', ',', '}', '#']).unwrap_or(rest.len());
    let word = &rest[..end];
    if let Some(inner) = word.strip_prefix('[') {
        let (address, after) = inner.split_once(']')?;
        let port = after.strip_prefix(':')?;
        let digits = port.len() - port.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        // A flow list may close right behind the word.
        let word = word.trim_end_matches(']');
        return (digits > 0 && address.parse::<Ipv6Addr>().is_ok()).then_some(word);
    }
    let word = word.trim_end_matches(']');
    (word.ends_with("::") && word.parse::<Ipv6Addr>().is_ok()).then_some(word)
}
