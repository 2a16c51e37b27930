//! `predict('model', features...)`.

use super::{FEATURES, Model, Models};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_datafusion_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use tallow_common::codec::FunctionKind;

/// What a model makes of features: a struct with a field for each of its targets.
#[derive(Debug)]
pub(crate) struct Predict {
    models: Arc<Models>,
    signature: Signature,
    documentation: Documentation,
}

const USAGE: &str = "predict('a model', score, price_distance, ...)";

impl Predict {
    /// With the models that the session has read by then.
    pub const KIND: FunctionKind = FunctionKind {
        name: "predict",
        encode: |function| match function.inner().downcast_ref::<Predict>() {
            Some(predict) => Ok(predict.models.encode()),
            None => internal_err!("another function is called predict"),
        },
        decode: |bytes| Ok(ScalarUDF::from(Predict::new(Arc::new(Models::decode(bytes)?)))),
    };

    pub fn new(models: Arc<Models>) -> Predict {
        let section = DocSection { include: true, label: "Similarity", description: None };
        let doc = format!(
            "What a model makes of features, such as those of the query match_features, in this order: {}. A struct with a \
             field for each target; the model 'heuristic' needs no training and answers as a random walk would",
            FEATURES.join(", ")
        );
        let documentation = Documentation::builder(section, doc, USAGE).build();
        // What a name stands for can change between two runs.
        Predict { models, signature: Signature::user_defined(Volatility::Stable), documentation }
    }

    fn model(&self, name: Option<&ScalarValue>) -> Result<Arc<Model>> {
        let Some(Some(name)) = name.and_then(|n| n.try_as_str()) else {
            return plan_err!("the first argument of predict must be the name of a model: {USAGE}");
        };
        match self.models.get(name) {
            Some(model) => Ok(model),
            None => plan_err!("the model `{name}` is not loaded"),
        }
    }
}

impl PartialEq for Predict {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.models, &other.models) || self.models.encode() == other.models.encode()
    }
}

impl Eq for Predict {}

impl Hash for Predict {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A session reads models while it goes on; what is equal must not be told apart by when it was asked.
        USAGE.hash(state);
    }
}

fn fields(model: &Model) -> Fields {
    model.targets().into_iter().map(|name| Field::new(name, DataType::Float64, true)).collect::<Vec<_>>().into()
}

impl ScalarUDFImpl for Predict {
    fn name(&self) -> &str {
        "predict"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let Some((name, features)) = given.split_first() else { return plan_err!("predict needs a model: {USAGE}") };
        if !name.is_string() {
            return plan_err!("the first argument of predict is {name}, expected the name of a model: {USAGE}");
        }
        if let Some(other) = features.iter().find(|f| !f.is_numeric() && !f.is_null() && **f != DataType::Boolean) {
            return plan_err!("a feature of predict is {other}, expected a number: {USAGE}");
        }
        Ok(std::iter::once(DataType::Utf8).chain(features.iter().map(|_| DataType::Float64)).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("predict tells its type by its model")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let model = self.model(args.scalar_arguments.first().copied().flatten())?;
        let given = args.arg_fields.len() - 1;
        if given != model.inputs() {
            let names =
                if model.inputs() == FEATURES.len() { format!(": {}", FEATURES.join(", ")) } else { String::new() };
            return plan_err!("predict got {given} features, the model takes {}{names}", model.inputs());
        }
        Ok(Arc::new(Field::new("predict", DataType::Struct(fields(&model)), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let name = match args.args.first() {
            Some(ColumnarValue::Scalar(name)) => name.clone(),
            Some(ColumnarValue::Array(names)) if !names.is_empty() => ScalarValue::try_from_array(names, 0)?,
            _ => return internal_err!("predict without a model"),
        };
        let model = self.model(Some(&name))?;
        let mut features = Vec::with_capacity((args.args.len() - 1) * rows);
        for argument in &args.args[1..] {
            let array = cast(&argument.to_array(rows)?, &DataType::Float64)?;
            let values = array.as_primitive_opt::<Float64Type>();
            let values = values.ok_or_else(|| internal_datafusion_err!("features are numbers"))?;
            features.extend((0..rows).map(|row| if values.is_valid(row) { values.value(row) } else { f64::NAN }));
        }
        let targets = model.predict(&features, rows).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let column = |values: Vec<f64>| -> ArrayRef {
            Arc::new(values.into_iter().map(|v| v.is_finite().then_some(v)).collect::<Float64Array>())
        };
        let columns = targets.into_iter().map(column).collect();
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(fields(&model), columns, None)?)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
