//! What a call gives, read by name and kind.

use std::str::FromStr;
use tallow_common::{Error, Result};
use tallow_engine::dialect::TableArguments;

/// A call of a table function.
pub(crate) struct Call<'a>(pub &'a TableArguments);

impl Call<'_> {
    /// Arguments by position.
    pub fn positional(&self) -> &[String] {
        &self.0.positional
    }

    /// An argument by name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.named.get(name).map(String::as_str)
    }

    /// A value by name.
    pub fn value<T: FromStr>(&self, name: &str, default: T, expected: &str) -> Result<T> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Error::invalid(format!("{name} => '{text}': expected {expected}"))),
        }
    }

    /// Whether something is asked for by name.
    pub fn flag(&self, name: &str) -> Result<bool> {
        self.value(name, false, "true or false")
    }
}
