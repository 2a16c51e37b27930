//! Names and texts in the SQL that is written here.

/// A name as an SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text.
pub fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Texts, as they stand in `in (...)`.
pub fn texts(values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    values.into_iter().map(|value| text(value.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_text_or_a_name_is_doubled() {
        assert_eq!(quoted("a \"b\""), "\"a \"\"b\"\"\"");
        assert_eq!(texts(["O'X", "B"]), "'O''X', 'B'");
    }
}
