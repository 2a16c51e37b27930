//! What DataFusion says of a user's mistake, in words of the user.

use crate::time::no_time;
use std::borrow::Cow;

/// Stands after what an error inside of DataFusion says.
pub(crate) const INTERNAL: &str = " (an error inside of the query engine)";

/// Characters of a value that a message quotes.
const QUOTED: usize = 200;
/// Characters of a message.
pub(crate) const MESSAGE: usize = 4000;

/// A text as a message quotes it: of a long one the beginning, and how long it is.
pub fn short(text: &str) -> Cow<'_, str> {
    shortened(text, QUOTED)
}

/// A text of so many characters at most.
pub(crate) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => Cow::Owned(format!("{}... ({} bytes)", &text[..end], text.len())),
        None => Cow::Borrowed(text),
    }
}

/// The message in plain words, where it is one of those that slips lead to.
pub(crate) fn plain(said: &str) -> String {
    let rules: [fn(&str) -> Option<String>; 8] =
        [time_literal, number_literal, comparison, between, arithmetic, grouping, ambiguity, call];
    let known = rules.iter().find_map(|rule| rule(said));
    known.unwrap_or_else(|| match said.split_once("\nThis issue was likely caused by a bug in DataFusion's code") {
        Some((message, _)) => format!("{}{INTERNAL}", message.replace("Internal error: ", "").trim_end_matches('.')),
        None => said.to_string(),
    })
}

/// The text between two others.
fn within<'a>(said: &'a str, before: &str, after: &str) -> Option<&'a str> {
    said.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

fn time_literal(said: &str) -> Option<String> {
    let rest = said.strip_prefix("Parser error: ").unwrap_or(said);
    let text = within(rest.strip_prefix("Error parsing timestamp from ")?, "'", "': ")?;
    Some(format!("'{text}' is no time: {}", no_time(text)?))
}

fn number_literal(said: &str) -> Option<String> {
    let rest = said.strip_prefix("Cast error: Cannot cast string '")?;
    let (text, rest) = rest.split_once("' to value of ")?;
    let expected = kind(rest.strip_suffix(" type")?);
    Some(format!("'{text}' is not {expected}: a text stands where {expected} is expected"))
}

fn comparison(said: &str) -> Option<String> {
    const SIGNS: [&str; 8] = [" >= ", " <= ", " != ", " <> ", " = ", " > ", " < ", " IS DISTINCT FROM "];
    let types = said.strip_prefix("Cannot infer common argument type for comparison operation ")?;
    let (sign, (left, right)) = SIGNS.iter().find_map(|sign| Some((sign.trim(), types.split_once(sign)?)))?;
    Some(format!("`{sign}` compares {} with {}: expected two of a kind", kind(left), kind(right)))
}

fn between(said: &str) -> Option<String> {
    let (left, right) = within(said, "Failed to coerce types ", " in BETWEEN expression")?.split_once(" and ")?;
    Some(format!("BETWEEN compares {} with {}: expected all of a kind", kind(left), kind(right)))
}

fn arithmetic(said: &str) -> Option<String> {
    let types = within(said, "Cannot coerce arithmetic expression ", " to valid types")?;
    let (sign, (left, right)) =
        ["+", "-", "*", "/", "%"].iter().find_map(|sign| Some((sign, types.split_once(&format!(" {sign} "))?)))?;
    Some(format!("`{sign}` of {} and {}: expected numbers", kind(left), kind(right)))
}

fn grouping(said: &str) -> Option<String> {
    if !said.contains("must be in GROUP BY or an aggregate function") {
        return None;
    }
    let column = within(said, "column \"", "\" must appear in the GROUP BY clause")?;
    Some(format!(
        "`{column}` is neither grouped by nor inside an aggregate: add it to GROUP BY, or take one value of it, as \
         max({column})"
    ))
}

fn ambiguity(said: &str) -> Option<String> {
    let column = said.strip_prefix("Ambiguous reference to unqualified field ")?;
    Some(format!("`{column}` is a column of several tables: write the table before it, as t.{column}"))
}

fn call(said: &str) -> Option<String> {
    let call = within(said, "No function matches the given name and argument types '", "'. You might need")?;
    let (name, types) = call.strip_suffix(')')?.split_once('(')?;
    let kinds: Vec<String> = split(types).into_iter().map(kind).collect();
    Some(format!("{name} cannot be called with {}", if kinds.is_empty() { "nothing".into() } else { kinds.join(", ") }))
}

/// Types that commas separate, some of which hold commas themselves.
fn split(types: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (vec![], 0, 0);
    for (i, c) in types.char_indices() {
        match c {
            '(' | '<' | '{' => depth += 1,
            ')' | '>' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(types[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(types[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// A type in words.
fn kind(data_type: &str) -> String {
    let word = |prefixes: &[&str]| prefixes.iter().any(|prefix| data_type.starts_with(prefix));
    let known = if word(&["Timestamp", "Date"]) {
        "a time"
    } else if word(&["Utf8", "LargeUtf8", "String"]) {
        "a text"
    } else if word(&["Interval", "Duration"]) {
        "an interval"
    } else if word(&["Int", "UInt"]) {
        "a whole number"
    } else if word(&["Float", "Decimal"]) {
        "a number"
    } else if word(&["Bool"]) {
        "a condition"
    } else if word(&["List", "LargeList", "FixedSizeList"]) {
        "a list"
    } else if word(&["Struct"]) {
        "a struct"
    } else if word(&["Null"]) {
        "null"
    } else {
        data_type
    };
    known.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_told_in_plain_words() {
        for (said, want) in [
            (
                "Parser error: Error parsing timestamp from '2018-2-7': timestamp must contain at least 10 characters",
                "'2018-2-7' is no time: write '2018-02-07'",
            ),
            (
                "Cannot infer common argument type for comparison operation Timestamp(µs, \"UTC\") >= Int64",
                "`>=` compares a time with a whole number: expected two of a kind",
            ),
            (
                "Failed to coerce types Timestamp(µs, \"UTC\") and Int64 in BETWEEN expression (an error inside of the query engine)",
                "BETWEEN compares a time with a whole number: expected all of a kind",
            ),
            (
                "Cannot coerce arithmetic expression Float64 + Utf8View to valid types",
                "`+` of a number and a text: expected numbers",
            ),
            (
                "Cast error: Cannot cast string 'IT' to value of Int64 type",
                "'IT' is not a whole number: a text stands where a whole number is expected",
            ),
            (
                "Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column \"c.ts\" must \
                 appear in the GROUP BY clause or must be part of an aggregate function, currently only \"count(1)\" appears",
                "`c.ts` is neither grouped by nor inside an aggregate: add it to GROUP BY, or take one value of it, as max(c.ts)",
            ),
            (
                "Ambiguous reference to unqualified field ts",
                "`ts` is a column of several tables: write the table before it, as t.ts",
            ),
            (
                "Internal error: Function 'f' failed.\nThis issue was likely caused by a bug in DataFusion's code. Please \
                 help us. No function matches the given name and argument types 'f(Timestamp(µs, \"UTC\"), Utf8View)'. You might need to",
                "f cannot be called with a time, a text",
            ),
            (
                "Internal error: surprise.\nThis issue was likely caused by a bug in DataFusion's code. Please help us",
                "surprise (an error inside of the query engine)",
            ),
            (
                "cannot read x.csv: Parser error: Error parsing timestamp from '01/31/2024': error parsing date",
                "cannot read x.csv: Parser error: Error parsing timestamp from '01/31/2024': error parsing date",
            ),
        ] {
            assert_eq!(plain(said), want);
        }
    }
}
