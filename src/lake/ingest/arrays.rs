//! JSON arrays of rows that are arrays, `[[time, open, ..], ..]`, as exchanges give candles, turned into delimited text.

use bytes::Bytes;
use datafusion::common::{Result, exec_err};

/// Whether a file begins like an array of arrays.
pub(super) fn are_rows(head: &[u8]) -> bool {
    let mut signs = head.iter().filter(|byte| !byte.is_ascii_whitespace());
    signs.next() == Some(&b'[') && signs.next() == Some(&b'[')
}

/// Turns text into lines, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Rows {
    depth: u8,
    in_text: bool,
    escaped: bool,
    /// A row ended and the next has not begun.
    after_row: bool,
    /// Rows that have begun.
    rows: u64,
}

impl Rows {
    /// The lines of a piece.
    ///
    /// # Errors
    /// It is something else than arrays of numbers and texts in an array.
    pub fn lines(&mut self, piece: &[u8]) -> Result<Bytes> {
        let mut lines = Vec::with_capacity(piece.len());
        for &byte in piece {
            if self.in_text {
                // A quote within text is doubled in delimited text.
                match (self.escaped, byte) {
                    (true, b'"') => lines.extend(b"\"\""),
                    (true, byte) => lines.extend([b'\\', byte]),
                    (false, b'\\') => {}
                    (false, byte) => lines.push(byte),
                }
                self.in_text = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
                continue;
            }
            match (self.depth, byte) {
                (_, byte) if byte.is_ascii_whitespace() => {}
                (0, b'[') if self.rows == 0 => self.depth = 1,
                (1, b'[') => {
                    self.depth = 2;
                    self.rows += 1;
                    self.after_row = false;
                }
                (1, b',') if self.after_row => self.after_row = false,
                (1, b']') => self.depth = 0,
                (2, b']') => {
                    self.depth = 1;
                    self.after_row = true;
                    lines.push(b'\n');
                }
                (2, b'"') => {
                    self.in_text = true;
                    lines.push(b'"');
                }
                (2, b',' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'-' | b'+') => lines.push(byte),
                (_, byte) => {
                    return exec_err!(
                        "row {}: '{}' where an array of rows that are arrays has none",
                        self.rows,
                        byte.escape_ascii()
                    );
                }
            }
        }
        Ok(lines.into())
    }

    /// The text ended.
    ///
    /// # Errors
    /// Brackets are still open.
    pub fn end(&self) -> Result<()> {
        if self.depth > 0 || self.in_text {
            return exec_err!("row {}: the array of rows does not end", self.rows);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, at_once: usize) -> Result<String> {
        let (mut rows, mut all) = (Rows::default(), vec![]);
        for piece in text.as_bytes().chunks(at_once) {
            all.extend(rows.lines(piece)?);
        }
        rows.end()?;
        Ok(String::from_utf8(all).unwrap())
    }

    #[test]
    fn rows_become_lines_however_text_is_cut() {
        let text = "[[1, \"2.5\", null, -3e-1],\n [4, \"a \\\"b\\\"\", 5, true] ]\n";
        for at_once in 1..text.len() {
            assert_eq!(lines(text, at_once).unwrap(), "1,\"2.5\",null,-3e-1\n4,\"a \"\"b\"\"\",5,true\n");
        }
        assert_eq!(lines("[]", 1).unwrap(), "");
        assert!(are_rows(b" [\n[1") && !are_rows(b"[{") && !are_rows(b"1,2"));
    }

    #[test]
    fn what_are_no_rows_is_told() {
        for (text, said) in [
            ("[[1,2],[3", "row 2: the array of rows does not end"),
            ("[[1,{\"a\":2}]]", "row 1: '{'"),
            ("[[1,[2]]]", "row 1: '['"),
            ("[[1]] [", "row 1: '['"),
        ] {
            let error = lines(text, 4).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
