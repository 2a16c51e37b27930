//! Problems of a text, with the place where they are.

use crate::code::Code;
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
    /// What kind of thing is wrong.
    pub code: Code,
}

impl Problem {
    /// A problem at a place of the text.
    pub fn new(message: impl Into<String>, span: Span) -> Self {
        let start = span.start;
        let place = (start.line > 0).then(|| {
            let same_line = span.end.line == start.line && span.end.column > start.column;
            let length = if same_line { span.end.column - start.column } else { 1 };
            (start.line as usize, start.column as usize, length as usize)
        });
        Self { message: message.into(), place, help: None, code: Code::Invalid }
    }

    /// Says what kind of thing is wrong, where it is not the text itself.
    #[must_use]
    pub fn of(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// Adds what to try.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the name that was probably meant, where one is near enough.
    #[must_use]
    pub fn maybe(mut self, suggestion: Option<impl Display>) -> Self {
        self.help = suggestion.map(|s| format!("did you mean `{s}`?"));
        self
    }
}

/// All problems of a text.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// The text.
    pub text: String,
    /// In the order of the text.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Problems of a text, in any order.
    pub fn new(text: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|p| p.place);
        list.dedup();
        Self { text: text.to_string(), list }
    }
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
