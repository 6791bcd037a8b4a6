//! Packets a second by connections beside the ceiling, of `rig.json` and `rig-nftables-xlvs.json`.

use std::io;

use plotters::style::RGBColor;

use super::{
    axis::{Axis, Scale},
    connections,
    picture::{BLUE, Curve, GREY, Panel, Picture, Point, RED},
};
use crate::{
    measure::Figures,
    sheet::{Rig, Run, origin},
};

const MODES: [&str; 4] = ["nat", "fullnat", "dr", "tun"];
const OCTETS: usize = 64;
/// Which of the pair.
const FIRST: usize = 0;
const SECOND: usize = 1;

pub(super) fn picture(run: &Run, sink: &str) -> io::Result<Option<Picture>> {
    let Some(rig) = run.sheet::<Rig>("rig")? else { return Ok(None) };
    let nftables = run.sheet::<Rig>("rig-nftables-xlvs")?;
    let of_mode = |mode: &'static str| {
        let mut curves = vec![
            curve("bare AF_XDP loop", GREY, &rig, FIRST, mode, sink),
            curve("xlvs", BLUE, &rig, SECOND, mode, sink),
        ];
        if let Some(nftables) = &nftables {
            curves.push(curve("nftables", RED, nftables, FIRST, mode, sink));
        }
        curves.retain(|curve| !curve.points.is_empty());
        (mode, curves)
    };
    let modes: Vec<(&str, Vec<Curve>)> =
        MODES.into_iter().map(of_mode).filter(|(_, curves)| !curves.is_empty()).collect();
    let points = || modes.iter().flat_map(|(_, curves)| curves).flat_map(|curve| &curve.points);
    if points().next().is_none() {
        return Ok(None);
    }
    let across = Axis::at(
        "connections (log)",
        Scale::Logarithmic,
        points().map(|point| point.across),
        connections,
    );
    let up = Axis::around(
        "million packets per second",
        Scale::Linear,
        points().map(|point| point.high),
        |mpps| format!("{mpps:.1}"),
    );
    let panel = |(mode, curves): (&str, Vec<Curve>)| Panel {
        title: mode.to_uppercase(),
        across: across.clone(),
        up: up.clone(),
        curves,
    };
    let panels = modes.into_iter().map(panel).collect();
    let way = if sink == "plain" { "nftables' ingress hook" } else { "an XDP program" };
    let mut caption = vec![
        format!(
            "UDP, {OCTETS} octets, copy mode, one forwarding core; the sink drops in {way}. \
             Dots: medians; bars: all windows."
        ),
        origin(&rig.machine),
    ];
    if let Some(nftables) = nftables {
        let (machine, other) = (origin(&nftables.machine), origin(&rig.machine));
        // They are measured one after the other, perhaps not of the same commit.
        if machine != other {
            caption.push(format!("nftables: {machine}"));
        }
    }
    Ok(Some(Picture { title: "End to end over veth".into(), panels, caption }))
}

/// The packets a second of one of a pair in a mode.
fn curve(name: &str, colour: RGBColor, rig: &Rig, who: usize, mode: &str, sink: &str) -> Curve {
    let wanted =
        rig.rows.iter().filter(|row| row.mode == mode && row.octets == OCTETS && row.sink == sink);
    let point = |row: &crate::sheet::Pairs| {
        let sent: Vec<f64> = row.windows[who].iter().map(|window| window.sent).collect();
        let most = sent.iter().copied().reduce(f64::max)?;
        let Figures { min, median, .. } = Figures::of(sent);
        Some(Point { across: f64::from(row.flows), up: median, low: min, high: most })
    };
    let mut points: Vec<Point> = wanted.filter_map(point).collect();
    points.sort_by(|a, b| a.across.total_cmp(&b.across));
    Curve { name: name.to_owned(), colour, points }
}
