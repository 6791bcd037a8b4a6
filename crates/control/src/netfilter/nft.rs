//! `nft list ruleset`, in nft's own language: as much of it as there is to a mark.

use super::{Chain, Does, Hook, Marking, Rule, Ruleset, marking::number};

/// Reads the list line by line: nft writes one rule a line.
pub(super) fn read(text: &str) -> Ruleset {
    let mut ruleset = Ruleset::default();
    // The blocks that are open: a table, within it a chain or something else.
    let mut blocks: Vec<String> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "}" {
            blocks.pop();
            continue;
        }
        let in_chain = blocks.len() == 2 && blocks[1].starts_with("chain ");
        if !in_chain && line.ends_with('{') {
            blocks.push(line.trim_end_matches('{').trim().to_owned());
            if let [table, chain] = &blocks[..]
                && let Some(name) = chain.strip_prefix("chain ")
            {
                ruleset.chains.push(chain_of(table.trim_start_matches("table "), name));
            }
        } else if in_chain {
            let chain = ruleset.chains.last_mut().expect("a chain is open");
            match line.strip_prefix("type ") {
                Some(head) => chain.hook = hook(head),
                None => chain.rules.push(rule(format!("line {}", index + 1), line)),
            }
        }
    }
    ruleset
}

/// A chain of a table that is written as family and name.
pub(super) fn chain_of(table: &str, name: &str) -> Chain {
    let family = table.split(' ').next().unwrap_or_default();
    Chain {
        table: table.to_owned(),
        name: name.to_owned(),
        families: [matches!(family, "ip" | "inet"), matches!(family, "ip6" | "inet")],
        hook: None,
        rules: Vec::new(),
    }
}

/// `filter hook prerouting priority mangle + 10; policy accept;`
fn hook(head: &str) -> Option<(Hook, i32)> {
    let words: Vec<&str> = head.split([' ', ';']).filter(|word| !word.is_empty()).collect();
    let after = |name| words.iter().position(|word| *word == name).map(|at| &words[at + 1..]);
    let hook = hook_named(after("hook")?.first()?);
    let priority = match after("priority")? {
        [base, "+", more, ..] => standard(base) + more.parse().unwrap_or(0),
        [base, "-", less, ..] => standard(base) - less.parse().unwrap_or(0),
        [base, ..] => standard(base),
        [] => 0,
    };
    Some((hook, priority))
}

pub(super) fn hook_named(name: &str) -> Hook {
    match name {
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        _ => Hook::Other,
    }
}

/// nft(8), "Standard priority names".
fn standard(name: &str) -> i32 {
    match name {
        "raw" => -300,
        "mangle" => -150,
        "dstnat" => -100,
        "security" => 50,
        "srcnat" => 100,
        number => number.parse().unwrap_or(0),
    }
}

/// Reads one rule.
pub(super) fn rule(place: String, text: &str) -> Rule {
    let mut rule = Rule { place, text: text.to_owned(), ..Rule::default() };
    let tokens = tokens(text);
    let mut rest: &[String] = &tokens;
    while !rest.is_empty() {
        rest = statement(&mut rule, rest);
    }
    rule
}

/// Words, with quotes taken off, braces and commas by themselves.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
        } else if c == '"' {
            chars.next();
            tokens.push(chars.by_ref().take_while(|c| *c != '"').collect());
        } else if "{},".contains(c) {
            chars.next();
            tokens.push(c.to_string());
        } else {
            let mut word = String::new();
            while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !"{},\"".contains(*c)) {
                word.push(c);
            }
            tokens.push(word);
        }
    }
    tokens
}

/// Reads one statement; returns what follows it.
fn statement<'a>(rule: &mut Rule, tokens: &'a [String]) -> &'a [String] {
    let words: Vec<&str> = tokens.iter().take(3).map(String::as_str).collect();
    match words[..] {
        ["counter", "packets", _] => &tokens[tokens.len().min(5)..],
        ["counter", ..] => &tokens[1..],
        ["comment", ..] => &tokens[tokens.len().min(2)..],
        ["meta", "mark", "set"] => set_mark(rule, &tokens[3..]),
        ["mark", "set", ..] => set_mark(rule, &tokens[2..]),
        ["meta" | "ip" | "ip6" | "tcp" | "udp" | "sctp" | "th", _, ..] => {
            condition(rule, &tokens[..2].join(" "), &tokens[2..])
        }
        ["iif" | "iifname", ..] => condition(rule, words[0], &tokens[1..]),
        _ => verdict(rule, tokens),
    }
}

