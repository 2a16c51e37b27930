//! What a search finds, as rows: the matches, and in a report what was looked at and what had to be skipped below them.

use super::QueryPattern;
use super::state::values;
use crate::outcome::Skipped;
use crate::rows::{column, texts};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, Int64Builder, LargeListBuilder, RecordBatch,
    StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{concat, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::Result;
use std::sync::{Arc, LazyLock};
use tallow_common::time::timestamp_type;
use tallow_udfs::similarity::search::{Match, Stages};

/// The columns of matches.
pub fn matches_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let time = timestamp_type();
        let field = |name: &str, kind: &DataType| Field::new(name, kind.clone(), true);
        let number = DataType::Float64;
        Arc::new(Schema::new(vec![
            field("pattern", &DataType::Utf8),
            field("symbol", &DataType::Utf8),
            field("start_ts", &time),
            field("end_ts", &time),
            field("bars", &DataType::Int64),
            field("scale", &number),
            field("distance", &number),
            field("price_distance", &number),
            field("averages_distance", &number),
            field("slopes_distance", &number),
            field("score", &number),
            field("percentile", &number),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// The columns of a report: those of matches; then `kind`, which is `match`, `stages` of a `pattern` or a `skipped` `symbol`; the
/// `counts` of [`Counts`]; and the `reason` why a symbol was skipped. What a kind does not have is null.
pub fn report_schema() -> SchemaRef {
    let counts = DataType::LargeList(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let own = [("kind", DataType::Utf8), ("counts", counts), ("reason", DataType::Utf8)];
    let matches = matches_schema();
    let own = own.map(|(name, kind)| Arc::new(Field::new(name, kind, true)));
    Arc::new(Schema::new(matches.fields().iter().cloned().chain(own).collect::<Vec<_>>()))
}

const MATCH: &str = "match";
const STAGES: &str = "stages";
const SKIPPED: &str = "skipped";

/// What a pattern's search looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Symbols that the first look saw, and those that it kept; `None` where there was none.
    pub prescreened: Option<(usize, usize)>,
    /// The search proper.
    pub stages: Stages,
}

impl Counts {
    /// As whole numbers: the stages, and what was prescreened.
    fn numbers(&self) -> Vec<i64> {
        let screened = self.prescreened.map(|(seen, kept)| [seen as i64, kept as i64]);
        numbers_of(&self.stages).into_iter().chain(screened.into_iter().flatten()).collect()
    }

    fn of(numbers: &[i64]) -> Result<Counts> {
        let (stages, screened) = numbers.split_at(numbers.len().min(8));
        let prescreened = match screened {
            [] => None,
            screened => Some(values::<i64, 2>(screened)?).map(|[seen, kept]| (seen as usize, kept as usize)),
        };
        Ok(Counts { prescreened, stages: stages_of(stages)? })
    }
}

/// The counts of stages, in the order of the fields of [`Stages`].
pub fn numbers_of(stages: &Stages) -> [i64; 8] {
    let Stages { symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole } = *stages;
    [symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole].map(|count| count as i64)
}

/// The stages of such counts.
pub fn stages_of(counts: &[i64]) -> Result<Stages> {
    let [symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole] =
        values::<i64, 8>(counts)?.map(|count| count as u64);
    Ok(Stages { symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole })
}

/// Matches of patterns, with the share of random windows that are farther away.
pub fn match_rows(matches: &[(&str, Match, Option<f64>)]) -> Result<RecordBatch> {
    let number = |of: fn(&Match) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(matches.iter().map(|(_, window, _)| of(window))))
    };
    let time = |of: fn(&Match) -> i64| -> ArrayRef {
        let times = matches.iter().map(|(_, window, _)| of(window));
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(matches.iter().map(|(pattern, ..)| pattern))),
        Arc::new(StringArray::from_iter_values(matches.iter().map(|(_, window, _)| &window.symbol))),
        time(|m| m.start_ts),
        time(|m| m.end_ts),
        Arc::new(Int64Array::from_iter_values(matches.iter().map(|(_, window, _)| window.bars as i64))),
        number(|m| m.scale),
        number(|m| m.distance.combined),
        number(|m| m.distance.price),
        number(|m| m.distance.averages),
        number(|m| m.distance.slopes),
        number(|m| (-m.distance.combined).exp()),
        Arc::new(matches.iter().map(|(.., percentile)| *percentile).collect::<Float64Array>()),
    ];
    Ok(RecordBatch::try_new(matches_schema(), columns)?)
}

/// The matches, and what was counted and skipped below them.
pub fn report_rows(
    matches: &RecordBatch,
    patterns: &[QueryPattern],
    counts: &[Counts],
    skipped: &[(String, String)],
) -> Result<RecordBatch> {
    let rows = [matches.num_rows(), counts.len(), skipped.len()];
    let below = |column: &ArrayRef, more: [ArrayRef; 2]| concat(&[column, &more[0], &more[1]]);
    let none = |kind: &DataType, rows| new_null_array(kind, rows);
    let text = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
    let mut columns = vec![];
    for (field, column) in matches.schema().fields().iter().zip(matches.columns()) {
        let kind = field.data_type();
        let ids = || text(patterns.iter().map(|p| p.id.as_str()).collect());
        let symbols = || text(skipped.iter().map(|(symbol, _)| symbol.as_str()).collect());
        columns.push(match field.name().as_str() {
            "pattern" => below(column, [ids(), none(kind, rows[2])])?,
            "symbol" => below(column, [none(kind, rows[1]), symbols()])?,
            _ => below(column, [none(kind, rows[1]), none(kind, rows[2])])?,
        });
    }
    let kinds = [MATCH, STAGES, SKIPPED].into_iter().zip(rows);
    columns.push(text(kinds.flat_map(|(kind, rows)| std::iter::repeat_n(kind, rows)).collect()));
    let mut lists = LargeListBuilder::new(Int64Builder::new());
    (0..rows[0]).for_each(|_| lists.append(false));
    for counts in counts {
        lists.values().append_slice(&counts.numbers());
        lists.append(true);
    }
    (0..rows[2]).for_each(|_| lists.append(false));
    columns.push(Arc::new(lists.finish()));
    let reasons = skipped.iter().map(|(_, reason)| Some(reason.as_str()));
    columns.push(Arc::new(StringArray::from_iter(std::iter::repeat_n(None, rows[0] + rows[1]).chain(reasons))));
    Ok(RecordBatch::try_new(report_schema(), columns)?)
}

/// A report that is being read.
pub struct Report(pub RecordBatch);

impl Report {
    /// The rows of a kind.
    fn of_kind(&self, kind: &str) -> tallow_common::Result<RecordBatch> {
        let kinds = texts(column(&self.0, "kind")?)?;
        Ok(filter_record_batch(&self.0, &kinds.iter().map(|k| Some(k == kind)).collect::<BooleanArray>())?)
    }

    /// The matches.
    pub fn matches(&self) -> tallow_common::Result<RecordBatch> {
        let width = matches_schema().fields().len();
        Ok(self.of_kind(MATCH)?.project(&(0..width).collect::<Vec<_>>())?)
    }

    /// What each pattern's search looked at.
    pub fn counts(&self) -> tallow_common::Result<Vec<(String, Counts)>> {
        let rows = self.of_kind(STAGES)?;
        let lists = column(&rows, "counts")?.as_list::<i64>();
        let of = |(i, pattern)| Ok((pattern, Counts::of(lists.value(i).as_primitive::<Int64Type>().values())?));
        texts(column(&rows, "pattern")?)?.into_iter().enumerate().map(of).collect()
    }

    /// Symbols that could not be used.
    pub fn skipped(&self) -> tallow_common::Result<Vec<Skipped>> {
        let rows = self.of_kind(SKIPPED)?;
        let all = texts(column(&rows, "symbol")?)?.into_iter().zip(texts(column(&rows, "reason")?)?);
        Ok(all.map(|(symbol, reason)| Skipped { symbol, reason }).collect())
    }
}
