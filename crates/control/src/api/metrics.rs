//! `GET /metrics`: for Prometheus ([`crate::metrics`]), as text or as OpenMetrics, by `Accept`;
//! gzip by `Accept-Encoding`. `collect=services,checks`: only these groups.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Part, Source};
use crate::metrics::{Collector, Format, Wanted, accepts_gzip};

/// Who answers.
#[derive(Clone)]
pub struct Exporter {
    /// Where reports come from.
    pub source: Source,
    /// What makes pages of them: one for all who ask.
    pub collector: Arc<Collector>,
    /// node_exporter's families are on a page that nobody chose groups for.
    pub node_ipvs: Arc<AtomicBool>,
}

/// The route.
pub fn metrics(exporter: Exporter) -> Part {
    OpenApiRouter::new().routes(routes!(answer)).with_state(exporter)
}

/// Everything that is counted, for Prometheus: as text, or as OpenMetrics by `Accept`.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "director",
    params(("collect" = Option<String>, Query, description = "Groups of families, with commas between them.")),
    responses((status = 200, description = "A page.", content(
        (String = "text/plain"),
        (String = "application/openmetrics-text"),
    )))
)]
async fn answer(
    State(exporter): State<Exporter>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Exporter { source, collector, node_ipvs } = exporter;
    let format = Format::of(&text(&headers, &header::ACCEPT));
    let all = Wanted::all(format, node_ipvs.load(Ordering::Relaxed));
    let wanted = match all.select(query.as_deref().unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(wrong) => return (StatusCode::BAD_REQUEST, wrong + "\n").into_response(),
    };
    let zipped = accepts_gzip(&text(&headers, &header::ACCEPT_ENCODING));
    // A worker that does not answer is waited for.
    let made = tokio::task::spawn_blocking(move || {
        let page = collector.page(&source(), &wanted).into_bytes();
        if zipped { gzip(&page) } else { Ok(page) }
    });
    let Ok(Ok(body)) = made.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = ([(header::CONTENT_TYPE, format.content_type())], body).into_response();
    let vary = "accept, accept-encoding".parse();
    response.headers_mut().extend(vary.ok().map(|vary| (header::VARY, vary)));
    if zipped && let Ok(gzip) = "gzip".parse() {
        response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
    }
    response
}

/// All that was said under a name.
fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

/// Quickly: pages repeat themselves, and shrink to a fifteenth.
fn gzip(page: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(page)?;
    encoder.finish()
}
