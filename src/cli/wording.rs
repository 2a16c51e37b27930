//! Messages in the words of the command line.
//!
//! What lies below knows no doors: its messages speak of "the option `time_format '%d/%m/%Y'`" and "the operation `pattern
//! list`". Here these become what is typed: --time-format '%d/%m/%Y' and `tallow pattern list`.

use std::borrow::Cow;
use std::io::{Stderr, Write};
use tallow_common::redact::Redacting;

const OPTION: &str = "the option `";
const OPERATION: &str = "the operation `";

/// A message that calls options and operations as they are typed.
pub(super) fn typed(said: &str) -> Cow<'_, str> {
    if !said.contains(OPTION) && !said.contains(OPERATION) {
        return Cow::Borrowed(said);
    }
    let said = replaced(said, OPTION, |option| match option.split_once(' ') {
        Some((name, value)) => format!("{} {value}", flag(name)),
        None => flag(option),
    });
    Cow::Owned(replaced(&said, OPERATION, |operation| format!("`tallow {operation}`")))
}

fn flag(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

/// The text with something else for each part in backticks that follows `opening`, which ends with a backtick.
fn replaced(said: &str, opening: &str, typed: impl Fn(&str) -> String) -> String {
    let mut parts = said.split(opening);
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        match part.split_once('`') {
            Some((named, rest)) => out.extend([typed(named).as_str(), rest]),
            None => out.extend([opening, part]),
        }
    }
    out
}

/// Standard error, for whole messages: what is written comes in the words of the command line and without secrets.
pub(super) fn stderr() -> Typed<Redacting<Stderr>> {
    Typed(Redacting(std::io::stderr()))
}

/// Writes messages in the words of the command line.
pub(super) struct Typed<W>(W);

impl<W: Write> Write for Typed<W> {
    /// Takes a whole message, as loggers write them.
    fn write(&mut self, message: &[u8]) -> std::io::Result<usize> {
        match std::str::from_utf8(message) {
            Ok(text) => self.0.write_all(typed(text).as_bytes())?,
            Err(_) => self.0.write_all(message)?,
        }
        Ok(message.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_operations_are_called_as_they_are_typed() {
        for (said, shown) in [
            ("Raise the option `memory`, or ask for less", "Raise --memory, or ask for less"),
            (
                "use the option `from` and the option `to`, or QUALIFY instead of WHERE",
                "use --from and --to, or QUALIFY instead of WHERE",
            ),
            ("give it with the option `param my_level=VALUE`", "give it with --param my_level=VALUE"),
            ("say which, as the option `time_format '%d_%m %Y'`", "say which, as --time-format '%d_%m %Y'"),
            ("the option `sweep` 'n=..': expected `n=1..5`", "--sweep 'n=..': expected `n=1..5`"),
            ("say the option `timeframe TIMEFRAME`", "say --timeframe TIMEFRAME"),
            ("no table `x`; the operation `tables` lists them", "no table `x`; `tallow tables` lists them"),
            ("the operation `run` with the option `list` shows all", "`tallow run` with --list shows all"),
            ("the operation `pattern remove my_dip` makes room", "`tallow pattern remove my_dip` makes room"),
            ("`x` is no option, and the option is no `x`", "`x` is no option, and the option is no `x`"),
            ("cut off: the option `fro", "cut off: the option `fro"),
            ("", ""),
        ] {
            assert_eq!(typed(said), shown);
        }
    }

    #[test]
    fn a_message_is_written_as_it_is_typed_and_without_secrets() {
        let mut out = vec![];
        Typed(Redacting(&mut out)).write_all("ü http://u:p@h/: the option `close_as_ts`\n".as_bytes()).unwrap();
        assert_eq!(out, "ü http://***@h/: --close-as-ts\n".as_bytes());
        let mut out = vec![];
        Typed(&mut out).write_all(b"\xff the option `lake`").unwrap();
        assert_eq!(out, b"\xff the option `lake`");
    }
}
