//! What is asked of a query, in the address, in a body, and in headers.

use crate::queries::QueryId;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tallow_common::time::{instant, parse_duration};
use tallow_common::{Error, Result, short};
use tallow_engine::dialect::{ParamValue, Params};
use tallow_engine::resources::parse_bytes;
use tallow_pipeline::Request;
use tallow_pipeline::bounds::Range;
use tallow_pipeline::encoding::Encoding;
use tallow_pipeline::query::QueryOptions;

/// Encodings, with what they are called in the option `format` and in the header `Accept`.
const ENCODINGS: [(&str, &str, Encoding); 6] = [
    ("ndjson", "application/x-ndjson", Encoding::Ndjson),
    ("json", "application/json", Encoding::Json),
    ("csv", "text/csv", Encoding::Csv),
    ("tsv", "text/tab-separated-values", Encoding::Tsv),
    ("arrow", "application/vnd.apache.arrow.stream", Encoding::Arrow),
    ("parquet", "application/vnd.apache.parquet", Encoding::Parquet),
];

/// The type of content of an encoding.
pub(super) fn content_type(encoding: Encoding) -> &'static str {
    let of = ENCODINGS.iter().find(|(.., known)| *known == encoding);
    of.map_or("application/octet-stream", |(_, content_type, _)| content_type)
}

/// A query with its options, as a JSON object or in the address.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ask {
    /// The text.
    #[serde(alias = "q")]
    pub sql: Option<String>,
    /// Values for `:name`.
    pub params: BTreeMap<String, Value>,
    pub format: Option<String>,
    pub as_of: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub timeframe: Option<String>,
    pub timeout: Option<String>,
    pub memory: Option<String>,
    pub symbols: Option<Names>,
    /// Columns of the result, which are then the only ones that are computed.
    pub fields: Option<Names>,
    pub available_at: bool,
}

/// Names in a list, or with commas between them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Names {
    Text(String),
    List(Vec<String>),
}

impl Names {
    pub fn list(&self) -> Vec<String> {
        match self {
            Names::Text(text) => {
                text.split(',').map(|name| name.trim().to_string()).filter(|n| !n.is_empty()).collect()
            }
            Names::List(names) => names.clone(),
        }
    }
}

impl Ask {
    /// What a body holds: JSON, or the text of a query.
    ///
    /// # Errors
    /// It is neither.
    pub fn of_body(headers: &HeaderMap, body: &[u8]) -> Result<Ask> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/json" => {
                serde_json::from_slice(body).map_err(|error| Error::invalid(format!("the body is no request: {error}")))
            }
            "application/sql" | "text/plain" => {
                let text = std::str::from_utf8(body).map_err(|_| Error::invalid("the body is not in UTF-8"))?;
                Ok(Ask { sql: Some(text.to_string()), ..Ask::default() })
            }
            other => Err(Error::invalid(format!(
                "the body is of the type '{}': expected application/json or application/sql",
                short(other)
            ))),
        }
    }

    /// What an address holds after the question mark, in the place of what is there already.
    ///
    /// # Errors
    /// An option that there is not.
    pub fn with_address(mut self, address: Option<&str>) -> Result<Ask> {
        for (name, value) in url::form_urlencoded::parse(address.unwrap_or_default().as_bytes()) {
            let text = Some(value.clone().into_owned());
            match name.as_ref() {
                "sql" | "q" => self.sql = text,
                "format" => self.format = text,
                "as_of" => self.as_of = text,
                "from" => self.from = text,
                "to" => self.to = text,
                "timeframe" => self.timeframe = text,
                "timeout" => self.timeout = text,
                "memory" => self.memory = text,
                "symbols" => self.symbols = text.map(Names::Text),
                "fields" => self.fields = text.map(Names::Text),
                "available_at" => self.available_at = value.is_empty() || value == "true",
                other => match other.strip_prefix("param_") {
                    Some(param) => drop(self.params.insert(param.to_string(), Value::String(value.into_owned()))),
                    None => {
                        let said = format!("the option '{}' is not known", short(other));
                        let hint = "expected q, format, as_of, from, to, timeframe, timeout, memory, symbols, fields, \
                                    available_at, and param_NAME for the value of :NAME";
                        return Err(Error::invalid(said).with_hint(hint));
                    }
                },
            }
        }
        Ok(self)
    }

    /// Values of parameters. In an address all are text, and what looks like a number is one.
    ///
    /// # Errors
    /// One is a list or an object.
    pub fn params(&self) -> Result<Params> {
        let mut params = Params::default();
        for (name, value) in &self.params {
            let value = match value {
                Value::Null => ParamValue::typed("null"),
                Value::Bool(value) => (*value).into(),
                Value::Number(number) => ParamValue::typed(number.to_string()),
                Value::String(text) => ParamValue::typed(text),
                Value::Array(_) | Value::Object(_) => {
                    return Err(Error::invalid(format!(
                        "the parameter `{name}` is a list or an object: expected a value"
                    )));
                }
            };
            params.insert(name, value);
        }
        Ok(params)
    }

    /// How it is run.
    ///
    /// # Errors
    /// A value is not what is expected.
    pub fn options(&self) -> Result<QueryOptions> {
        let time = |text: &Option<String>| text.as_deref().map(instant).transpose();
        let range = Range { from: time(&self.from)?, to: time(&self.to)? };
        if let (Some(from), Some(to)) = (range.from, range.to)
            && from >= to
        {
            return Err(Error::invalid("the range is empty: `from` must lie before `to`"));
        }
        let timeout = self.timeout.as_deref().map(|text| {
            let wrong = || Error::invalid(format!("`timeout` is '{}': expected such as 500ms, 30s or 5m", short(text)));
            parse_duration(text).ok_or_else(wrong)
        });
        Ok(QueryOptions {
            range,
            symbols: self.symbols.as_ref().map(Names::list),
            fields: self.fields.as_ref().map(Names::list),
            available_at: self.available_at,
            timeframe: self.timeframe.as_deref().map(str::parse).transpose()?,
            request: Request {
                as_of: self.as_of.as_deref().map(str::parse).transpose()?,
                memory: self.memory.as_deref().map(parse_bytes).transpose()?,
            },
            timeout: timeout.transpose()?,
            ..QueryOptions::default()
        })
    }

    /// How its rows are written: as the option says, else as the header `Accept` does.
    ///
    /// # Errors
    /// Nothing is written so.
    pub fn encoding(&self, headers: &HeaderMap) -> Result<Encoding> {
        if let Some(name) = &self.format {
            let found = ENCODINGS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
            return found.map(|(.., encoding)| *encoding).ok_or_else(|| {
                let known: Vec<&str> = ENCODINGS.iter().map(|(known, ..)| *known).collect();
                Error::invalid(format!("`format` is '{}': expected one of {}", short(name), known.join(", ")))
            });
        }
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut named = vec![];
        for one in accepted.flat_map(|value| value.split(',')) {
            let kind = one.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            if kind == "*/*" || kind == "application/*" {
                return Ok(Encoding::Ndjson);
            }
            if let Some((.., encoding)) = ENCODINGS.iter().find(|(_, known, _)| *known == kind) {
                return Ok(*encoding);
            }
            if !kind.is_empty() {
                named.push(kind);
            }
        }
        if named.is_empty() {
            return Ok(Encoding::Ndjson);
        }
        let known: Vec<&str> = ENCODINGS.iter().map(|(_, known, _)| *known).collect();
        let said = format!("`Accept` is '{}': expected one of {}", short(&named.join(", ")), known.join(", "));
        Err(Error::invalid(said))
    }
}

