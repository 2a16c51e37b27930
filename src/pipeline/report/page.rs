//! The page: parameters, sources, and sections of figures, drawings and tables that can be sorted, in one file.

use super::{Figure, Source};
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use tallow_common::Result;

/// What a report shows.
#[derive(Debug, Clone)]
pub struct Page {
    /// What it is about.
    pub title: String,
    /// What was asked for: names and values.
    pub parameters: Vec<(String, String)>,
    /// What was read.
    pub sources: Vec<Source>,
    /// Sentences that a reader must know.
    pub notes: Vec<String>,
    /// What it shows, in order.
    pub sections: Vec<Section>,
}

/// A part of a report, under a heading.
#[derive(Debug, Clone)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// What is below it.
    pub body: Body,
}

/// What a section shows.
#[derive(Debug, Clone)]
pub enum Body {
    /// Names and short values, side by side.
    Facts(Vec<(String, String)>),
    /// Drawings.
    Figures(Vec<Figure>),
    /// Rows, which the reader can sort; and what is said where there is none.
    Table(RecordBatch, &'static str),
}

impl Section {
    /// A section of drawings; `None`: there is none.
    pub fn figures<T: Into<Figure>>(heading: &str, figures: Vec<T>) -> Option<Section> {
        let figures: Vec<Figure> = figures.into_iter().map(Into::into).collect();
        (!figures.is_empty()).then(|| Section { heading: heading.to_string(), body: Body::Figures(figures) })
    }

    /// A section of rows.
    pub fn table(heading: &str, rows: RecordBatch) -> Section {
        Section { heading: heading.to_string(), body: Body::Table(rows, "Nothing was found.") }
    }
}

/// Rows that the table shows.
const ROWS: usize = 2_000;

/// Six decimals at most, of small numbers six digits; without zeros at the end.
fn digits(value: f64) -> String {
    let text = match value.abs() {
        size if size == 0.0 || (1e-2..1e15).contains(&size) => format!("{value:.6}"),
        size if (1e-9..1e-2).contains(&size) => format!("{value:.*}", (5.0 - size.log10().floor()) as usize),
        _ => return format!("{value:e}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

impl Page {
    /// The page as HTML.
    pub fn html(&self) -> Result<String> {
        let bodies = self.sections.iter().map(|section| section.body.html()).collect::<Result<Vec<_>>>()?;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    link rel="icon" href="data:,";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (self.title) }
                        button type="button" id="theme" { "Light / dark" }
                    }
                    @for note in &self.notes { p class="note" { (note) } }
                    section class="facts" {
                        dl {
                            @for (name, value) in &self.parameters { dt { (name) } dd { (value) } }
                            @for source in &self.sources { dt { (source.table) } dd { (source.describe()) } }
                            dt { "made by" } dd { "tallow " (env!("CARGO_PKG_VERSION")) ", " (chrono::Utc::now().format("%Y-%m-%d %H:%M UTC")) }
                        }
                    }
                    @for (section, body) in self.sections.iter().zip(&bodies) {
                        h2 { (section.heading) }
                        (body)
                    }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        Ok(page.into_string())
    }

    /// How many rows its tables have.
    pub fn rows(&self) -> usize {
        let rows = self.sections.iter().map(|section| match &section.body {
            Body::Table(rows, _) => rows.num_rows(),
            Body::Facts(_) | Body::Figures(_) => 0,
        });
        rows.sum()
    }

    /// Its drawings, in order.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.sections.iter().flat_map(|section| match &section.body {
            Body::Figures(figures) => figures.as_slice(),
            Body::Facts(_) | Body::Table(..) => &[],
        })
    }
}

impl Body {
    fn html(&self) -> Result<Markup> {
        Ok(match self {
            Body::Facts(facts) => html! {
                dl class="tiles" {
                    @for (name, value) in facts { div { dt { (name) } dd { (value) } } }
                }
            },
            Body::Figures(figures) => html! {
                section class="charts" {
                    @for figure in figures { figure { figcaption { (figure.title()) } (figure.svg()) } }
                }
            },
            Body::Table(rows, nothing) => table(rows, nothing)?,
        })
    }
}

fn table(all: &RecordBatch, nothing: &str) -> Result<Markup> {
    let options = FormatOptions::default().with_null("");
    let options =
        options.with_timestamp_format(Some("%Y-%m-%d %H:%M")).with_timestamp_tz_format(Some("%Y-%m-%d %H:%M"));
    let rows = all.slice(0, all.num_rows().min(ROWS));
    let columns = rows.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options));
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    let schema = rows.schema();
    let numeric: Vec<bool> = schema.fields().iter().map(|f| f.data_type().is_numeric()).collect();
    let cell = |column: usize, row: usize| {
        let text = columns[column].value(row).to_string();
        match (schema.field(column).data_type().is_floating(), text.parse::<f64>()) {
            (true, Ok(value)) => digits(value),
            _ => text.trim_end_matches(" 00:00").to_string(),
        }
    };
    Ok(html! {
        div class="scroll" {
            table class="rows" {
                thead { tr {
                    @for (field, numeric) in schema.fields().iter().zip(&numeric) {
                        th scope="col" aria-sort="none" class=[numeric.then_some("number")] { button type="button" { (field.name()) } }
                    }
                } }
                tbody {
                    @for row in 0..rows.num_rows() {
                        tr {
                            @for column in 0..columns.len() {
                                td class=[numeric[column].then_some("number")] { (cell(column, row)) }
                            }
                        }
                    }
                }
            }
        }
        @if all.num_rows() == 0 { p { (nothing) } }
        @if all.num_rows() > ROWS { p { "The first " (ROWS) " of " (all.num_rows()) " rows." } }
    })
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn small_numbers_keep_their_digits_and_large_ones_their_size() {
        let shown = [0.0, 1.0, 123.4567891, 0.5, 1.12801e-8, -3.5e-5, 1e300, 1e-300].map(digits);
        assert_eq!(shown, ["0", "1", "123.456789", "0.5", "0.0000000112801", "-0.000035", "1e300", "1e-300"]);
    }
}
