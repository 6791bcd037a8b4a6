//! Nanoseconds a packet by connections, of `inprocess.json`.

use std::io;

use super::{
    axis::{Axis, Scale},
    connections,
    picture::{BLUE, Curve, GREEN, PINK, Panel, Picture, Point, RED},
};
use crate::sheet::{Inprocess, Run, origin};

/// As the bench names them.
const SIZES: [(&str, f64); 5] = [("1", 1.0), ("1k", 1e3), ("64k", 64e3), ("1M", 1e6), ("10M", 1e7)];
const MODES: [(&str, plotters::style::RGBColor); 4] =
    [("nat", BLUE), ("fullnat", RED), ("dr", GREEN), ("tun", PINK)];

pub(super) fn picture(run: &Run) -> io::Result<Option<Picture>> {
    let Some(sheet) = run.sheet::<Inprocess>("inprocess")? else { return Ok(None) };
    let families = ["v4", "v6"].map(|family| (family, curves(&sheet, family)));
    let points = || families.iter().flat_map(|(_, curves)| curves).flat_map(|curve| &curve.points);
    if points().next().is_none() {
        return Ok(None);
    }
    let across = Axis::at(
        "connections (log)",
        Scale::Logarithmic,
        points().map(|point| point.across),
        connections,
    );
    let up = Axis::around("ns per packet", Scale::Linear, points().map(|point| point.high), |ns| {
        format!("{ns:.0}")
    });
    let panels = families.map(|(family, curves)| Panel {
        title: format!("IP{family}"),
        across: across.clone(),
        up: up.clone(),
        curves,
    });
    Ok(Some(Picture {
        title: "Parse to verdict, one pinned core, in process: no rings, no kernel".into(),
        panels: panels.into(),
        caption: vec![
            "64-octet TCP packets of established connections in random order, bursts of 64. \
             Dots: the quickest window; bars: to the median one."
                .into(),
            origin(&sheet.machine),
        ],
    }))
}

/// A curve for each mode that was measured.
fn curves(sheet: &Inprocess, family: &str) -> Vec<Curve> {
    let curve = |(mode, colour): (&str, _)| {
        let point = |(size, across): (&str, f64)| {
            let ns = sheet.ns(&format!("verdict {mode} {family} tcp {size}"))?;
            Some(Point { across, up: ns.min, low: ns.min, high: ns.median })
        };
        let points: Vec<Point> = SIZES.into_iter().filter_map(point).collect();
        (!points.is_empty()).then(|| Curve { name: mode.to_uppercase(), colour, points })
    };
    MODES.into_iter().filter_map(curve).collect()
}