/// The name that a client gives its query.
///
/// # Errors
/// It is no name.
pub(super) fn query_id(headers: &HeaderMap) -> Result<Option<QueryId>> {
    let given = headers.get("x-query-id").map(|value| value.to_str().unwrap_or("?"));
    given.map(str::parse).transpose()
}

/// A length of time.
///
/// # Errors
/// It is none.
pub(super) fn duration(name: &str, text: &str) -> Result<Duration> {
    let wrong = || Error::invalid(format!("`{name}` is '{}': expected such as 30s, 5m or 1h", short(text)));
    parse_duration(text).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn an_address_and_a_body_say_the_same() {
        let of_address = Ask::default().with_address(Some(
            "q=select%20:n&param_n=14&from=2024-01-02&symbols=A,B&fields=ts&timeout=2s&as_of=3&memory=1m",
        ));
        let body = r#"{"sql": "select :n", "params": {"n": 14}, "from": "2024-01-02", "symbols": ["A", "B"],
            "fields": "ts", "timeout": "2s", "as_of": "3", "memory": "1m"}"#;
        let of_body = Ask::of_body(&headers(header::CONTENT_TYPE, "application/json; charset=utf-8"), body.as_bytes());
        for ask in [of_address.unwrap(), of_body.unwrap()] {
            assert_eq!((ask.sql.as_deref(), ask.params().unwrap()), (Some("select :n"), Params::from([("n", 14)])));
            let options = ask.options().unwrap();
            assert_eq!(options.symbols, Some(vec!["A".to_string(), "B".to_string()]));
            assert_eq!(options.timeout, Some(Duration::from_secs(2)));
            assert_eq!((options.request.memory, options.range.from.is_some()), (Some(1 << 20), true));
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let address = |text: &str| Ask::default().with_address(Some(text));
        assert_eq!(
            address("limit=3").unwrap_err().to_string().split(';').next(),
            Some("the option 'limit' is not known")
        );
        let options = |text: &str| address(text).and_then(|ask| ask.options()).unwrap_err().to_string();
        assert!(options("from=soon").starts_with("'soon' is no time"));
        assert_eq!(options("from=2024-01-02&to=2024-01-01"), "the range is empty: `from` must lie before `to`");
        assert!(options("timeout=x").starts_with("`timeout` is 'x'"));
        let ask = |format: &str| Ask { format: Some(format.to_string()), ..Ask::default() };
        assert_eq!(ask("CSV").encoding(&HeaderMap::new()).unwrap(), Encoding::Csv);
        assert!(ask("xml").encoding(&HeaderMap::new()).unwrap_err().to_string().starts_with("`format` is 'xml'"));
        let accepts = |value: &str| Ask::default().encoding(&headers(header::ACCEPT, value));
        assert_eq!(accepts("text/html, */*;q=0.8").unwrap(), Encoding::Ndjson);
        assert_eq!(accepts("application/vnd.apache.arrow.stream").unwrap(), Encoding::Arrow);
        assert!(accepts("text/html").is_err());
        assert!(Ask::of_body(&headers(header::CONTENT_TYPE, "application/x-www-form-urlencoded"), b"").is_err());
    }
}
