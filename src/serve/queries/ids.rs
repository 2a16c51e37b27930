//! The names of queries.

use std::borrow::Borrow;
use std::fmt::{Display, Formatter};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use tallow_common::{Error, Result};

/// Under which a query is seen and stopped: up to 64 letters, digits and `-`, `_`, `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueryId(String);

impl FromStr for QueryId {
    type Err = Error;

    fn from_str(text: &str) -> Result<QueryId> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match (1..=64).contains(&text.len()) && text.chars().all(fits) {
            true => Ok(QueryId(text.to_string())),
            false => Err(Error::invalid(format!(
                "'{}' is no name of a query: expected up to 64 letters, digits, `-`, `_` and `.`",
                tallow_common::short(text)
            ))),
        }
    }
}

impl Display for QueryId {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for QueryId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Names that are made: those of one server begin alike, and of another otherwise.
pub(super) struct Ids {
    server: u32,
    last: AtomicU64,
}

impl Default for Ids {
    fn default() -> Self {
        let server = (uuid::Uuid::now_v7().as_u128() & u128::from(u32::MAX)) as u32;
        Ids { server, last: AtomicU64::new(0) }
    }
}

impl Ids {
    pub fn next(&self) -> QueryId {
        QueryId(format!("{:08x}-{}", self.server, self.last.fetch_add(1, Ordering::Relaxed) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        let ids = Ids::default();
        assert_ne!(ids.next(), ids.next());
        assert_eq!(ids.next().to_string().parse::<QueryId>().unwrap().to_string(), format!("{:08x}-3", ids.server));
        for bad in ["", "a b", "x\n", &"x".repeat(65)] {
            assert!(bad.parse::<QueryId>().is_err(), "{bad}");
        }
    }
}
