//! Synthetic candles: geometric random walks with fat tails, the same for the same seed.

use crate::random::Random;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::metadata::SortingColumn;
use datafusion::parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use tallow_common::time::timestamp_type;
use tallow_common::{Error, Result};
use tallow_udfs::calendar::{Grid, Origin, Timeframe};

const FIRST_BAR: i64 = 1_262_304_000_000_000; // 2010-01-01
const DAY: i64 = 86_400_000_000;
const ROW_GROUP: usize = 1 << 17;

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Synth {
    /// Number of symbols, `S00000` and on.
    pub symbols: usize,
    /// Bars of each, from 2010 on.
    pub bars: usize,
    /// Their length.
    pub timeframe: Timeframe,
    /// The same seed makes the same candles.
    pub seed: u64,
    /// How prices move.
    pub kind: Kind,
    /// Of a thousand bars so many are missing.
    pub gaps: u32,
    /// Of a thousand bars so many stand behind others that follow them, up to fifty.
    pub late: u32,
}

impl Default for Synth {
    fn default() -> Self {
        Synth { symbols: 100, bars: 1250, timeframe: Timeframe::Day, seed: 7, kind: Kind::Walk, gaps: 0, late: 0 }
    }
}

/// How prices move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A random walk.
    #[default]
    Walk,
    /// Up for 250 bars, then down for as many.
    Trend,
    /// Around a price that they are drawn back to.
    Range,
}

impl std::str::FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Kind> {
        match text {
            "walk" => Ok(Kind::Walk),
            "trend" => Ok(Kind::Trend),
            "range" => Ok(Kind::Range),
            _ => Err(Error::invalid(format!("prices do not move by '{text}': expected walk, trend or range"))),
        }
    }
}

/// The first price, and what prices of a range are drawn back to.
const PRICE: f64 = 50.0;
/// Bars of one direction.
const TREND: usize = 250;
/// How far behind a late bar stands, at most.
const BEHIND: u64 = 50;

impl Synth {
    /// Writes one Parquet file sorted by (symbol, ts).
    pub fn write_file(&self, path: &Path, mut progress: impl FnMut(usize)) -> Result<()> {
        let mut writer = self.writer(path)?;
        for symbol in 0..self.symbols {
            writer.write(&self.candles(symbol)?).map_err(|e| failed(path, e))?;
            progress(symbol + 1);
        }
        writer.close().map_err(|e| failed(path, e))?;
        Ok(())
    }

