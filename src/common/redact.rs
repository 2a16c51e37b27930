//! Messages without the secrets of URLs: user names, passwords and signatures.

use std::borrow::Cow;
use std::io::Write;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// Parameters of URLs that let whoever reads them in, in lower case.
const SECRET: [&str; 11] = [
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-goog-signature",
    "x-goog-credential",
    "awsaccesskeyid",
    "googleaccessid",
    "signature",
    "sig",
    "token",
    "access_token",
];

/// A text in which URLs have no user info and no signatures.
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !text.contains("://") && !text.contains(PASSWORD) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(without_passwords(&without_signatures(&without_user_info(text))))
}

fn without_user_info(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let authority = part.find(|c: char| c.is_whitespace() || "/?#\"'`<>\\,;".contains(c)).unwrap_or(part.len());
        out += "://";
        match part[..authority].rfind('@') {
            Some(end) => out.extend([HIDDEN, &part[end..]]),
            None => out += part,
        }
    }
    out
}

fn without_signatures(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['?', '&']) {
        let (before, parameter) = rest.split_at(at + 1);
        out += before;
        rest = parameter;
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if SECRET.contains(&name.to_ascii_lowercase().as_str()) {
            let is_of_value = |c: char| c.is_ascii_alphanumeric() || "-._~%+/=".contains(c);
            out.extend([name, "=", HIDDEN]);
            rest = value.trim_start_matches(is_of_value);
        }
    }
    out += rest;
    out
}

/// As libraries log a URL that was taken apart.
const PASSWORD: &str = "password: Some(\"";

fn without_passwords(text: &str) -> String {
    let mut parts = text.split(PASSWORD);
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end = part.find('"').unwrap_or(part.len());
        out.extend([PASSWORD, HIDDEN, &part[end..]]);
    }
    out
}

/// Writes lines without secrets.
pub struct Redacting<W>(pub W);

impl<W: Write> Write for Redacting<W> {
    /// Takes a whole line, as loggers write them.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(redacted(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_info_is_hidden_wherever_a_url_stands() {
        for (said, shown) in [
            ("cannot open http://user:pw@host:9000/b: no", "cannot open http://***@host:9000/b: no"),
            ("http://u:p@w@host/x and s3://key@bucket", "http://***@host/x and s3://***@bucket"),
            ("a=http://u:p@h,b=https://v:q@i/x", "a=http://***@h,b=https://***@i/x"),
            ("(http://u:p@h)", "(http://***@h)"),
            ("'candles_1d@v3' of s3://bucket/a@b/c", "'candles_1d@v3' of s3://bucket/a@b/c"),
            ("mail me@home", "mail me@home"),
            (
                "Url { username: \"u\", password: Some(\"pw\"), host: 1 }",
                "Url { username: \"u\", password: Some(\"***\"), host: 1 }",
            ),
        ] {
            assert_eq!(redacted(said), shown);
        }
    }

    #[test]
    fn signatures_are_hidden_and_other_parameters_are_not() {
        let said = "GET https://h/x.csv?X-Amz-Date=1&X-Amz-Signature=abc%2F&sig=q: 403 (https://h/y?Token=t)";
        let shown = "GET https://h/x.csv?X-Amz-Date=1&X-Amz-Signature=***&sig=***: 403 (https://h/y?Token=***)";
        assert_eq!(redacted(said), shown);
    }

    #[test]
    fn a_log_line_is_written_without_secrets() {
        let mut out = vec![];
        Redacting(&mut out).write_all(b"to http://u:p@h/\n").unwrap();
        assert_eq!(out, b"to http://***@h/\n");
    }
}
