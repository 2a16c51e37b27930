//! The operators of this floor that are not made of [nodes](crate::node).

use crate::asof::AsofExec;
use crate::node;
use crate::series_exec::{KeptRows, Reads, SeriesExec};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::Operator;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::windows::WindowAggExec;
use prost::Message;
use std::sync::Arc;
use tallow_common::codec::{Decoding, Encoding, OperatorKind, read};

/// How they are written and read.
pub(super) const OPERATORS: [OperatorKind; 2] = [
    OperatorKind { name: "SeriesExec", encode: encode_series, decode: decode_series },
    OperatorKind { name: "AsofExec", encode: encode_asof, decode: decode_asof },
];

/// Series: DataFusion's window operator without an input, and what is read of the results.
#[derive(Clone, PartialEq, prost::Message)]
struct Series {
    #[prost(bytes = "vec", tag = "1")]
    window: Vec<u8>,
    /// Fields, per window expression.
    #[prost(bytes = "vec", tag = "2")]
    reads: Vec<u8>,
    /// The condition of the rows that are kept above.
    #[prost(bytes = "vec", optional, tag = "3")]
    rows: Option<Vec<u8>>,
    /// Whether other rows need not be there.
    #[prost(bool, tag = "4")]
    only: bool,
}

fn encode_series(plan: &dyn ExecutionPlan, encoding: &Encoding<'_>) -> Result<Option<Vec<u8>>> {
    let Some(series) = plan.downcast_ref::<SeriesExec>() else { return Ok(None) };
    let nothing = Arc::new(EmptyExec::new(series.input().schema()));
    let window = WindowAggExec::try_new(series.window_expr().to_vec(), nothing, true)?;
    let window = encoding.plan(&(Arc::new(window) as Arc<dyn ExecutionPlan>))?;
    let only = series.rows().is_some_and(|rows| rows.only);
    let rows = series.rows().map(|rows| encoding.expr(&rows.condition)).transpose()?;
    Ok(Some(Series { window, reads: node::to_spec(&series.reads())?, rows, only }.encode_to_vec()))
}

fn decode_series(
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    decoding: &Decoding<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Series { window, reads, rows, only } = read(bytes)?;
    let reads: Vec<Reads> = node::from_spec(&reads)?;
    let (plan, [input]) = (decoding.plan(&window)?, inputs) else {
        return internal_err!("a series operator has one input, not {}", inputs.len());
    };
    let Some(window) = plan.downcast_ref::<WindowAggExec>() else {
        return internal_err!("a series operator is written as a window operator, not as {}", plan.name());
    };
    let condition = rows.map(|rows| decoding.expr(&rows, input)).transpose()?;
    let rows = condition.map(|condition| KeptRows { condition, only });
    Ok(Arc::new(SeriesExec::try_new(window.window_expr().to_vec(), Arc::clone(input))?.with_reads(&reads, rows)))
}

/// An as-of join: its pairs of equal keys, and the condition of the nearest row.
#[derive(Clone, PartialEq, prost::Message)]
struct Asof {
    #[prost(bytes = "vec", repeated, tag = "1")]
    left_keys: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    right_keys: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "3")]
    left: Vec<u8>,
    #[prost(string, tag = "4")]
    operator: String,
    #[prost(bytes = "vec", tag = "5")]
    right: Vec<u8>,
}

/// The comparisons that an as-of join knows.
const COMPARISONS: [Operator; 4] = [Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq];

fn encode_asof(plan: &dyn ExecutionPlan, encoding: &Encoding<'_>) -> Result<Option<Vec<u8>>> {
    let Some(join) = plan.downcast_ref::<AsofExec>() else { return Ok(None) };
    let (left, operator, right) = join.matching();
    let keys = join.on().iter().map(|(l, r)| Ok((encoding.expr(l)?, encoding.expr(r)?)));
    let (left_keys, right_keys) = keys.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let (left, right) = (encoding.expr(left)?, encoding.expr(right)?);
    Ok(Some(Asof { left_keys, right_keys, left, operator: operator.to_string(), right }.encode_to_vec()))
}

fn decode_asof(
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    decoding: &Decoding<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let [left_input, right_input] = inputs else {
        return internal_err!("an as-of join has two inputs, not {}", inputs.len());
    };
    let Asof { left_keys, right_keys, left, operator, right } = read(bytes)?;
    let Some(operator) = COMPARISONS.into_iter().find(|known| known.to_string() == operator) else {
        return plan_err!("an as-of join by `{operator}`: another build of tallow wrote this plan");
    };
    let keys = left_keys.iter().zip(&right_keys);
    let on = keys.map(|(l, r)| Ok((decoding.expr(l, left_input)?, decoding.expr(r, right_input)?)));
    let on = on.collect::<Result<Vec<_>>>()?;
    let matching = (decoding.expr(&left, left_input)?, operator, decoding.expr(&right, right_input)?);
    Ok(Arc::new(AsofExec::try_new(Arc::clone(left_input), Arc::clone(right_input), on, matching)?))
}
