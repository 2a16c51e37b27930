//! Named queries: SQL files with a header that says what they do and which parameters they take.
//!
//! ```text
//! -- name: rsi_oversold
//! -- doc: Stocks whose RSI has fallen below a level on the newest bar
//! -- param: level = 30, RSI below which a stock counts as oversold
//! select ...
//! ```

use super::relation::{one, relation};
use crate::Session;
use datafusion::datasource::ViewTable;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{self, Params, closest};
use tallow_udfs::calendar::Timeframe;

/// A named query.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedQuery {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub doc: String,
    /// That its first number is to be watched, and what it tells.
    pub metric: Option<String>,
    /// Parameters in the order of the file.
    pub params: Vec<QueryParam>,
    /// The whole text, header included, so that positions in messages are those of the file.
    pub sql: String,
}

/// A parameter of a named query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryParam {
    /// Its name, used as `:name`.
    pub name: String,
    /// Its default; `None`: it must be given.
    pub default: Option<String>,
    /// One line.
    pub doc: String,
}

/// Named queries by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamedQueries(BTreeMap<String, NamedQuery>);

impl NamedQueries {
    /// Queries by their texts.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<NamedQueries> {
        let mut queries = NamedQueries::default();
        texts.into_iter().try_for_each(|text| queries.add(text))?;
        Ok(queries)
    }

    /// Adds the `.sql` files of a folder, which win over queries of the same name.
    pub fn add_folder(&mut self, folder: &Path) -> Result<()> {
        let failed = |e| Error::File(folder.display().to_string(), e);
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|e| e == "sql") {
                let text = std::fs::read_to_string(&path).map_err(|e| Error::File(path.display().to_string(), e))?;
                self.add(&text).map_err(|e| Error::invalid(format!("{}: {e}", path.display())))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let query = parse(text)?;
        self.0.insert(query.name.clone(), query);
        Ok(())
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &NamedQuery> {
        self.0.values()
    }

    /// The query with this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&NamedQuery> {
        self.0.get(name)
    }

    /// The query with this name; an unknown one is an error.
    pub fn find(&self, name: &str) -> Result<&NamedQuery> {
        self.0.get(name).ok_or_else(|| {
            let similar = closest(name, self.0.keys().map(String::as_str));
            let all = || "the operation `run` with the option `list` shows all".to_string();
            let hint = similar.map_or_else(all, |similar| format!("did you mean `{similar}`?"));
            Error::not_found(format!("unknown query `{name}`")).with_hint(hint)
        })
    }
}

impl NamedQuery {
    /// The given parameters with the defaults of the others; an unknown name is an error.
    pub fn complete(&self, given: &Params) -> Result<Params> {
        for name in given.names() {
            if !self.params.iter().any(|p| p.name.eq_ignore_ascii_case(name)) {
                let similar = closest(name, self.params.iter().map(|p| p.name.as_str()));
                let known: Vec<_> = self.params.iter().map(|p| p.name.as_str()).collect();
                let hint = match similar {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None if known.is_empty() => "it takes none".to_string(),
                    None => format!("it takes: {}", known.join(", ")),
                };
                return Err(Error::invalid(format!("query `{}` has no parameter `{name}`; {hint}", self.name)));
            }
        }
        let mut complete = given.clone();
        for param in &self.params {
            match (given.get(&param.name), &param.default) {
                (Some(_), _) => {}
                (None, Some(default)) => complete.set(&param.name, default),
                (None, None) => {
                    return Err(Error::invalid(format!(
                        "query `{}` needs the option `param {}=VALUE`: {}",
                        self.name, param.name, param.doc
                    )));
                }
            }
        }
        Ok(complete)
    }
}

fn parse(text: &str) -> Result<NamedQuery> {
    let (mut name, mut doc, mut metric, mut params) = (None, String::new(), None, vec![]);
    for line in text.lines().map_while(|l| l.strip_prefix("--")) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.trim() {
            "name" => name = Some(value.to_string()),
            "doc" => doc = value.to_string(),
            "metric" => metric = Some(value.to_string()),
            "param" => {
                let (head, about) = value.split_once(',').unwrap_or((value, ""));
                let (param, default) = match head.split_once('=') {
                    Some((param, default)) => (param.trim(), Some(unquoted(default.trim()).to_string())),
                    None => (head.trim(), None),
                };
                params.push(QueryParam { name: param.to_string(), default, doc: about.trim().to_string() });
            }
            _ => {}
        }
    }
    match name {
        Some(name) => Ok(NamedQuery { name, doc, metric, params, sql: text.to_string() }),
        None => Err(Error::invalid("a named query begins with `-- name: NAME`".to_string())),
    }
}

/// `''` is nothing, and `'a b'` is a b.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')).unwrap_or(text)
}

/// A text about bars of a timeframe in place of the lake's default, also of bars that are not stored, but made
/// of smaller ones.
pub async fn over(session: &Session, text: &str, params: &Params, timeframe: Timeframe) -> Result<String> {
    let mut candles = format!("candles_{timeframe}");
    let from = relation(session, &candles).await?;
    if !from.is_stored {
        candles = format!("#{candles}");
        let bars = one(session, &format!("select * from {}", from.sql)).await?;
        session.lake().keep_hidden(&candles, Arc::new(ViewTable::new(bars.into_unoptimized_plan(), None)));
    }
    let bound = dialect::bind(text, params)?;
    dialect::with_tables(&bound, &[("candles", &candles), ("matches", &format!("matches_{timeframe}"))])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "-- name: q\n-- doc: D\n-- param: level = 30, below it\n-- param: symbol, which one\nselect 1\n";

    #[test]
    fn the_header_says_name_doc_and_parameters() {
        let query = parse(TEXT).unwrap();
        assert_eq!((query.name.as_str(), query.doc.as_str()), ("q", "D"));
        assert_eq!(query.params[0].default.as_deref(), Some("30"));
        assert_eq!(query.params[1].default, None);
    }

    #[test]
    fn a_missing_or_misspelt_parameter_is_named() {
        let query = parse(TEXT).unwrap();
        let mut given = Params::default();
        assert!(query.complete(&given).unwrap_err().to_string().contains("needs the option `param symbol=VALUE`"));
        given.set("lvl", "3");
        assert!(query.complete(&given).unwrap_err().to_string().contains("no parameter `lvl`"));
    }
}
