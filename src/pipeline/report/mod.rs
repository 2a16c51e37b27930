//! Reports: one page with charts and tables, which opens from disk and needs nothing else.

mod backtest;
mod chart;
mod columns;
mod data;
mod drawing;
mod figure;
mod heat_map;
mod lines;
mod page;
mod pages;
mod png;
mod sweep;
mod symbol;

pub use backtest::backtest_page;
pub use chart::{Bar, Chart, Mark, Window};
pub use columns::Columns;
pub use data::{Source, charts_of_labels, charts_of_matches, charts_of_scan, picture_of_pattern, source};
pub use figure::Figure;
pub use heat_map::HeatMap;
pub use lines::{Lines, Pane, PaneStyle};
pub use page::{Body, Page, Section};
pub use pages::{LabelReport, match_charts, match_page, scan_page};
pub use png::png;
pub use sweep::sweep_page;
pub use symbol::SymbolChart;