    /// Writes one Parquet file a symbol into a folder.
    pub fn write_folder(&self, folder: &Path, mut progress: impl FnMut(usize)) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::File(folder.display().to_string(), e))?;
        for symbol in 0..self.symbols {
            let path = folder.join(format!("{}.parquet", name(symbol)));
            let mut writer = self.writer(&path)?;
            writer.write(&self.candles(symbol)?).map_err(|e| failed(&path, e))?;
            writer.close().map_err(|e| failed(&path, e))?;
            progress(symbol + 1);
        }
        Ok(())
    }

    fn writer(&self, path: &Path) -> Result<ArrowWriter<File>> {
        let file = File::create(path).map_err(|e| Error::File(path.display().to_string(), e))?;
        let sorting = [0, 1].map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false });
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .set_sorting_columns((self.late == 0).then(|| sorting.to_vec()))
            .build();
        ArrowWriter::try_new(file, Arc::new(schema()), Some(properties)).map_err(|e| failed(path, e))
    }

    /// The bars of one symbol. A symbol's candles depend on the seed and its number only.
    pub fn candles(&self, symbol: usize) -> Result<RecordBatch> {
        let mut random = Random(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (symbol as u64 + 1));
        let mut columns: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::with_capacity(self.bars));
        let mut close: f64 = PRICE;
        // A day's moves are as large in whatever bars they come.
        let days = self.timeframe.fixed_length().map_or(30.0, |length| length as f64 / DAY as f64);
        let spread = days.sqrt();
        for bar in 0..self.bars {
            let open: f64 = close * (0.001 * spread * random.normal()).exp();
            let drift = match self.kind {
                Kind::Walk => 0.0,
                Kind::Trend if (bar / TREND).is_multiple_of(2) => 0.002 * spread,
                Kind::Trend => -0.002 * spread,
                Kind::Range => -0.02 * (close / PRICE).ln(),
            };
            close *= (drift + 0.008 * spread * random.student()).exp();
            let high = open.max(close) * (1.0 + 0.006 * spread * random.normal().abs());
            let low = open.min(close) * (1.0 - (0.006 * spread * random.normal().abs()).min(0.6));
            let volume = (13.0 + 0.6 * random.normal()).exp().round();
            for (column, value) in columns.iter_mut().zip([open, high, low, close, volume]) {
                column.push((value * 1e4).round() / 1e4);
            }
        }
        let grid = Grid::new(self.timeframe, Origin::UTC);
        let times = std::iter::successors(Some(grid.bar(FIRST_BAR).0), |ts| Some(grid.bar(*ts).1)).take(self.bars);
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![name(symbol); self.bars])),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        ];
        arrays.extend(columns.map(|column| Arc::new(Float64Array::from(column)) as ArrayRef));
        let candles = RecordBatch::try_new(Arc::new(schema()), arrays)?;
        if self.gaps == 0 && self.late == 0 {
            return Ok(candles);
        }
        Ok(take_record_batch(&candles, &self.delivered(symbol))?)
    }

    /// The rows that are there, in the order in which they stand. The bars are those that all would be.
    fn delivered(&self, symbol: usize) -> UInt64Array {
        let mut random = Random(self.seed.wrapping_add(0x5851_f42d_4c95_7f2d).wrapping_mul(symbol as u64 + 1));
        let mut rows: Vec<(u64, u64)> = vec![];
        for row in 0..self.bars as u64 {
            let is_missing = random.uniform() * 1e3 < f64::from(self.gaps);
            let is_late = random.uniform() * 1e3 < f64::from(self.late);
            let behind = 1 + (random.uniform() * BEHIND as f64) as u64;
            if !is_missing {
                // Behind the row at that place.
                rows.push((2 * row + if is_late { 2 * behind + 1 } else { 0 }, row));
            }
        }
        rows.sort_unstable();
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

fn failed(path: &Path, error: datafusion::parquet::errors::ParquetError) -> Error {
    Error::File(path.display().to_string(), std::io::Error::other(error))
}

fn name(symbol: usize) -> String {
    format!("S{symbol:05}")
}

fn schema() -> Schema {
    let mut fields = vec![Field::new("symbol", DataType::Utf8, false), Field::new("ts", timestamp_type(), false)];
    let prices = ["open", "high", "low", "close", "volume"];
    fields.extend(prices.map(|name| Field::new(name, DataType::Float64, true)));
    Schema::new(fields)
}

impl Random {
    /// Box and Muller's transform.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Student's t with four degrees of freedom: daily returns have fat tails.
    fn student(&mut self) -> f64 {
        let chi: f64 = (0..4).map(|_| self.normal().powi(2)).sum();
        self.normal() / (chi / 4.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, TimestampMicrosecondType};

    #[test]
    fn the_same_seed_makes_the_same_candles() {
        let synth = Synth { symbols: 2, bars: 50, ..Synth::default() };
        assert_eq!(synth.candles(1).unwrap(), synth.candles(1).unwrap());
        assert_ne!(synth.candles(0).unwrap(), synth.candles(1).unwrap());
    }

    #[test]
    fn every_candle_is_valid() {
        for timeframe in ["1m", "1d", "1mo"] {
            is_valid(
                &Synth { symbols: 1, bars: 2000, timeframe: timeframe.parse().unwrap(), seed: 1, ..Synth::default() }
                    .candles(0)
                    .unwrap(),
            );
        }
        for kind in [Kind::Trend, Kind::Range] {
            is_valid(&Synth { symbols: 1, bars: 2000, kind, ..Synth::default() }.candles(0).unwrap());
        }
    }

    #[test]
    fn bars_are_missing_and_late_and_otherwise_the_same() {
        let all = Synth { symbols: 1, bars: 5_000, ..Synth::default() };
        let (whole, some) = (all.candles(0).unwrap(), Synth { gaps: 20, late: 20, ..all }.candles(0).unwrap());
        let times = |batch: &RecordBatch| batch.column(1).as_primitive::<TimestampMicrosecondType>().values().to_vec();
        let closes = |batch: &RecordBatch| batch.column(5).as_primitive::<Float64Type>().values().to_vec();
        let of: std::collections::HashMap<i64, f64> = times(&whole).into_iter().zip(closes(&whole)).collect();
        let missing = whole.num_rows() - some.num_rows();
        let late = times(&some).windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((60..140).contains(&missing) && (60..140).contains(&late), "{missing} {late}");
        assert!(times(&some).iter().zip(closes(&some)).all(|(ts, close)| of[ts] == close));
    }

    fn is_valid(batch: &RecordBatch) {
        let column = |i: usize| batch.column(i).as_any().downcast_ref::<Float64Array>().unwrap();
        for row in 0..batch.num_rows() {
            let [open, high, low, close] = [2, 3, 4, 5].map(|i| column(i).value(row));
            assert!(low > 0.0 && low <= open.min(close) && high >= open.max(close));
        }
    }
}
