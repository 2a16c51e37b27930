//! What must hold for every function of the crate, in any session.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use datafusion_expr::{Documentation, Signature};
use std::sync::Arc;
use tallow_udfs::series::{InputKind, ParamKind, ParamValue, SeriesCall, SeriesFunction, SeriesSignature};
use tallow_udfs::{
    all_aggregate_functions, all_scalar_functions, all_series_functions, all_window_functions, series_function,
};

const BARS: usize = 120;

/// Some series of a kind.
fn series(kind: InputKind) -> ArrayRef {
    let prices = || Float64Array::from_iter_values((0..BARS).map(|i| 100.0 + (i * 7 % 13) as f64));
    match kind {
        InputKind::Number => Arc::new(prices()),
        InputKind::Condition => Arc::new((0..BARS).map(|i| Some(i % 3 > 0)).collect::<BooleanArray>()),
        InputKind::Time => {
            let hours = (0..BARS as i64).map(|i| i * 3_600_000_000);
            Arc::new(TimestampMicrosecondArray::from_iter_values(hours).with_timezone("UTC"))
        }
        InputKind::Levels => one_pair(kind, Arc::new(StringArray::from(vec!["support"; BARS]))),
        InputKind::SmallerBars => one_pair(kind, Arc::new(prices())),
    }
}

/// On every bar a list of one pair.
fn one_pair(kind: InputKind, second: ArrayRef) -> ArrayRef {
    let DataType::List(item) = kind.data_type() else { panic!("{kind:?} is no list") };
    let DataType::Struct(fields) = item.data_type().clone() else { panic!("{kind:?} is no list of structs") };
    let items = StructArray::new(fields, vec![series(InputKind::Number), second], None);
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1; BARS]), Arc::new(items), None))
}

/// The defaults, and every choice of every parameter that has some.
fn variants(signature: &SeriesSignature) -> Vec<Vec<ParamValue>> {
    let defaults = signature.example_params();
    let mut variants = vec![defaults.clone()];
    for (place, param) in signature.params.iter().enumerate() {
        if let ParamKind::Choice(choices) = &param.kind {
            variants.extend(choices.iter().map(|(number, _)| {
                let mut variant = defaults.clone();
                variant[place] = ParamValue::Int(*number);
                // A clock that counts hours asks how many.
                if let Some(timeframe) = signature.params.iter().position(|p| p.name == "timeframe") {
                    variant[timeframe] = ParamValue::Text("1h".to_string());
                }
                variant
            }));
        }
    }
    variants
}

/// A handle that reads another kind than was declared, or a choice without a value, would end the call.
#[test]
fn every_argument_is_read_as_what_it_was_declared() {
    for function in all_series_functions() {
        let signature = function.signature();
        for variant in variants(signature) {
            let call = SeriesCall::try_new(Arc::clone(function), signature.resolve(&variant).unwrap());
            let call = call.unwrap().with_options(vec![true; signature.options.len()]);
            let kinds = signature.inputs.iter().map(|i| i.kind).chain(signature.options.iter().map(|o| o.kind));
            let args: Vec<ArrayRef> = kinds.map(series).collect();
            let result = call.evaluate(&args, BARS).unwrap_or_else(|error| panic!("{}: {error}", signature.name));
            assert_eq!((result.len(), result.data_type()), (BARS, &signature.return_type()), "{}", signature.name);
        }
    }
}

#[test]
fn parameters_of_another_function_are_refused() {
    let [rsi, vwap] = ["rsi", "session_vwap"].map(|name| series_function(name).unwrap());
    let params = rsi.signature().resolve(&[]).unwrap();
    let error = SeriesCall::try_new(Arc::clone(vwap) as Arc<dyn SeriesFunction>, params).unwrap_err();
    assert!(error.to_string().contains("session_vwap: the parameters are not those of its signature"), "{error}");
}

/// What must be said of a function, of whichever kind.
fn check_documentation(name: &str, signature: &Signature, documentation: Option<&Documentation>) {
    let documentation = documentation.unwrap_or_else(|| panic!("{name} has no documentation"));
    assert!(!documentation.doc_section.label.is_empty(), "{name} has no family");
    assert!(!documentation.description.is_empty(), "{name} has no description");
    assert!(documentation.syntax_example.starts_with(&format!("{name}(")), "{name}: {}", documentation.syntax_example);
    let example = documentation.sql_example.as_deref().unwrap_or_default();
    assert!(example.contains(&format!("{name}(")), "{name} has no example: {example}");
    let described = documentation.arguments.iter().flatten();
    assert!(described.clone().all(|(_, text)| text.len() > 3), "{name}: an argument without a meaning");
    let described: Vec<_> = described.map(|(argument, _)| argument).collect();
    for argument in signature.parameter_names.iter().flatten() {
        assert!(described.contains(&argument), "{name} does not say what `{argument}` is");
    }
}

#[test]
fn every_function_is_documented() {
    for window in all_window_functions() {
        check_documentation(window.name(), window.signature(), window.documentation());
    }
    for signature in all_series_functions().iter().map(|f| f.signature()) {
        assert!(signature.params.iter().all(|p| !p.doc.is_empty()), "{}: a parameter without doc", signature.name);
        assert!(signature.options.iter().all(|o| !o.doc.is_empty()), "{}: an option without doc", signature.name);
    }
    // Series functions share a rule for nulls; of the others each has its own.
    let says_null = |documentation: Option<&Documentation>| documentation.unwrap().description.contains("ull");
    for function in all_aggregate_functions() {
        check_documentation(function.name(), function.signature(), function.documentation());
        assert!(function.signature().parameter_names.is_some(), "{} cannot be called by name", function.name());
        assert!(says_null(function.documentation()), "{} does not say what becomes of nulls", function.name());
    }
    for function in all_scalar_functions() {
        check_documentation(function.name(), function.signature(), function.documentation());
        assert!(function.signature().parameter_names.is_some(), "{} cannot be called by name", function.name());
        assert!(says_null(function.documentation()), "{} does not say what becomes of nulls", function.name());
    }
}

#[test]
fn every_parameter_has_a_default_or_an_example() {
    for signature in all_series_functions().iter().map(|f| f.signature()) {
        let params = signature.example_params();
        assert_eq!(params.len(), signature.params.len(), "{}", signature.name);
        assert!(signature.resolve(&params).is_ok(), "{}", signature.usage());
    }
}

#[test]
fn an_example_is_a_call_in_full() {
    let call = |name| series_function(name).unwrap().signature().example_call();
    assert_eq!(call("rsi"), "rsi(close, 14)");
    assert_eq!(call("sma"), "sma(close, 20)");
    assert_eq!(call("crosses_above"), "crosses_above(close, open)");
    assert_eq!(call("bars_since"), "bars_since(close > open)");
    assert_eq!(call("sample_weights"), "sample_weights(close, 1, 10)");
    let levels = "[named_struct('price', low, 'type', 'support')]";
    assert_eq!(call("level_labels"), format!("level_labels(high, low, close, 6, 1, 14, 'bars', '', {levels})"));
}
