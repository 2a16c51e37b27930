//! One formula with many values of its parameters, in one pass over the bars.

use super::{MATCH, Scan, named};
use crate::Session;
use crate::relation::Relation;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::{Expr, ExprFunctionExt, lit};
use datafusion::prelude::DataFrame;
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{Formula, Params, Problems};

/// More combinations than this were not meant.
const MOST: usize = 1_000;

/// Parameters, and the values that each takes; every combination is tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweep(Vec<(String, Vec<String>)>);

impl Sweep {
    /// Adds `name=5..20:5` (5, 10, 15, 20), `name=0.5..2:0.5` or `name=20,50,100`.
    pub fn add(&mut self, text: &str) -> Result<()> {
        self.add_to("sweep", text, MOST)
    }

    /// The same of an option that may make more combinations.
    pub fn add_to(&mut self, option: &str, text: &str, most: usize) -> Result<()> {
        let wrong = |said: &str| {
            Error::invalid(format!(
                "the option `{option}` '{text}': {said}; expected name=5..20:5, a start, an end and a step, or name=20,50"
            ))
        };
        let (name, values) =
            text.split_once('=').filter(|(n, _)| !n.trim().is_empty()).ok_or_else(|| wrong("no name"))?;
        let name = name.trim().to_ascii_lowercase();
        if self.0.iter().any(|(known, _)| *known == name) {
            return Err(wrong("this parameter is swept twice"));
        }
        let values = match values.split_once("..") {
            None => values.split(',').map(|v| v.trim().to_string()).filter(|v| !v.is_empty()).collect(),
            Some((from, rest)) => {
                let (to, step) = rest.split_once(':').unwrap_or((rest, "1"));
                let number = |t: &str| t.trim().parse::<f64>().ok().filter(|v| v.is_finite());
                let parts = number(from).zip(number(to)).zip(number(step));
                let ((from, to), step) = parts.ok_or_else(|| wrong("not all of these are numbers"))?;
                if step <= 0.0 || to < from {
                    return Err(wrong("the step must be above 0 and the end not before the start"));
                }
                let steps = ((to - from) / step + 1e-9).floor();
                if steps >= most as f64 {
                    return Err(wrong(&format!("more than {most} values")));
                }
                // Twelve digits: 0.1 + 2 * 0.1 is 0.3.
                let value = |i: usize| format!("{}", ((from + i as f64 * step) * 1e12).round() / 1e12);
                (0..=steps as usize).map(value).collect::<Vec<_>>()
            }
        };
        if values.is_empty() {
            return Err(wrong("no value"));
        }
        self.0.push((name, values));
        match self.len() > most {
            true => {
                Err(Error::invalid(format!("the option `{option}`: {} combinations, more than {most}", self.len())))
            }
            false => Ok(()),
        }
    }

    /// The parameters.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether nothing is swept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of combinations.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(_, values)| values.len()).product()
    }

    /// Every combination, the last parameter changing fastest.
    pub fn combinations(&self) -> Vec<Vec<&str>> {
        let mut all = vec![vec![]];
        for (_, values) in &self.0 {
            all = all.iter().flat_map(|c| values.iter().map(|v| [c.as_slice(), &[v.as_str()]].concat())).collect();
        }
        all
    }

    /// The formula's parameters of each combination, over those that are given.
    fn params(&self, given: &Params) -> Vec<Params> {
        let with = |values: Vec<&str>| {
            let mut params = given.clone();
            self.0.iter().zip(values).for_each(|((name, _), value)| params.set(name, value));
            params
        };
        self.combinations().into_iter().map(with).collect()
    }

    /// One row a combination, from the counts of all in one row; and all matches, and the most symbols of any.
    pub(super) fn rows(&self, counts: &[RecordBatch]) -> Result<(RecordBatch, (u64, u64))> {
        let combinations = self.combinations();
        let mut numbers = vec![0_i64; 2 * combinations.len() + 1];
        if let Some(row) = counts.iter().find(|b| b.num_rows() > 0) {
            for (i, number) in numbers.iter_mut().enumerate() {
                let column = arrow::compute::cast(row.column(i), &DataType::Int64)?;
                let column = column.as_primitive::<Int64Type>();
                *number = if column.is_null(0) { 0 } else { column.value(0) };
            }
        }
        let scanned = numbers.pop().unwrap_or_default();
        let matches: Vec<i64> = numbers.iter().step_by(2).copied().collect();
        let symbols: Vec<i64> = numbers.iter().skip(1).step_by(2).copied().collect();
        let rate = symbols.iter().map(|&n| if scanned == 0 { 0.0 } else { n as f64 / scanned as f64 });
        let mut columns: Vec<(String, ArrayRef)> = vec![];
        for (i, (name, _)) in self.0.iter().enumerate() {
            let values: Vec<&str> = combinations.iter().map(|c| c[i]).collect();
            columns.push((name.clone(), typed(&values)));
        }
        columns.push(("symbols".to_string(), Arc::new(Int64Array::from(symbols.clone()))));
        columns.push(("matches".to_string(), Arc::new(Int64Array::from(matches.clone()))));
        columns.push(("match_rate".to_string(), Arc::new(rate.collect::<Float64Array>())));
        let fields = columns.iter().map(|(name, c)| Field::new(name, c.data_type().clone(), true)).collect::<Vec<_>>();
        let columns = columns.into_iter().map(|(_, c)| c).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let most = symbols.into_iter().max().unwrap_or_default();
        Ok((batch, (matches.into_iter().sum::<i64>() as u64, most as u64)))
    }
}

