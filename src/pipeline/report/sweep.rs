//! The page of a sweep.

use super::{Columns, Figure, HeatMap, Page, Section, source};
use crate::Session;
use crate::backtest::Options;
use crate::rows::{column, numbers, texts};
use crate::sweep::{Sweep, Swept};
use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use tallow_common::Result;
use tallow_common::time::shown;

/// Heat maps that are drawn at most.
const MAPS: usize = 6;

/// The page of a sweep whose strategy was typed like this.
///
/// # Errors
/// Candles cannot be read.
pub async fn sweep_page(session: &Session, sweep: &Sweep, typed: &Options, swept: &Swept) -> Result<Page> {
    let names = sweep.grid.names();
    let values = |name: &str| -> Result<String> {
        let column = texts(column(&swept.variants, name)?)?;
        Ok(ordered(&column).join(", "))
    };
    let params = names.iter().map(|name| Ok((format!(":{name}"), values(name)?))).collect::<Result<Vec<_>>>()?;
    let given = [
        ("only where", sweep.only.clone()),
        ("from", sweep.strategy.range.from.map(shown)),
        ("to", sweep.strategy.range.to.map(shown)),
    ];
    let given = given.into_iter().filter_map(|(name, text)| Some((name.to_string(), text?)));
    let typed = typed.iter().map(|(name, text)| (name.replace('_', " "), text.to_string()));
    let sharpes = numbers(column(&swept.variants, "sharpe")?)?;
    let known: Vec<f64> = sharpes.iter().copied().filter(|sharpe| sharpe.is_finite()).collect();
    let distribution = Columns {
        title: "Sharpe ratios of all variants".to_string(),
        subtitle: "the line is what the best of as many without skill would show".to_string(),
        ..Columns::of(&known, swept.luck.expected_sharpe.map(|expected| ("luck".to_string(), expected)))
    };
    let maps = maps(&swept.variants, &names)?;
    let sections = [
        Section::figures("Sharpe ratio by parameter", maps),
        Section::figures("Variants", if known.is_empty() { vec![] } else { vec![Figure::Columns(distribution)] }),
        swept.folds(&names)?.map(|folds| Section::table("Walk-forward", folds)),
        Some(Section::table("All variants", swept.variants.clone())),
    ];
    let entry = sweep.strategy.entry.as_ref().or(sweep.strategy.short_entry.as_ref());
    Ok(Page {
        title: entry.map_or_else(|| "Sweep".to_string(), |entry| format!("Sweep: {entry}")),
        parameters: typed.chain(params).chain(given).collect(),
        sources: vec![source(session, &sweep.strategy.table).await?],
        notes: swept.luck.sentences(),
        sections: sections.into_iter().flatten().collect(),
    })
}

/// The values of a column, each once: numbers by size, others by name.
fn ordered(values: &[String]) -> Vec<String> {
    let mut known = values.to_vec();
    known.sort_by(|a, b| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    });
    known.dedup();
    known
}

/// One map for each two parameters; a cell is the mean of all variants with its values, since one good cell among bad ones is luck.
fn maps(variants: &RecordBatch, names: &[&str]) -> Result<Vec<Figure>> {
    let sharpes = numbers(column(variants, "sharpe")?)?;
    let of = |name: &str| texts(column(variants, name)?);
    let pairs: Vec<(&str, Option<&str>)> = match names {
        [] => vec![],
        [only] => vec![(only, None)],
        _ => (0..names.len()).flat_map(|a| (a + 1..names.len()).map(move |b| (names[a], Some(names[b])))).collect(),
    };
    let map = |(across, down): (&str, Option<&str>)| -> Result<Figure> {
        let columns = of(across)?;
        let rows = down.map_or_else(|| Ok(vec![String::new(); columns.len()]), of)?;
        let mut sums: BTreeMap<(&str, &str), (f64, f64)> = BTreeMap::new();
        for ((column, row), sharpe) in columns.iter().zip(&rows).zip(&sharpes).filter(|(_, s)| s.is_finite()) {
            let sum = sums.entry((column, row)).or_default();
            *sum = (sum.0 + sharpe, sum.1 + 1.0);
        }
        let (across_values, down_values) = (ordered(&columns), ordered(&rows));
        let cell = |column: &str, row: &str| sums.get(&(column, row)).map_or(f64::NAN, |(sum, n)| sum / n);
        let row = |row: &String| (row.clone(), across_values.iter().map(|column| cell(column, row)).collect());
        let averaged = if names.len() > 2 { ", the mean over all other parameters" } else { "" };
        Ok(Figure::HeatMap(HeatMap {
            title: down.map_or_else(|| format!(":{across}"), |down| format!(":{across} and :{down}")),
            subtitle: match down {
                Some(down) => format!("Sharpe ratio; across :{across}, down :{down}{averaged}"),
                None => "Sharpe ratio".to_string(),
            },
            rows: down_values.iter().map(row).collect(),
            columns: across_values.clone(),
            marks_best: true,
            ..HeatMap::default()
        }))
    };
    pairs.into_iter().take(MAPS).map(map).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array};
    use std::sync::Arc;

    #[test]
    fn a_cell_is_the_mean_of_the_variants_with_its_values() {
        let column = |values: [i64; 4]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let sharpes = Arc::new(Float64Array::from(vec![1.0, 3.0, -1.0, 5.0])) as ArrayRef;
        let variants = RecordBatch::try_from_iter([
            ("a", column([10, 10, 9, 9])),
            ("b", column([1, 1, 1, 2])),
            ("c", column([1, 2, 1, 1])),
            ("sharpe", sharpes),
        ]);
        let maps = maps(&variants.unwrap(), &["a", "b", "c"]).unwrap();
        let Figure::HeatMap(map) = &maps[0] else { panic!() };
        assert_eq!((maps.len(), map.columns.clone()), (3, vec!["9".to_string(), "10".to_string()]));
        assert_eq!(map.rows[0], ("1".to_string(), vec![-1.0, 2.0]));
        assert!(map.rows[1].1[0] == 5.0 && map.rows[1].1[1].is_nan());
    }
}
