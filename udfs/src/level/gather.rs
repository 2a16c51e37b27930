//! Aggregates over the bars or events of one symbol whose results are lists: `level_events`, `level_states`, `bar_list`.

use super::detect::{LevelRules, detect};
use crate::list::{list_of, list_value};
use crate::series::InputKind;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortColumn, SortOptions};
use arrow::compute::{concat, lexsort_to_indices, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDFImpl, DocSection, Documentation, Signature, Volatility};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which of the aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GatherKind {
    /// `level_events(close_time, high, low, close, k, cluster, max_age)`: what happens to the levels of a symbol.
    Events,
    /// `level_states(ts, level_id, price, event)`: which levels are active from each event on.
    States,
    /// `bar_list(ts, high, low)`: the bars themselves.
    Bars,
}

/// An aggregate over one symbol. The order of the rows does not matter; all of them are held until the symbol is complete.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    kind: GatherKind,
    signature: Signature,
    documentation: Documentation,
}

fn fields(of: &[(&str, DataType)]) -> Fields {
    of.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect::<Vec<_>>().into()
}

/// `list<struct{price, type}>`
fn levels_type() -> DataType {
    list_of(DataType::Struct(fields(&[("price", DataType::Float64), ("type", DataType::Utf8)])))
}

impl GatherKind {
    fn arguments(self) -> Vec<(&'static str, DataType)> {
        let number = DataType::Float64;
        match self {
            GatherKind::Events => vec![
                ("close_time", InputKind::Time.data_type()),
                ("high", number.clone()),
                ("low", number.clone()),
                ("close", number.clone()),
                ("k", DataType::Int64),
                ("cluster", number),
                ("max_age", DataType::Int64),
            ],
            GatherKind::States => {
                vec![
                    ("ts", InputKind::Time.data_type()),
                    ("level_id", DataType::Utf8),
                    ("price", number),
                    ("event", DataType::Utf8),
                ]
            }
            GatherKind::Bars => vec![("ts", InputKind::Time.data_type()), ("high", number.clone()), ("low", number)],
        }
    }

    fn item(self) -> Fields {
        match self {
            GatherKind::Events => fields(&[
                ("level", DataType::Int64),
                ("ts", InputKind::Time.data_type()),
                ("event", DataType::Utf8),
                ("price", DataType::Float64),
            ]),
            GatherKind::States => fields(&[("ts", InputKind::Time.data_type()), ("levels", levels_type())]),
            GatherKind::Bars => fields(&[("high", DataType::Float64), ("low", DataType::Float64)]),
        }
    }

    fn compute(self, rows: &[ArrayRef]) -> Result<StructArray> {
        match self {
            GatherKind::Events => events(rows),
            GatherKind::States => states(rows),
            GatherKind::Bars => Ok(StructArray::try_new(self.item(), rows[1..].to_vec(), None)?),
        }
    }
}

impl Gather {
    /// The aggregate of a kind.
    pub fn new(kind: GatherKind) -> Self {
        let names: Vec<_> = kind.arguments().into_iter().map(|(name, _)| name).collect();
        let (name, doc) = match kind {
            GatherKind::Events => (
                "level_events",
                "Support and resistance levels of one symbol: a list of struct{level, ts, event, price}. Swing pivots of k bars \
                 on each side become levels when they are confirmed, unless one lies within `cluster` average true ranges; events \
                 are NEW, TOUCH, BREAK, FLIP_TO and DEACTIVATE, each with _SUPPORT or _RESISTANCE",
            ),
            GatherKind::States => (
                "level_states",
                "The levels of one symbol that are active from each event on: a list of struct{ts, levels}, where levels is a \
                 list of struct{price, type}",
            ),
            GatherKind::Bars => (
                "bar_list",
                "The highs and lows of bars in time order: a list of struct{high, low}, for tie => 'refine'",
            ),
        };
        let section = DocSection { include: true, label: "Levels", description: None };
        let documentation = Documentation::builder(section, doc, format!("{name}({})", names.join(", "))).build();
        let signature = Signature::user_defined(Volatility::Immutable);
        let signature = signature.clone().with_parameter_names(names).unwrap_or(signature);
        Self { kind, signature, documentation }
    }
}

