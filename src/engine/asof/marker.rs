//! The condition by which a left join is known for an as-of join until the analyzer sees it.

use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// Name of the marking function, which takes the match condition.
pub const MATCH: &str = "asof_match";

/// A function that only stands in plans before analysis.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Marker {
    signature: Signature,
}

impl Default for Marker {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        MATCH
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("{MATCH} stands for the MATCH_CONDITION of an ASOF JOIN and cannot be called")
    }
}
