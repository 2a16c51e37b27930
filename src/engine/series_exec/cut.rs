//! Where one series ends and the next begins.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{concat, partition, take};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{Result, ScalarValue, exec_err};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;

/// The series of a batch.
#[derive(Debug, PartialEq)]
pub struct Cut {
    /// Whether the first range continues the series that the batch before ended in.
    pub continues: bool,
    /// Row ranges, one per series, covering the batch.
    pub ranges: Vec<Range<usize>>,
}

/// Cuts batches at series borders and checks that no series comes back.
#[derive(Debug, Default)]
pub struct Cutter {
    /// Keys of the last row seen, as arrays of length one.
    last: Option<Vec<ArrayRef>>,
    direction: Option<Ordering>,
    /// Keys seen, kept only where there are several key columns and so no single direction.
    seen: HashSet<Vec<ScalarValue>>,
}

impl Cutter {
    /// Cuts the next batch, given its key columns; `rows` is more than zero.
    pub fn next(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Cut> {
        let ranges = match keys {
            [only] => one_key(only)?,
            several => partition(several)?.ranges(),
        };
        let continues = match &self.last {
            Some(last) => same_row(last, keys)?,
            None => false,
        };
        for (i, range) in ranges.iter().enumerate() {
            if i > 0 || !continues {
                let before = if i > 0 { Some(key_at(keys, range.start - 1)?) } else { self.last_key()? };
                self.begins(before, key_at(keys, range.start)?)?;
            }
        }
        let last_row = UInt32Array::from(vec![(rows - 1) as u32]);
        self.last = Some(keys.iter().map(|k| take(k, &last_row, None)).collect::<Result<_, _>>()?);
        Ok(Cut { continues, ranges })
    }

    fn last_key(&self) -> Result<Option<Vec<ScalarValue>>> {
        self.last.as_deref().map(|keys| key_at(keys, 0)).transpose()
    }

    fn begins(&mut self, before: Option<Vec<ScalarValue>>, key: Vec<ScalarValue>) -> Result<()> {
        let [only] = key.as_slice() else {
            let shown = show_key(&key);
            return if self.seen.insert(key) { Ok(()) } else { came_back(&shown) };
        };
        let Some(before) = before.as_ref().and_then(|b| b.first()) else { return Ok(()) };
        // A null key stands before or after all others; whichever it is, it comes once.
        if only.is_null() || before.is_null() {
            let key = vec![only.clone()];
            return if !only.is_null() || self.seen.insert(key) { Ok(()) } else { came_back("null") };
        }
        let direction = only.partial_cmp(before).filter(|d| d.is_ne());
        match (direction, self.direction) {
            (Some(now), None) => self.direction = Some(now),
            (Some(now), Some(so_far)) if now == so_far => {}
            _ => {
                return exec_err!(
                    "series {only} follows {before}, against the order of the series before: the input is not sorted as \
                     it was declared"
                );
            }
        }
        Ok(())
    }
}

/// The ranges of equal values of one column. Short texts, which symbols mostly are, lie inside of their views: equal views
/// are equal texts, and comparing them is much cheaper than comparing texts.
fn one_key(column: &ArrayRef) -> Result<Vec<Range<usize>>> {
    let texts = match column.as_string_view_opt() {
        Some(texts) if texts.null_count() == 0 && !texts.is_empty() => texts,
        _ => return Ok(partition(std::slice::from_ref(column))?.ranges()),
    };
    let (mut ranges, mut start) = (vec![], 0);
    for (i, pair) in texts.views().windows(2).enumerate() {
        if pair[0] != pair[1] && texts.value(i) != texts.value(i + 1) {
            ranges.push(start..i + 1);
            start = i + 1;
        }
    }
    ranges.push(start..texts.len());
    Ok(ranges)
}

fn came_back<T>(key: &str) -> Result<T> {
    exec_err!("series {key} comes back after another one: the input is not sorted as it was declared")
}

/// The keys of a row, for messages.
pub fn show_key(key: &[ScalarValue]) -> String {
    key.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// A value as people write it: times as dates.
fn show(value: &ScalarValue) -> String {
    let format = FormatOptions::default().with_null("null");
    let format =
        format.with_timestamp_format(Some("%Y-%m-%d %H:%M:%S")).with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S"));
    let array = value.to_array();
    let text = array.as_ref().ok().and_then(|a| Some(ArrayFormatter::try_new(a, &format).ok()?.value(0).to_string()));
    text.map_or_else(|| value.to_string(), |t| t.trim_end_matches(" 00:00:00").to_string())
}

/// The keys of a row.
pub fn key_at(keys: &[ArrayRef], row: usize) -> Result<Vec<ScalarValue>> {
    keys.iter().map(|k| ScalarValue::try_from_array(k, row)).collect()
}

fn same_row(last: &[ArrayRef], keys: &[ArrayRef]) -> Result<bool> {
    for (last, key) in last.iter().zip(keys) {
        let pair = concat(&[last.as_ref(), key.slice(0, 1).as_ref()])?;
        if partition(&[pair])?.len() > 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringViewArray;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn keys(names: &[&str]) -> Vec<ArrayRef> {
        vec![Arc::new(StringViewArray::from_iter_values(names)) as ArrayRef]
    }

    #[test]
    fn a_series_goes_on_over_a_batch_border() {
        let mut cutter = Cutter::default();
        assert_eq!(
            cutter.next(&keys(&["A", "A", "B"]), 3).unwrap(),
            Cut { continues: false, ranges: vec![0..2, 2..3] }
        );
        assert_eq!(cutter.next(&keys(&["B", "C"]), 2).unwrap(), Cut { continues: true, ranges: vec![0..1, 1..2] });
        assert_eq!(cutter.next(&keys(&["D"]), 1).unwrap(), Cut { continues: false, ranges: vec![0..1] });
    }

    #[test]
    fn a_series_that_comes_back_is_an_error() {
        let mut cutter = Cutter::default();
        cutter.next(&keys(&["A", "B"]), 2).unwrap();
        let message = cutter.next(&keys(&["A"]), 1).unwrap_err().to_string();
        assert!(message.contains("series A follows B"), "{message}");
    }

    #[test]
    fn descending_symbols_are_fine_as_long_as_they_stay_so() {
        let mut cutter = Cutter::default();
        cutter.next(&keys(&["C", "B"]), 2).unwrap();
        cutter.next(&keys(&["A"]), 1).unwrap();
        assert!(cutter.next(&keys(&["B"]), 1).is_err());
    }

    #[test]
    fn several_keys_are_remembered() {
        let two = |a: &[&str], b: &[&str]| [keys(a), keys(b)].concat();
        let mut cutter = Cutter::default();
        cutter.next(&two(&["X", "X"], &["A", "B"]), 2).unwrap();
        cutter.next(&two(&["Y"], &["A"]), 1).unwrap();
        assert!(cutter.next(&two(&["X"], &["B"]), 1).unwrap_err().to_string().contains("comes back"));
    }

    proptest! {
        #[test]
        fn any_batch_cut_gives_the_same_series(lengths in prop::collection::vec(1usize..6, 1..8), size in 1usize..9) {
            let names: Vec<String> = lengths.iter().enumerate().flat_map(|(i, n)| vec![format!("S{i}"); *n]).collect();
            let mut cutter = Cutter::default();
            let mut found: Vec<usize> = vec![];
            for batch in names.chunks(size) {
                let refs: Vec<&str> = batch.iter().map(String::as_str).collect();
                let cut = cutter.next(&keys(&refs), refs.len()).unwrap();
                for (i, range) in cut.ranges.iter().enumerate() {
                    match found.last_mut() {
                        Some(last) if i == 0 && cut.continues => *last += range.len(),
                        _ => found.push(range.len()),
                    }
                }
            }
            prop_assert_eq!(found, lengths);
        }
    }
}
