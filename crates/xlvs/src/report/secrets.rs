//! What must not leave the box: found in the configuration by its keys, masked in every text.

use std::collections::BTreeSet;

use control::marked::{Entry, Marked, Node};

/// What stands for a secret.
pub(super) const MASK: &str = "(masked)";

/// Shorter ones are not looked for in other texts, which they would tear apart.
const SHORTEST: usize = 4;

/// Words in a key that make its value a secret.
const WORDS: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "authorization",
    "cookie",
    "private",
    "community",
];

/// Keys below which everything is a secret, or may be: HTTP headers, what a check sends.
const WHOLE: [&str; 3] = ["headers", "send", "payload"];

/// What a key makes of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It may be seen.
    Open,
    /// All below it is masked.
    Secret,
    /// The first word may be seen: a program. Its other words may be passwords.
    Words,
    /// What stands before a question mark may be seen: a path, whose query may have a token.
    Path,
}

/// By the key's name.
pub(super) fn kind(key: &str) -> Kind {
    let key = key.to_lowercase();
    match key.as_str() {
        "argv" => Kind::Words,
        "path" | "url" => Kind::Path,
        _ if WHOLE.contains(&key.as_str()) => Kind::Secret,
        _ if WORDS.iter().any(|word| key.contains(word)) => Kind::Secret,
        _ => Kind::Open,
    }
}

/// What is masked.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets {
    /// The longest first, so that one that is part of another leaves nothing of that.
    texts: Vec<String>,
}

impl Secrets {
    /// Those of these trees.
    pub(super) fn of<'a>(trees: impl Iterator<Item = &'a Marked>) -> Self {
        let mut found = BTreeSet::new();
        for tree in trees {
            gather(tree, Kind::Open, &mut found);
        }
        let mut texts: Vec<String> = found.into_iter().collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self { texts }
    }

    /// The text without them, without private keys, and without what a header authorizes by.
    pub(super) fn masked(&self, text: &str) -> String {
        let known =
            self.texts.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK));
        let mut lines = Vec::new();
        let mut key = false;
        for line in known.lines() {
            if line.contains("PRIVATE KEY-----") {
                key = line.contains("-----BEGIN") && !line.contains("-----END");
                lines.push(MASK.to_owned());
            } else if !key {
                lines.push(without_credentials(line));
            }
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// What follows `Authorization:`, `Bearer` and `Basic`, and what stands before the `@` of a URL.
fn without_credentials(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    for word in ["authorization:", "authorization=", "bearer ", "password=", "token="] {
        if let Some(at) = lower.find(word) {
            return format!("{} {MASK}", line[..at + word.len()].trim_end());
        }
    }
    let Some((scheme, rest)) = line.split_once("://") else { return line.to_owned() };
    let end = rest.find(['/', ' ', '"']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{MASK}{}", &rest[at..]),
        None => line.to_owned(),
    }
}

fn gather(tree: &Marked, kind: Kind, found: &mut BTreeSet<String>) {
    match &tree.node {
        Node::Scalar { text, .. } => {
            let secret = match kind {
                Kind::Open | Kind::Words => None,
                Kind::Secret => Some(text.as_str()),
                Kind::Path => text.split_once('?').map(|(_, query)| query),
            };
            if let Some(secret) = secret {
                note(secret, found);
            }
        }
        Node::List(members) => {
            let hidden = if kind == Kind::Words { Kind::Secret } else { kind };
            let shown = members.iter().take(usize::from(kind == Kind::Words));
            shown.for_each(|member| gather(member, Kind::Open, found));
            let rest = members.iter().skip(usize::from(kind == Kind::Words));
            rest.for_each(|member| gather(member, hidden, found));
        }
        Node::Map(entries) => {
            for Entry { key, value, .. } in entries {
                let below = if kind == Kind::Secret { kind } else { self::kind(key) };
                gather(value, below, found);
            }
        }
    }
}

/// As it stands, and as JSON and logs write it.
fn note(secret: &str, found: &mut BTreeSet<String>) {
    let quoted = serde_json::Value::from(secret).to_string();
    for form in [secret.trim(), quoted.trim_matches('"')] {
        // A word of a program that is a short one, or a path, is no secret worth a torn text.
        if form.len() >= SHORTEST && !form.starts_with('/') && !form.starts_with('{') {
            found.insert(form.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(yaml: &str) -> Secrets {
        let mut faults = Vec::new();
        let tree = control::marked::parse(yaml, &mut faults).unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        Secrets::of([&tree].into_iter())
    }

    #[test]
    fn secrets_are_found_by_their_keys() {
        let found = secrets(
            "x-anchor: &hidden by-an-anchor
checks:
  db: {type: mysql, user: probe, password: *hidden}
  web: {type: http, path: /health?key=in-the-query, headers: {X-Api: of-a-header}}
  raw: {type: tcp, send: \"AUTH of-send\\r\\n\"}
  run: {type: exec, argv: [/usr/bin/ask, --password, of-a-program]}
api: {tokens: [{name: ops, token_sha256: of-a-list}]}
",
        );
        let text = found.masked(
            "by-an-anchor probe key=in-the-query of-a-header AUTH of-send of-a-program of-a-list /usr/bin/ask",
        );
        for secret in ["anchor", "in-the", "of-a", "of-send"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        for open in ["probe", "/usr/bin/ask"] {
            assert!(text.contains(open), "{open}: {text}");
        }
    }

    #[test]
    fn credentials_are_masked_wherever_they_stand() {
        let cases = [
            ("GET / Authorization: Bearer abc.def", "GET / Authorization: (masked)\n"),
            ("see http://user:pw@10.0.0.1/x", "see http://(masked)@10.0.0.1/x\n"),
            ("http://10.0.0.1/a@b", "http://10.0.0.1/a@b\n"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb",
                "a\n(masked)\n(masked)\nb\n",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Secrets::default().masked(text), expected);
        }
    }
}