impl AggregateUDFImpl for Gather {
    fn name(&self) -> &str {
        match self.kind {
            GatherKind::Events => "level_events",
            GatherKind::States => "level_states",
            GatherKind::Bars => "bar_list",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let arguments = self.kind.arguments();
        if arg_types.len() != arguments.len() {
            let usage = &self.documentation.syntax_example;
            return plan_err!("{} takes {} arguments, not {}: {usage}", self.name(), arguments.len(), arg_types.len());
        }
        Ok(arguments.into_iter().map(|(_, data_type)| data_type).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(list_of(DataType::Struct(self.kind.item())))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let rows = list_of(DataType::Struct(fields(&self.kind.arguments())));
        Ok(vec![Arc::new(Field::new(format!("{}[rows]", args.name), rows, true))])
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Gathered { kind: self.kind, rows: vec![], bytes: 0 }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The arguments of one group, as they came.
#[derive(Debug)]
struct Gathered {
    kind: GatherKind,
    rows: Vec<StructArray>,
    bytes: usize,
}

impl Gathered {
    /// Keeps a copy: a slice would keep, and count, the whole batch that it was cut from.
    fn push(&mut self, rows: &StructArray) -> Result<()> {
        let copy = take(rows, &Int64Array::from_iter_values(0..rows.len() as i64), None)?;
        self.bytes += copy.get_array_memory_size();
        self.rows.push(copy.as_struct().clone());
        Ok(())
    }

    /// All rows as one struct array.
    fn whole(&self) -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = self.rows.iter().map(|r| r as &dyn Array).collect();
        match parts.as_slice() {
            [] => Ok(arrow::array::new_empty_array(&DataType::Struct(fields(&self.kind.arguments())))),
            parts => Ok(concat(parts)?),
        }
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.push(&StructArray::try_new(fields(&self.kind.arguments()), values.to_vec(), None)?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let wrong = || internal_datafusion_err!("the state of a gathering aggregate is a list of rows");
        let lists = states.first().and_then(|s| s.as_list_opt::<i32>()).ok_or_else(wrong)?;
        for rows in lists.iter().flatten() {
            self.push(rows.as_struct_opt().ok_or_else(wrong)?)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![list_value(self.whole()?)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let whole = self.whole()?;
        let rows = whole.as_struct();
        // In time order; within an instant, levels are made before they flip, and flip before they end.
        let mut keys = vec![Arc::clone(rows.column(0))];
        if self.kind == GatherKind::States {
            let rank = |event: Option<&str>| match event.unwrap_or_default() {
                e if e.starts_with("NEW") => 0,
                e if e.starts_with("DEACTIVATE") => 2,
                _ => 1,
            };
            keys.push(Arc::new(
                rows.column(3).as_string::<i32>().iter().map(|e| Some(rank(e))).collect::<Int64Array>(),
            ));
        }
        let options = SortOptions { descending: false, nulls_first: false };
        let keys: Vec<_> = keys.into_iter().map(|values| SortColumn { values, options: Some(options) }).collect();
        let order = lexsort_to_indices(&keys, None)?;
        let sorted = rows.columns().iter().map(|c| take(c, &order, None)).collect::<Result<Vec<_>, _>>()?;
        let items = self.kind.compute(&sorted)?;
        self.rows.clear();
        self.bytes = 0;
        Ok(list_value(Arc::new(items)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes
    }
}

/// What happens to the levels of a symbol.
fn events(rows: &[ArrayRef]) -> Result<StructArray> {
    let number = |i: usize| rows[i].as_primitive::<Float64Type>();
    let whole = |i: usize| Some(rows[i].as_primitive::<Int64Type>()).filter(|a| !a.is_empty()).map(|a| a.value(0));
    // Bars without a price are passed over.
    let valid: Vec<usize> = (0..rows[0].len())
        .filter(|&i| rows[..4].iter().all(|c| c.is_valid(i)) && (1..4).all(|c| number(c).value(i).is_finite()))
        .collect();
    let column = |i: usize| valid.iter().map(|&row| number(i).value(row)).collect::<Vec<f64>>();
    let times = rows[0].as_primitive::<TimestampMicrosecondType>();
    let positive = |name: &str, value: Option<i64>| match value.unwrap_or(1) {
        v @ 1..=10_000 => Ok(v as usize),
        v => plan_err!("`{name}` of level_events is {v}, expected a whole number from 1 to 10000"),
    };
    let cluster = number(5);
    let rules = LevelRules {
        k: positive("k", whole(4))?,
        cluster: if cluster.is_empty() { 0.0 } else { cluster.value(0) },
        max_age: positive("max_age", whole(6))?,
    };
    if rules.cluster.is_nan() || rules.cluster < 0.0 {
        return plan_err!("`cluster` of level_events is {}, expected a number from 0 up", rules.cluster);
    }
    let found = detect(&column(1), &column(2), &column(3), &rules);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(found.iter().map(|e| e.level).collect::<Int64Array>()),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(found.iter().map(|e| times.value(valid[e.bar])))
                .with_timezone("UTC"),
        ),
        Arc::new(found.iter().map(|e| Some(e.to_string())).collect::<StringArray>()),
        Arc::new(found.iter().map(|e| e.price).collect::<Float64Array>()),
    ];
    let batch = StructArray::try_new(GatherKind::Events.item(), columns, None)?;
    Ok(batch)
}

/// Which levels are active from each event on.
fn states(rows: &[ArrayRef]) -> Result<StructArray> {
    let times = rows[0].as_primitive::<TimestampMicrosecondType>();
    let (ids, events) = (rows[1].as_string::<i32>(), rows[3].as_string::<i32>());
    let prices = rows[2].as_primitive::<Float64Type>();
    // By price and name, so that the lists are in the order of prices.
    let mut active: BTreeMap<&str, (f64, bool)> = BTreeMap::new();
    let mut at: Vec<i64> = vec![];
    let mut lengths: Vec<usize> = vec![];
    let (mut level_prices, mut level_types): (Vec<f64>, Vec<&str>) = (vec![], vec![]);
    let changes = |event: &str| ["NEW", "FLIP", "DEACTIVATE"].iter().any(|what| event.starts_with(what));
    let rows: Vec<usize> = (0..times.len())
        .filter(|&i| times.is_valid(i) && ids.is_valid(i) && events.is_valid(i) && changes(events.value(i)))
        .collect();
    for (n, &row) in rows.iter().enumerate() {
        let (id, event) = (ids.value(row), events.value(row));
        let side = event.contains("RESISTANCE");
        let known_side = side || event.contains("SUPPORT");
        if event.starts_with("NEW") {
            if prices.is_valid(row) {
                active.insert(id, (prices.value(row), side));
            }
        } else if event.starts_with("FLIP") {
            if let Some(level) = active.get_mut(id) {
                level.1 = if known_side { side } else { !level.1 };
            }
        } else {
            active.remove(id);
        }
        let next = rows.get(n + 1).map(|&next| times.value(next));
        if next != Some(times.value(row)) {
            let mut now: Vec<(f64, bool)> = active.values().copied().collect();
            now.sort_by(|a, b| a.0.total_cmp(&b.0));
            at.push(times.value(row));
            lengths.push(now.len());
            level_prices.extend(now.iter().map(|l| l.0));
            level_types.extend(now.iter().map(|l| if l.1 { "resistance" } else { "support" }));
        }
    }
    let levels = match levels_type() {
        DataType::List(item) => {
            let DataType::Struct(of) = item.data_type().clone() else { return plan_err!("levels are structs") };
            let columns: Vec<ArrayRef> =
                vec![Arc::new(Float64Array::from(level_prices)), Arc::new(StringArray::from(level_types))];
            let items = StructArray::try_new(of, columns, None)?;
            ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(items), None)?
        }
        other => return plan_err!("levels are lists, not {other}"),
    };
    let ts = TimestampMicrosecondArray::from(at).with_timezone("UTC");
    Ok(StructArray::try_new(GatherKind::States.item(), vec![Arc::new(ts), Arc::new(levels)], None)?)
}
