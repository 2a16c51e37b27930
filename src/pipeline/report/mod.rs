//! Reports: one page with charts and a table, which opens from disk and needs nothing else.

mod chart;
mod data;
mod page;
mod pages;
mod png;

pub use chart::{Bar, Chart, Mark, Window};
pub use data::{Source, charts_of_labels, charts_of_matches, charts_of_scan, source};
pub use page::Page;
pub use pages::{LabelReport, match_charts, match_page, scan_page};
pub use png::png;
