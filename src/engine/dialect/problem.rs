//! Problems of a text, with the place where they are.

use super::habits;
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::Span;
use std::fmt::{Display, Formatter};

/// One problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Line and column, from 1, and the number of characters concerned; `None` if the place is not known.
    pub place: Option<(usize, usize, usize)>,
    /// What to try.
    pub help: Option<String>,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, span: Span) -> Self {
        let start = span.start;
        let place = (start.line > 0).then(|| {
            let same_line = span.end.line == start.line && span.end.column > start.column;
            let length = if same_line { span.end.column - start.column } else { 1 };
            (start.line as usize, start.column as usize, length as usize)
        });
        Self { message: message.into(), place, help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn maybe(mut self, suggestion: Option<impl Display>) -> Self {
        self.help = suggestion.map(|s| format!("did you mean `{s}`?"));
        self
    }
}

/// All problems of a text.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    text: String,
    /// In the order of the text.
    pub list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(text: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|p| p.place);
        list.dedup();
        Self { text: text.to_string(), list }
    }

    /// What the parser says, `... at Line: 1, Column: 9`, as a problem with a place.
    pub(super) fn of_parser(text: &str, error: &DataFusionError) -> Self {
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
            Some((place, path)) => Problem { message: habits::quote(&path), place: Some(place), help: None },
            None => Problem { message, place, help: None },
        };
        Self { text: text.to_string(), list: vec![problem] }
    }
}

fn end_of(text: &str) -> Option<(usize, usize, usize)> {
    let line = text.lines().count().max(1);
    Some((line, text.lines().last().map_or(0, |l| l.chars().count()) + 1, 1))
}

impl Display for Problems {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
                writeln!(f)?;
            }
            write!(f, "{}", problem.message)?;
            if let Some((line, column, length)) = problem.place {
                let source = self.text.lines().nth(line - 1).unwrap_or_default();
                let width = line.to_string().len();
                write!(f, "\n{:width$}--> line {line}, column {column}", "")?;
                // A line of a generated text can be very long: show what is around the place.
                let from = column.saturating_sub(60).max(1);
                let shown: String = source.chars().skip(from - 1).take(120).collect();
                write!(f, "\n{line} | {shown}")?;
                write!(f, "\n{:width$} | {:pad$}{}", "", "", "^".repeat(length.clamp(1, 120)), pad = column - from)?;
            }
            if let Some(help) = &problem.help {
                write!(f, "\n= {help}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::tokenizer::Location;

    #[test]
    fn the_caret_stands_under_the_word() {
        let span = Span::new(Location::new(2, 3), Location::new(2, 7));
        let problems =
            Problems::new("select\n  smaa(20)", vec![Problem::new("unknown function `smaa`", span).maybe(Some("sma"))]);
        assert_eq!(
            problems.to_string(),
            "unknown function `smaa`\n --> line 2, column 3\n2 |   smaa(20)\n  |   ^^^^\n= did you mean `sma`?"
        );
    }
}
