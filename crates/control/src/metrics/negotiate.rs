//! Which of the two text formats is wanted (RFC 9110 section 12.5.1).

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own, 0.0.4: what everybody reads.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What it is called in answers. Prometheus 3 fails a scrape without one of these.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// OpenMetrics if `Accept` names it, in version 1.0.0 or in none, and does not prefer plain
    /// text; else the other.
    pub fn of(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0, 0.0);
        for (media, parameters) in accept.split(',').map(range) {
            let version = parameter(parameters, "version");
            let quality = quality(parameters);
            match media {
                "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => {
                    open = f32::max(open, quality);
                }
                "text/plain" if matches!(version, None | Some("0.0.4")) => {
                    plain = f32::max(plain, quality);
                }
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Text }
    }
}

/// Whether `Accept-Encoding` allows gzip.
pub fn accepts_gzip(header: &str) -> bool {
    let mut ranges = header.split(',').map(range);
    ranges.any(|(coding, parameters)| coding == "gzip" && quality(parameters) > 0.0)
}

/// What comes before the first semicolon, and what after.
fn range(text: &str) -> (&str, &str) {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    (name.trim(), parameters)
}

fn parameter<'a>(parameters: &'a str, wanted: &str) -> Option<&'a str> {
    let pairs = parameters.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
    named.next().map(|(_, value)| value.trim().trim_matches('"'))
}

fn quality(parameters: &str) -> f32 {
    parameter(parameters, "q").and_then(|text| text.parse().ok()).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scrapers_ask_for() {
        use Format::{OpenMetrics, Text};
        let rows = [
            ("", Text),
            ("*/*", Text),
            ("text/plain", Text),
            ("application/json", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Text),
            ("application/openmetrics-text;q=0", Text),
            ("text/plain;q=0.9,application/openmetrics-text;q=0.5", Text),
            ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.5", OpenMetrics),
            // Prometheus 2.42 (scrape/scrape.go).
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                 version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            // Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
                 escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
        ];
        for (accept, format) in rows {
            assert_eq!(Format::of(accept), format, "{accept}");
        }
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        let rows = [
            ("", false),
            ("gzip", true),
            ("br, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
        ];
        for (header, accepted) in rows {
            assert_eq!(accepts_gzip(header), accepted, "{header}");
        }
    }
}
