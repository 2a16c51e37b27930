//! What the parser says, `... at Line: 1, Column: 9`, as a problem with a place.

use super::habits;
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::Span;
use tallow_common::{Problem, Problems};

/// The message as a problem with a place.
pub(super) fn of_parser(text: &str, error: &DataFusionError) -> Problems {
    let said = match error {
        DataFusionError::SQL(inner, _) => inner.to_string(),
        DataFusionError::Diagnostic(_, inner) => inner.strip_backtrace(),
        other => other.strip_backtrace(),
    };
    let said = said.trim_start_matches("SQL error: ").trim_start_matches("ParserError(\"");
    let said = said.trim_start_matches("sql parser error: ").trim_end_matches("\")");
    let (message, place) = match said.rsplit_once(" at Line: ") {
        Some((message, place)) => {
            let mut numbers = place.split(", Column: ").map(|n| n.trim_end_matches(|c: char| !c.is_ascii_digit()));
            let mut next = || numbers.next().and_then(|n| n.trim().parse::<usize>().ok());
            (message, next().zip(next()).map(|(line, column)| (line, column, 1)))
        }
        None if said.ends_with("found: EOF") => (said, end_of(text)),
        None => (said, None),
    };
    let mut message = message.replace("found: EOF", "found: the end of the text");
    if message.contains("RecursionLimitExceeded") || message.contains("recursion limit exceeded") {
        message = "nested too deeply".to_string();
    }
    let problem = match habits::unquoted_path(text) {
        Some((place, path)) => Problem { place: Some(place), ..Problem::new(habits::quote(&path), Span::empty()) },
        None => Problem { place, ..Problem::new(message, Span::empty()) },
    };
    Problems { text: text.to_string(), list: vec![problem] }
}

fn end_of(text: &str) -> Option<(usize, usize, usize)> {
    let line = text.lines().count().max(1);
    Some((line, text.lines().last().map_or(0, |l| l.chars().count()) + 1, 1))
}
