//! Every function as data: as `system.functions` shows it.

use datafusion::logical_expr::{Documentation, ScalarUDFImpl, WindowUDFImpl};
use serde::Serialize;
use std::sync::Arc;
use tallow_engine::dialect::CROSS_SECTIONS;
use tallow_udfs::rolling::LagBars;
use tallow_udfs::series::SeriesFunction;

/// A function for people and programs.
#[derive(Debug, Clone, Serialize)]
pub struct FunctionDoc {
    /// The SQL name.
    pub name: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// `series`, `aggregate`, `scalar`, `table` or `cross-section`, a value's place among those of all symbols at one time.
    pub kind: &'static str,
    /// The family it is listed under.
    pub family: String,
    /// The call, with defaults.
    pub usage: String,
    /// What it returns.
    pub returns: String,
    /// Bars it looks back with its defaults, or with the example of a parameter that has none; `all` for the whole history.
    pub reach_back: Option<String>,
    /// Bars it looks ahead.
    pub reach_ahead: Option<String>,
    /// Parameters of series functions.
    pub params: Vec<ParamDoc>,
    /// Series that may be given besides, by name.
    pub options: Vec<OptionDoc>,
    /// One sentence.
    pub doc: String,
    /// Where the definition comes from.
    pub source: String,
}

/// A parameter.
#[derive(Debug, Clone, Serialize)]
pub struct ParamDoc {
    /// Its name.
    pub name: String,
    /// Its default; `None`: it must be given.
    pub default: Option<String>,
    /// What it may be.
    pub expected: String,
    /// One line.
    pub doc: String,
}

/// An optional series.
#[derive(Debug, Clone, Serialize)]
pub struct OptionDoc {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub holds: String,
    /// One line.
    pub doc: String,
}

/// All functions that tallow adds, by family and name.
pub fn describe_all() -> Vec<FunctionDoc> {
    describe_with(&[])
}

/// As [`describe_all`], with series functions of the user's own.
pub(crate) fn describe_with(own: &[Arc<dyn SeriesFunction>]) -> Vec<FunctionDoc> {
    let series = tallow_udfs::all_series_functions().iter().chain(own);
    let mut all: Vec<FunctionDoc> = series.map(|f| describe_series(f.as_ref())).collect();
    for function in tallow_udfs::all_window_functions() {
        all.extend(function.inner().downcast_ref::<LagBars>().map(describe_shift));
    }
    for function in tallow_udfs::all_aggregate_functions() {
        let doc = function.documentation().cloned();
        let returns = function.return_type(&[]).map_or_else(|_| String::new(), |t| sql_type(&t));
        all.push(describe_plain(function.name(), "aggregate", &returns, doc));
    }
    for (name, usage, doc) in CROSS_SECTIONS {
        all.push(FunctionDoc {
            name: name.to_string(),
            aliases: vec![],
            kind: "cross-section",
            family: "All Symbols".to_string(),
            usage: usage.to_string(),
            returns: if name == "top" { "BOOLEAN" } else { "DOUBLE" }.to_string(),
            reach_back: Some("0".to_string()),
            reach_ahead: Some("0".to_string()),
            params: vec![],
            options: vec![],
            doc: doc.to_string(),
            source: String::new(),
        });
    }
    for function in tallow_udfs::all_scalar_functions() {
        let doc = function.documentation().cloned();
        let returns = function.return_type(&[]).map_or_else(|_| String::new(), |t| sql_type(&t));
        all.push(describe_plain(function.name(), "scalar", &returns, doc));
    }
    #[cfg(feature = "score")]
    {
        let predict = super::score::Predict::new(Arc::new(super::score::Models::new(0)));
        all.push(describe_plain("predict", "scalar", "struct", predict.documentation().cloned()));
    }
    let in_range = super::in_range::InRange::default();
    all.push(describe_plain(in_range.name(), "scalar", "boolean", in_range.documentation().cloned()));
    for function in super::table_functions::ALL {
        let (family, usage, doc) = ("Table Functions", function.usage(), function.doc());
        let plain = describe_plain(function.name(), "table", "table", None);
        all.push(FunctionDoc { family: family.into(), usage: usage.into(), doc: doc.into(), ..plain });
    }
    all.sort_by(|a, b| (&a.family, &a.name).cmp(&(&b.family, &b.name)));
    all
}

fn describe_series(function: &dyn SeriesFunction) -> FunctionDoc {
    let signature = function.signature();
    let reach = signature.resolve(&signature.example_params()).map(|p| function.reach(&p)).ok();
    let returns = match signature.outputs.as_slice() {
        [only] => sql_type(&only.kind.data_type()),
        several => {
            let fields: Vec<_> =
                several.iter().map(|o| format!("{} {}", o.name, sql_type(&o.kind.data_type()))).collect();
            format!("struct({})", fields.join(", "))
        }
    };
    let params = signature.params.iter().map(|p| ParamDoc {
        name: p.name.clone(),
        default: p.default.as_ref().map(|d| p.show(d)),
        expected: p.expected(),
        doc: p.doc.to_string(),
    });
    let options = signature.options.iter().map(|o| OptionDoc {
        name: o.name.to_string(),
        holds: o.kind.describe().to_string(),
        doc: o.doc.to_string(),
    });
    FunctionDoc {
        name: signature.name.clone(),
        aliases: signature.aliases.clone(),
        kind: "series",
        family: signature.group.to_string(),
        usage: signature.usage(),
        returns,
        reach_back: reach.map(|r| r.back.to_string()),
        reach_ahead: reach.map(|r| r.ahead.to_string()),
        params: params.collect(),
        options: options.collect(),
        doc: signature.doc.clone(),
        source: signature.source.to_string(),
    }
}

/// `lag_bars`, which the dialect calls `lag`, and `lead_bars`.
fn describe_shift(shift: &LagBars) -> FunctionDoc {
    let reach = shift.reach(&[]).ok();
    FunctionDoc {
        aliases: vec![shift.name().trim_end_matches("_bars").to_string()],
        reach_back: reach.map(|r| r.back.to_string()),
        reach_ahead: reach.map(|r| r.ahead.to_string()),
        ..describe_plain(shift.name(), "series", "a value of expr's type", shift.documentation().cloned())
    }
}

fn describe_plain(name: &str, kind: &'static str, returns: &str, doc: Option<Documentation>) -> FunctionDoc {
    FunctionDoc {
        name: name.to_string(),
        aliases: vec![],
        kind,
        family: doc.as_ref().map_or_else(String::new, |d| d.doc_section.label.to_string()),
        usage: doc.as_ref().map_or_else(String::new, |d| d.syntax_example.clone()),
        returns: returns.to_string(),
        reach_back: None,
        reach_ahead: None,
        params: vec![],
        options: vec![],
        doc: doc.map_or_else(String::new, |d| d.description),
        source: String::new(),
    }
}

fn sql_type(data_type: &arrow::datatypes::DataType) -> String {
    use arrow::datatypes::DataType;
    match data_type {
        DataType::Float64 => "double".to_string(),
        DataType::Int32 => "int".to_string(),
        DataType::Timestamp(..) => "timestamp".to_string(),
        DataType::Utf8View => "text".to_string(),
        DataType::Struct(_) => "struct".to_string(),
        DataType::List(_) => "list".to_string(),
        other => other.to_string().to_ascii_lowercase(),
    }
}