fn verdict<'a>(rule: &mut Rule, tokens: &'a [String]) -> &'a [String] {
    let target = || tokens.get(1).cloned().unwrap_or_default();
    let (does, length) = match tokens[0].as_str() {
        "accept" => (Does::Accept, 1),
        "drop" => (Does::Refuse, 1),
        "return" => (Does::Return, 1),
        "continue" => return &tokens[1..],
        "jump" => (Does::Jump(target()), 2),
        "goto" => (Does::Goto(target()), 2),
        "reject" => (Does::Refuse, tokens.len()),
        "dnat" | "redirect" | "tproxy" => (Does::Redirect, tokens.len()),
        "log" | "queue" | "notrack" | "snat" | "masquerade" | "synproxy" | "dup" | "fwd" => {
            (Does::Other(tokens.join(" ")), tokens.len())
        }
        _ => return unread(rule, tokens),
    };
    rule.does.push(does);
    &tokens[length.min(tokens.len())..]
}

/// What begins a statement that ends a rule, or a condition, after words that are not known.
const BEGINNINGS: [&str; 16] = [
    "meta", "ip", "ip6", "tcp", "udp", "sctp", "th", "iif", "iifname", "counter", "accept", "drop",
    "reject", "return", "jump", "goto",
];

/// Keeps words that are not known, up to the next that is.
fn unread<'a>(rule: &mut Rule, tokens: &'a [String]) -> &'a [String] {
    let known = |token: &String| BEGINNINGS.contains(&token.as_str());
    let end = tokens.iter().skip(1).position(known).map_or(tokens.len(), |at| at + 1);
    rule.unread.push(tokens[..end].join(" "));
    &tokens[end..]
}

/// A condition's values: one, or a set in braces.
fn condition<'a>(rule: &mut Rule, key: &str, tokens: &'a [String]) -> &'a [String] {
    let Some(first) = tokens.first() else {
        rule.unread.push(key.to_owned());
        return tokens;
    };
    if ["!=", "<", ">", "<=", ">=", "&", "and"].contains(&first.as_str()) {
        let end = tokens.len().min(2);
        rule.unread.push(format!("{key} {}", tokens[..end].join(" ")));
        return &tokens[end..];
    }
    let (values, rest): (Vec<String>, _) = if first == "{" {
        let end = tokens.iter().position(|token| token == "}").unwrap_or(tokens.len());
        let values = tokens[1..end].iter().filter(|token| *token != ",").cloned().collect();
        (values, &tokens[tokens.len().min(end + 1)..])
    } else {
        (vec![first.clone()], &tokens[1..])
    };
    if !rule.ask(key, &values) {
        rule.unread.push(format!("{key} {}", values.join(", ")));
    }
    rest
}

/// `0xa`, or operations on the mark, from left to right: `meta mark & 0xff00 | 0x1`; nft calls
/// them `and`, `or` and `xor` where the rule came from iptables.
fn set_mark<'a>(rule: &mut Rule, tokens: &'a [String]) -> &'a [String] {
    let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let (mut marking, mut at) = match words[..] {
        ["meta", "mark", ..] => (Marking::NONE, 2),
        ["mark", ..] => (Marking::NONE, 1),
        [value, ..] if number(value).is_some() => {
            (Marking::constant(number(value).expect("just read")), 1)
        }
        _ => {
            rule.does.push(Does::Other(format!("meta mark set {}", words.join(" "))));
            return &[];
        }
    };
    while let [operator, operand, ..] = words[at.min(words.len())..] {
        marking = match (operator, number(operand)) {
            ("&" | "and", Some(value)) => marking.and(value),
            ("|" | "or", Some(value)) => marking.or(value),
            ("^" | "xor", Some(value)) => marking.xor(value),
            ("&" | "and" | "|" | "or" | "^" | "xor", None) => {
                rule.does.push(Does::Other(format!("meta mark set {}", words.join(" "))));
                return &[];
            }
            _ => break,
        };
        at += 2;
    }
    rule.does.push(Does::Mark(marking));
    &tokens[at..]
}
