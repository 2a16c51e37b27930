//! Aggregates over the rows of one symbol whose results are lists.

use crate::described::Described;
use crate::list::{list_of, list_value};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StructArray};
use arrow::compute::{SortColumn, SortOptions, concat, lexsort_to_indices, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature};
use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

/// What makes a list of the rows of a symbol.
pub(super) trait ToList: Debug + PartialEq + Eq + Hash + Send + Sync + 'static {
    const NAME: &'static str;

    fn described() -> Described<'static>;

    /// The arguments as they are computed with; the first is the time.
    fn arguments() -> Fields;

    /// The fields of the structs in the list.
    fn item() -> Fields;

    /// What rows of the same time are ordered by.
    fn rank(_rows: &StructArray) -> Option<ArrayRef> {
        None
    }

    /// Makes the items of the rows, which come as columns in time order.
    fn compute(rows: &[ArrayRef]) -> Result<StructArray>;
}

/// Nullable fields.
pub(super) fn fields<const N: usize>(of: [(&str, DataType); N]) -> Fields {
    of.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec().into()
}

/// An aggregate over one symbol. The order of the rows does not matter; all of them are held until the symbol is complete.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ListAggregate<T> {
    signature: Signature,
    documentation: Documentation,
    of: PhantomData<T>,
}

impl<T: ToList> ListAggregate<T> {
    pub fn new() -> Self {
        let described = T::described();
        Self { signature: described.signature(), documentation: described.documentation(), of: PhantomData }
    }
}

impl<T: ToList> AggregateUDFImpl for ListAggregate<T> {
    fn name(&self) -> &str {
        T::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let arguments = T::arguments();
        if arg_types.len() != arguments.len() {
            let usage = &self.documentation.syntax_example;
            return plan_err!("{} takes {} arguments, not {}: {usage}", self.name(), arguments.len(), arg_types.len());
        }
        Ok(arguments.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(list_of(DataType::Struct(T::item())))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let rows = list_of(DataType::Struct(T::arguments()));
        Ok(vec![Arc::new(Field::new(format!("{}[rows]", args.name), rows, true))])
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Rows::<T> { batches: vec![], bytes: 0, of: PhantomData }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The arguments of one group, as they came.
#[derive(Debug)]
struct Rows<T> {
    batches: Vec<StructArray>,
    bytes: usize,
    of: PhantomData<T>,
}

impl<T: ToList> Rows<T> {
    /// Keeps a copy: a slice would keep, and count, the whole batch that it was cut from.
    fn push(&mut self, rows: &StructArray) -> Result<()> {
        let copy = take(rows, &Int64Array::from_iter_values(0..rows.len() as i64), None)?;
        self.bytes += copy.get_array_memory_size();
        self.batches.push(copy.as_struct().clone());
        Ok(())
    }

    /// All rows as one struct array.
    fn all(&self) -> Result<ArrayRef> {
        let batches: Vec<&dyn Array> = self.batches.iter().map(|batch| batch as &dyn Array).collect();
        match batches.as_slice() {
            [] => Ok(arrow::array::new_empty_array(&DataType::Struct(T::arguments()))),
            batches => Ok(concat(batches)?),
        }
    }
}

impl<T: ToList> Accumulator for Rows<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.push(&StructArray::try_new(T::arguments(), values.to_vec(), None)?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let wrong = || internal_datafusion_err!("the state of {} is a list of rows", T::NAME);
        let lists = states.first().and_then(|s| s.as_list_opt::<i32>()).ok_or_else(wrong)?;
        for rows in lists.iter().flatten() {
            self.push(rows.as_struct_opt().ok_or_else(wrong)?)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![list_value(self.all()?)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let all = self.all()?;
        let rows = all.as_struct();
        let keys = std::iter::once(Arc::clone(rows.column(0))).chain(T::rank(rows));
        let options = Some(SortOptions { descending: false, nulls_first: false });
        let keys: Vec<_> = keys.map(|values| SortColumn { values, options }).collect();
        let order = lexsort_to_indices(&keys, None)?;
        let sorted = rows.columns().iter().map(|c| take(c, &order, None)).collect::<Result<Vec<_>, _>>()?;
        let items = T::compute(&sorted)?;
        self.batches.clear();
        self.bytes = 0;
        Ok(list_value(Arc::new(items)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes
    }
}
