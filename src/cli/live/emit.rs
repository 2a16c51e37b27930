//! Where the results of a live run go.

use crate::Error;
use crate::live::{Answers, Elsewhere, Ndjson, Nobody, Several};
use std::fs::File;
use std::io::BufWriter;
use std::str::FromStr;

/// Before a command.
const COMMAND: &str = "command:";

/// Where results go as they happen.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) enum Emit {
    Stdout,
    Nowhere,
    File(String),
    Tcp(String),
    Webhook(String),
    Command(String),
}

impl FromStr for Emit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Emit, Error> {
        Ok(match text.split_once("://") {
            _ if text.starts_with(COMMAND) => Emit::Command(text[COMMAND.len()..].trim().to_string()),
            Some(("tcp", address)) if address.contains(':') => Emit::Tcp(address.to_string()),
            Some(("http" | "https", _)) => Emit::Webhook(text.to_string()),
            Some(_) => {
                let expected = "-, none, a file, tcp://HOST:PORT, a web address or command:COMMAND";
                return Err(Error::invalid(format!("results cannot go to '{text}': expected {expected}")));
            }
            None if text == "-" => Emit::Stdout,
            None if text == "none" => Emit::Nowhere,
            None => Emit::File(text.to_string()),
        })
    }
}

/// Who is told what is wrong with a run.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) enum Notify {
    Command(String),
    Webhook(String),
}

impl FromStr for Notify {
    type Err = Error;

    fn from_str(text: &str) -> Result<Notify, Error> {
        match text.parse() {
            Ok(Emit::Command(command)) => Ok(Notify::Command(command)),
            Ok(Emit::Webhook(url)) => Ok(Notify::Webhook(url)),
            _ => Err(Error::invalid(format!("'{text}' cannot be told: expected command:COMMAND or a web address"))),
        }
    }
}

impl Notify {
    pub fn open(&self) -> Result<Elsewhere, Error> {
        let (name, opened) = match self {
            Notify::Command(command) => (command, Elsewhere::command(command)),
            Notify::Webhook(url) => (url, Elsewhere::webhook(url)),
        };
        opened.map_err(|error| Error::File(name.clone(), error))
    }
}

/// Opens all of them.
pub(super) fn open(emits: &[Emit]) -> Result<Box<dyn Answers>, Error> {
    let mut all = vec![];
    for emit in emits {
        all.push(opened(emit)?);
    }
    Ok(match all.len() {
        1 => all.swap_remove(0),
        _ => Box::new(Several(all)),
    })
}

fn opened(emit: &Emit) -> Result<Box<dyn Answers>, Error> {
    let named = |name: &str, error| Error::File(name.to_string(), error);
    Ok(match emit {
        Emit::Stdout => Box::new(Ndjson(std::io::stdout())),
        Emit::Nowhere => Box::new(Nobody),
        Emit::File(path) => Box::new(Ndjson(BufWriter::new(File::create(path).map_err(|e| named(path, e))?))),
        Emit::Tcp(address) => Box::new(Elsewhere::tcp(address).map_err(|e| named(&format!("tcp://{address}"), e))?),
        Emit::Command(command) => Box::new(Elsewhere::command(command).map_err(|e| named(command, e))?),
        Emit::Webhook(url) => Box::new(Elsewhere::webhook(url).map_err(|e| named(url, e))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_go_where_they_are_sent() {
        for (text, emit) in [
            ("-", Emit::Stdout),
            ("none", Emit::Nowhere),
            ("out.ndjson", Emit::File("out.ndjson".to_string())),
            ("tcp://127.0.0.1:9", Emit::Tcp("127.0.0.1:9".to_string())),
            ("command:tee 'a b'", Emit::Command("tee 'a b'".to_string())),
            ("https://example.com/x", Emit::Webhook("https://example.com/x".to_string())),
        ] {
            assert_eq!(text.parse::<Emit>().unwrap(), emit, "{text}");
        }
        assert!("ftp://example.com".parse::<Emit>().is_err());
        assert!("tcp://nobody".parse::<Emit>().is_err());
    }
}