/// Values as whole numbers, numbers or texts, whichever fits all.
pub(crate) fn typed(values: &[&str]) -> ArrayRef {
    if let Ok(whole) = values.iter().map(|v| v.parse::<i64>()).collect::<Result<Vec<_>, _>>() {
        return Arc::new(Int64Array::from(whole));
    }
    if let Ok(numbers) = values.iter().map(|v| v.parse::<f64>()).collect::<Result<Vec<_>, _>>() {
        return Arc::new(Float64Array::from(numbers));
    }
    Arc::new(StringArray::from(values.to_vec()))
}

impl Scan {
    /// The counts of every combination, in one row.
    pub(super) async fn swept(&self, session: &Session, from: &Relation) -> Result<(DataFrame, Problems)> {
        if self.rank.is_some() || self.group.is_some() || self.top.is_some() {
            return Err(Error::invalid(
                "a sweep has one row a combination: it takes no rank, group or top".to_string(),
            ));
        }
        let known = self.formula.parameters();
        for (name, _) in &self.sweep.0 {
            if !known.iter().any(|p| p.name == *name) {
                let names: Vec<_> = known.iter().map(|p| format!(":{}", p.name)).collect();
                let has =
                    if names.is_empty() { "it has none".to_string() } else { format!("it has {}", names.join(", ")) };
                return Err(Error::invalid(format!(
                    "the option `sweep` {name}: the formula has no parameter `:{name}`; {has}"
                )));
            }
        }
        let (mut formulas, mut columns): (Vec<Formula>, BTreeSet<String>) = (vec![], BTreeSet::new());
        let mut warnings = None;
        for params in self.sweep.params(&self.params) {
            let one = Scan { params, ..self.clone() };
            let (formula, checked) = one.checked(session, from).await?;
            columns.extend(checked.columns);
            warnings.get_or_insert(checked.warnings);
            formulas.push(formula);
        }
        let Some(warnings) = warnings else { return Err(Error::invalid("an empty sweep".to_string())) };
        let name = |i: usize| format!("{MATCH}{i}");
        let items: Vec<_> =
            formulas.iter().enumerate().map(|(i, f)| format!("{} as \"{}\"", self.condition(f), name(i))).collect();
        let sql = format!("select symbol, ts, {} from {} as candles", items.join(", "), from.sql);
        let frame = self.guarded(session, &sql, from, columns).await?;
        let frame = self.newest(frame, self.oldest(session, from).await?)?;
        let all = 0..formulas.len();
        let hits = all.clone().map(|i| Ok(count(lit(1)).filter(named(&name(i))).build()?.alias(name(i))));
        let frame = frame.aggregate(vec![named("symbol")], hits.collect::<Result<Vec<Expr>>>()?)?;
        let mut totals = vec![];
        for i in all {
            totals.push(sum(named(&name(i))).alias(format!("matches{i}")));
            totals.push(count(lit(1)).filter(named(&name(i)).gt(lit(0))).build()?.alias(format!("symbols{i}")));
        }
        totals.push(count(lit(1)).alias("scanned"));
        Ok((frame.aggregate(vec![], totals)?, warnings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_lists_cross() {
        let mut sweep = Sweep::default();
        sweep.add("period=5..20:5").unwrap();
        sweep.add("k=0.1..0.3:0.1").unwrap();
        assert_eq!(sweep.len(), 12);
        assert_eq!(sweep.combinations()[1], ["5", "0.2"]);
        assert_eq!(sweep.combinations()[11], ["20", "0.3"]);
        for bad in ["period", "x=1..0", "x=1..2:0", "x=a..b", "x=", "k=1", "y=1..100000:0.001"] {
            assert!(sweep.clone().add(bad).is_err(), "{bad}");
        }
    }
}
