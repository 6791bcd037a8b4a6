//! A picture of curves: panels beside each other, what the curves are above them, and below where
//! the figures are from.
//!
//! It has a ground of its own: pages that show it may be light or dark.

use std::io;

use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, Circle, DrawingArea, IntoDrawingArea, LineSeries, PathElement, RGBColor,
        SVGBackend, Text,
    },
    style::{Color, FontTransform, IntoFont, TextStyle, WHITE},
};

use super::axis::Axis;

/// Of letters, lines and the grid. Colours of curves can be told apart by the colour-blind, too
/// (Okabe and Ito 2008).
const INK: RGBColor = RGBColor(36, 41, 47);
const GRID: RGBColor = RGBColor(216, 222, 228);
pub(super) const GREY: RGBColor = RGBColor(110, 119, 129);
pub(super) const BLACK: RGBColor = RGBColor(36, 41, 47);
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(super) const SKY: RGBColor = RGBColor(86, 180, 233);
pub(super) const GREEN: RGBColor = RGBColor(0, 158, 115);
pub(super) const RED: RGBColor = RGBColor(213, 94, 0);
pub(super) const AMBER: RGBColor = RGBColor(230, 159, 0);
pub(super) const PINK: RGBColor = RGBColor(204, 121, 167);

/// Pixels, of the whole.
const WIDTH: u32 = 960;
const PANEL: u32 = 300;
const LINE: u32 = 20;
/// Of an entry of the legend, and of the piece of its curve.
const ENTRY: u32 = 170;
const PIECE: i32 = 26;
/// Plotters' sizes; a pixel of the file is 1.24 of them.
const LARGE: u32 = 22;
const SMALL: u32 = 16;

/// All of it.
pub(super) struct Picture {
    pub(super) title: String,
    pub(super) panels: Vec<Panel>,
    /// Lines below.
    pub(super) caption: Vec<String>,
}

/// One system of coordinates.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) across: Axis,
    pub(super) up: Axis,
    pub(super) curves: Vec<Curve>,
}

/// What is joined by a line.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) colour: RGBColor,
    /// In rising order of `across`.
    pub(super) points: Vec<Point>,
}

/// A figure, and the range that its windows have.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) across: f64,
    pub(super) up: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Picture {
    /// Draws it.
    ///
    /// # Errors
    /// What plotters reports.
    pub(super) fn svg(&self) -> io::Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|why| io::Error::other(why.to_string()))?;
        Ok(svg)
    }

    fn draw<'a>(&'a self, svg: &'a mut String) -> Result<(), Box<dyn std::error::Error + 'a>> {
        let columns = if self.panels.len() == 4 { 2 } else { self.panels.len().max(1) };
        let rows = self.panels.len().div_ceil(columns) as u32;
        let legend = self.legend();
        let legend_rows = (legend.len() as u32).div_ceil(WIDTH / ENTRY);
        let (head, foot) = (40 + legend_rows * LINE, 12 + self.caption.len() as u32 * LINE);
        let height = head + rows * PANEL + foot;
        let whole = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        whole.fill(&WHITE)?;
        let (top, rest) = whole.split_vertically(head);
        let (middle, bottom) = rest.split_vertically(rows * PANEL);
        top.draw(&Text::new(self.title.as_str(), (12, 12), font(LARGE)))?;
        for ((name, colour), at) in legend.iter().zip(0..) {
            let in_a_row = WIDTH / ENTRY;
            let x = 14 + (at % in_a_row * ENTRY) as i32;
            let y = 48 + (at / in_a_row * LINE) as i32;
            top.draw(&PathElement::new([(x, y), (x + PIECE, y)], colour.stroke_width(3)))?;
            top.draw(&Circle::new((x + PIECE / 2, y), 4, colour.filled()))?;
            top.draw(&Text::new(*name, (x + PIECE + 8, y - 6), font(SMALL)))?;
        }
        for (panel, area) in self.panels.iter().zip(middle.split_evenly((rows as usize, columns))) {
            panel.draw(&area)?;
        }
        for (line, at) in self.caption.iter().zip(0..) {
            bottom.draw(&Text::new(line.as_str(), (12, 4 + at * LINE as i32), font(SMALL)))?;
        }
        whole.present()?;
        Ok(())
    }

    /// Each name once, as it comes first.
    fn legend(&self) -> Vec<(&str, RGBColor)> {
        let mut entries: Vec<(&str, RGBColor)> = Vec::new();
        for curve in self.panels.iter().flat_map(|panel| &panel.curves) {
            if !entries.iter().any(|(name, _)| *name == curve.name) {
                entries.push((&curve.name, curve.colour));
            }
        }
        entries
    }
}

impl Panel {
    fn draw<'a>(&'a self, area: &Area<'a>) -> Result<(), Box<dyn std::error::Error + 'a>> {
        let Self { across, up, .. } = self;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, font(SMALL + 2))
            .margin_left(6)
            .margin_right(14)
            .x_label_area_size(46)
            .y_label_area_size(62)
            .build_cartesian_2d(across.clone(), up.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(font(SMALL))
            .axis_desc_style(font(SMALL))
            .x_desc(across.label.as_str())
            .y_desc(up.label.as_str())
            .draw()?;
        for Curve { colour, points, .. } in &self.curves {
            for point in points {
                let ends = [(point.across, point.low), (point.across, point.high)];
                chart.draw_series([PathElement::new(ends, colour.stroke_width(1))])?;
            }
            let line: Vec<(f64, f64)> = points.iter().map(|p| (p.across, p.up)).collect();
            let dots = line.iter().map(|at| Circle::new(*at, 4, colour.filled()));
            chart.draw_series(dots)?;
            if line.len() > 1 {
                chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
            }
        }
        Ok(())
    }
}

fn font(size: u32) -> TextStyle<'static> {
    let font = ("sans-serif", size).into_font().transform(FontTransform::None);
    TextStyle::from(font).color(&INK)
}
