//! HTTP_GET and SSL_GET.

use super::{
    tree::Statement,
    unknown,
    value::{self, truth, word},
};
use crate::{
    document::Keys,
    note::{Notes, Place},
    yaml::Yaml,
};

/// A checker of either kind.
pub(super) struct Http {
    tls: bool,
    protocol: Option<String>,
    /// `enable_sni`, with its line, or where the checker's name for it stands.
    sni: bool,
    sni_name: Option<String>,
    virtualhost: Option<String>,
    pub(super) urls: Vec<Url>,
}

/// `url { ... }`.
pub(super) struct Url {
    place: Place,
    path: String,
    digest: Option<String>,
    status: Vec<String>,
    virtualhost: Option<String>,
    regex: Option<(String, Place)>,
    options: Vec<String>,
}

impl Http {
    pub(super) fn new(tls: bool) -> Self {
        Self {
            tls,
            protocol: None,
            sni: false,
            sni_name: None,
            virtualhost: None,
            urls: Vec::new(),
        }
    }
}

/// Reads a keyword of the checker; false if it is none of its own.
pub(super) fn read(http: &mut Http, statement: &Statement, notes: &mut Notes) -> bool {
    match statement.keyword() {
        "url" => http.urls.push(url(statement, notes)),
        "virtualhost" => http.virtualhost = word(statement, notes).map(str::to_owned),
        "http_protocol" => {
            http.protocol = word(statement, notes).map(str::to_owned);
            let known = ["1.0", "1.0C", "1.0c", "1.1"];
            if http.protocol.as_deref().is_some_and(|version| !known.contains(&version)) {
                value::not_read(statement, "1.0, 1.0C or 1.1", notes);
                http.protocol = None;
            }
        }
        "enable_sni" if http.tls => http.sni = truth(statement, notes).unwrap_or(false),
        "sni_name" if http.tls => {
            http.sni = true;
            http.sni_name = word(statement, notes).map(str::to_owned);
        }
        "fast_recovery" => {
            let _ = truth(statement, notes);
            notes.say(
                &statement.place,
                "fast_recovery: urls are asked side by side here, each by itself",
            );
        }
        "tls_compliant" => tls_compliant(statement, notes),
        _ => return false,
    }
    true
}

fn tls_compliant(statement: &Statement, notes: &mut Notes) {
    let text =
        "tls_compliant: a connection that ends without a TLS goodbye is complete when HTTP says so";
    notes.say(&statement.place, text);
}

fn url(statement: &Statement, notes: &mut Notes) -> Url {
    let mut url = Url {
        place: statement.place.clone(),
        path: "/".to_owned(),
        digest: None,
        status: Vec::new(),
        virtualhost: None,
        regex: None,
        options: Vec::new(),
    };
    for inner in statement.statements() {
        match inner.keyword() {
            "path" => {
                url.path =
                    word(inner, notes).map_or_else(|| "/".to_owned(), |p| path(p, inner, notes))
            }
            "digest" => url.digest = digest(inner, notes),
            "status_code" => {
                for text in inner.words.iter().skip(1) {
                    match status(text) {
                        Some(range) => url.status.push(range),
                        None => {
                            let text = format!("status_code {text}: not from 100 to 599");
                            notes.lost(&inner.place, text);
                        }
                    }
                }
            }
            "virtualhost" => url.virtualhost = word(inner, notes).map(str::to_owned),
            "regex" => {
                url.regex = word(inner, notes).map(|text| (text.to_owned(), inner.place.clone()))
            }
            "regex_no_match" | "regex_min_offset" | "regex_max_offset" => {
                let text = format!(
                    "{}: a body is looked at as a whole, for what must be there",
                    inner.text()
                );
                notes.lost(&inner.place, text);
                // What must not match would be asked for: better nothing.
                if inner.keyword() == "regex_no_match" {
                    url.options.push("no_match".to_owned());
                }
            }
            "regex_stack" => notes.say(&inner.place, "regex_stack: expressions need none here"),
            "regex_options" => url.options.extend(inner.words.iter().skip(1).cloned()),
            "tls_compliant" => tls_compliant(inner, notes),
            _ => unknown(inner, "url", notes),
        }
    }
    url
}

