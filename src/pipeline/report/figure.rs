//! Whatever a report draws.

use super::drawing::Drawing;
use super::{Chart, Columns, HeatMap, Lines};
use maud::Markup;

/// A drawing of a report.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// Candles.
    Chart(Chart),
    /// Lines over time.
    Lines(Lines),
    /// Columns of counts.
    Columns(Columns),
    /// Coloured cells.
    HeatMap(HeatMap),
}

impl Figure {
    fn drawing(&self) -> &dyn Drawing {
        match self {
            Figure::Chart(chart) => chart,
            Figure::Lines(lines) => lines,
            Figure::Columns(columns) => columns,
            Figure::HeatMap(map) => map,
        }
    }

    /// Its first line.
    pub fn title(&self) -> &str {
        self.drawing().title()
    }

    /// The drawing as an element of a page, which gives it colours.
    pub fn svg(&self) -> Markup {
        self.drawing().svg()
    }

    /// The drawing as an SVG file of its own.
    pub fn file(&self) -> String {
        self.drawing().file()
    }
}

impl From<Chart> for Figure {
    fn from(chart: Chart) -> Figure {
        Figure::Chart(chart)
    }
}
