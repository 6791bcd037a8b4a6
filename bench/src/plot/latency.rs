//! Latency by requests a second, of `tcp.json`.

use std::io;

use plotters::style::RGBColor;

use super::{
    axis::{Axis, Scale},
    picture::{AMBER, BLACK, BLUE, Curve, GREEN, GREY, Panel, Picture, Point, RED, SKY},
};
use crate::{
    measure::Figures,
    sheet::{Latency, Run, Tcp, origin},
};

/// As the bench names them, and as people do.
const WAYS: [(&str, &str, RGBColor); 7] = [
    ("direct", "nothing between", BLACK),
    ("forward", "kernel, no NAT", GREY),
    ("nat", "xlvs NAT", BLUE),
    ("dr", "xlvs DR", GREEN),
    ("fullnat", "xlvs FullNAT", SKY),
    ("haproxy", "HAProxy, TCP", RED),
    ("nginx", "nginx stream", AMBER),
];

/// A quantile of a line.
type Quantile = fn(&Latency) -> &Figures;

pub(super) fn picture(run: &Run) -> io::Result<Option<Picture>> {
    let Some(sheet) = run.sheet::<Tcp>("tcp")? else { return Ok(None) };
    if sheet.latencies.is_empty() {
        return Ok(None);
    }
    let quantiles: [(&str, Quantile); 3] = [
        ("half of the requests (p50)", |line| &line.p50_us),
        ("99 of 100 (p99)", |line| &line.p99_us),
        ("999 of 1000 (p99.9)", |line| &line.p999_us),
    ];
    let across = Axis::around(
        "requests per second",
        Scale::Linear,
        sheet.latencies.iter().map(|line| line.rate),
        |rate| if rate < 1e3 { format!("{rate:.0}") } else { format!("{:.0} k", rate / 1e3) },
    );
    let windows = sheet.latencies.iter().flat_map(|line| quantiles.map(|(_, of)| of(line)));
    let up = Axis::around(
        "latency, microseconds (log)",
        Scale::Logarithmic,
        windows.flat_map(|figures| figures.windows.iter().copied()),
        |us| format!("{us:.0}"),
    );
    let panel = |(title, of): (&str, Quantile)| Panel {
        title: title.to_owned(),
        across: across.clone(),
        up: up.clone(),
        curves: curves(&sheet, of),
    };
    Ok(Some(Picture {
        title: "Requests of a 1 KiB page over TCP, at a rate that does not wait for answers".into(),
        panels: quantiles.map(panel).into(),
        caption: vec![
            format!(
                "Each curve: {} % of the rate that this way holds. Dots: medians; bars: all \
                 windows. Clients and servers share a CPU.",
                loads(&sheet)
            ),
            origin(&sheet.machine),
        ],
    }))
}

/// As "10, 50, 80".
fn loads(sheet: &Tcp) -> String {
    let mut loads: Vec<u32> = sheet.latencies.iter().map(|line| line.load).collect();
    loads.sort_unstable();
    loads.dedup();
    loads.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn curves(sheet: &Tcp, of: Quantile) -> Vec<Curve> {
    let curve = |(way, name, colour): (&str, &str, RGBColor)| {
        let lines = sheet.latencies.iter().filter(|line| line.way == way);
        let point = |line| {
            let Figures { median, windows, .. } = of(line);
            let low = windows.iter().copied().fold(*median, f64::min);
            let high = windows.iter().copied().fold(*median, f64::max);
            Point { across: line.rate, up: *median, low, high }
        };
        let mut points: Vec<Point> = lines.map(point).collect();
        points.sort_by(|a, b| a.across.total_cmp(&b.across));
        Curve { name: name.to_owned(), colour, points }
    };
    WAYS.into_iter().map(curve).filter(|curve| !curve.points.is_empty()).collect()
}