/// A path of printable octets, from / on.
fn path(text: &str, statement: &Statement, notes: &mut Notes) -> String {
    let mut path = String::new();
    if !text.starts_with('/') {
        notes.say(&statement.place, format!("path {text}: a / is written before it"));
        path.push('/');
    }
    for octet in text.bytes() {
        match octet.is_ascii_graphic() {
            true => path.push(octet.into()),
            false => path.push_str(&format!("%{octet:02X}")),
        }
    }
    path
}

fn digest(statement: &Statement, notes: &mut Notes) -> Option<String> {
    let text = word(statement, notes)?;
    if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some(text.to_ascii_lowercase());
    }
    value::not_read(statement, "an MD5 digest of 32 digits", notes);
    None
}

fn status(text: &str) -> Option<String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
    if !(100..=599).contains(&low) || !(low..=599).contains(&high) {
        return None;
    }
    Some(if low == high { low.to_string() } else { format!("{low}-{high}") })
}

impl Http {
    /// What each url asks, with its notes. Digest and regex of one url are two checks, since all
    /// must hold.
    pub(super) fn keys(&self, host: Option<&str>) -> Vec<(Keys, Notes)> {
        let mut all = Vec::new();
        for url in &self.urls {
            let mut notes = Notes::default();
            let host = url.virtualhost.as_deref().or(self.virtualhost.as_deref()).or(host);
            let base = self.base(url, host, &mut notes);
            let mut bodies = Vec::new();
            bodies.extend(url.digest.as_ref().map(|md5| ("digest", md5.clone())));
            bodies.extend(url.regex(&mut notes).map(|regex| ("matches", regex)));
            if bodies.is_empty() {
                all.push((base, notes));
                continue;
            }
            for (key, text) in bodies {
                let mut keys = base.clone();
                keys.push(("body", Yaml::Map(vec![(key, Yaml::text(text))])));
                all.push((keys, notes.clone()));
            }
        }
        all
    }

    fn base(&self, url: &Url, host: Option<&str>, notes: &mut Notes) -> Keys {
        let mut keys = vec![("type", Yaml::plain(if self.tls { "https" } else { "http" }))];
        keys.push(("path", Yaml::text(url.path.as_str())));
        keys.extend(host.map(|host| ("host", Yaml::text(host))));
        let protocol = self.protocol.as_deref().unwrap_or("1.0");
        let version = if protocol == "1.1" { "1.1" } else { "1.0" };
        keys.push(("version", Yaml::text(version)));
        if protocol.eq_ignore_ascii_case("1.0c") {
            // The only header that a name of the field's needs.
            keys.push(("headers", Yaml::Map(vec![("Connection", Yaml::text("close"))])));
        }
        let status = |text: &String| Yaml::text(text.as_str());
        let codes = match url.status.is_empty() {
            true => vec![Yaml::text("200-299")],
            false => url.status.iter().map(status).collect(),
        };
        keys.push(("status", Yaml::List(codes)));
        if self.tls {
            match (&self.sni_name, host) {
                (Some(name), _) => keys.push(("sni", Yaml::text(name.as_str()))),
                (None, Some(_)) if !self.sni => {
                    let text = "TLS is told the host's name (SNI); keepalived does so with enable_sni only";
                    notes.say(&url.place, text);
                }
                _ => {}
            }
            keys.push(("verify", Yaml::plain(false)));
        }
        keys
    }
}

impl Url {
    /// The expression as xlvs's library has it.
    fn regex(&self, notes: &mut Notes) -> Option<String> {
        let (text, place) = self.regex.as_ref()?;
        let mut flags = String::new();
        for option in &self.options {
            match option.as_str() {
                "caseless" => flags.push('i'),
                "multiline" => flags.push('m'),
                "dotall" => flags.push('s'),
                "extended" => flags.push('x'),
                "ungreedy" => flags.push('U'),
                "utf" | "ucp" | "no_auto_capture" | "no_start_optimize" | "no_auto_possess"
                | "no_dotstar_anchor" | "never_backslash_c" => {}
                "no_match" => return None,
                other => notes.lost(place, format!("regex_options {other}: not known here")),
            }
        }
        let whole = if flags.is_empty() { text.clone() } else { format!("(?{flags}){text}") };
        match regex::RegexBuilder::new(&whole).size_limit(1 << 20).build() {
            Ok(_) => Some(whole),
            Err(error) => {
                let why = error.to_string().lines().last().unwrap_or("").to_owned();
                notes.lost(place, format!("regex {text}: {why}; the body is not looked at"));
                None
            }
        }
    }
}
