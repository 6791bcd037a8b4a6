//! What breaks YAML most often, in words that the parser does not have.

use std::net::Ipv6Addr;

use crate::fault::{Fault, Place};

/// Tabs that indent. The parser lets some pass, others not; here none do, so that what a file
/// means never depends on how wide a tab is. Blank lines and comments may start as they like.
pub(super) fn tabs(text: &str) -> impl Iterator<Item = Fault> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let content = line.trim_start_matches([' ', '\t']);
        let indent = &line[..line.len() - content.len()];
        let tab = indent.find('\t').filter(|_| !content.is_empty() && !content.starts_with('#'))?;
        let place = Place { file: 0, line: index + 1, column: tab + 1 };
        Some(fault(place, "a tab in the indentation".to_owned(), "indent with spaces"))
    })
}

/// IPv6 addresses that YAML reads as the start of a list.
pub(super) fn unquoted(text: &str) -> impl Iterator<Item = Fault> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let (start, address) = unquoted_ipv6(line)?;
        let place = Place { file: 0, line: index + 1, column: line[..start].chars().count() + 1 };
        let sentence = format!("{address}: an IPv6 address without quotes");
        Some(fault(place, sentence, &format!("quote it: \"{address}\"")))
    })
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
