//! The error type at the library's edge.

mod wording;

use crate::engine::dialect::Problems;
use crate::redact::redacted;
use datafusion::common::DataFusionError;
use std::fmt::Display;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that cannot be run: every problem found in it.
    #[error("{}", told(.0))]
    Text(Problems),
    /// A setting or argument out of range.
    #[error("{}", told(.0))]
    Setting(String),
    /// A request that makes no sense by itself.
    #[error("{}", told(.0))]
    Invalid(String),
    /// An argument of a request that makes no sense by itself or beside the others: its name, and what follows it in the
    /// message, as in `cluster`, ` -1: expected a number from 0 up`.
    #[error("{}{}", .0, told(.1))]
    Argument(&'static str, String),
    /// Whoever asked for the work stopped it.
    #[error("cancelled")]
    Cancelled,
    /// The work took longer than it may.
    #[error("out of time")]
    TimedOut,
    /// Planning or execution failed.
    #[error("{}", readable(.0))]
    DataFusion(#[from] DataFusionError),
    /// A file could not be read or written.
    #[error("{}: {}", told(.0), .1)]
    File(String, #[source] std::io::Error),
}

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::DataFusion(error.into())
    }
}

/// A message without the secrets of the URLs in it.
fn told(message: &impl Display) -> String {
    redacted(&message.to_string()).into_owned()
}

/// The message without the layers that say where in DataFusion it was raised, and without secrets.
pub(crate) fn readable(error: &DataFusionError) -> String {
    let said = told(&unwrapped(error));
    // What a function says of its arguments is quoted by the planner, with its own signature after it.
    match said.split_once("user-defined coercion failed with: Error during planning: ") {
        Some((_, rest)) => rest.split(". No function matches").next().unwrap_or(rest).to_string(),
        None => wording::plain(&said.replace("Parquet error: Parquet error: ", "Parquet error: ")),
    }
}

fn unwrapped(error: &DataFusionError) -> String {
    let mut error = error;
    let mut said: Vec<String> = vec![];
    loop {
        match error {
            DataFusionError::Context(context, inner) => {
                // One word is the name of a rule.
                let of_rule = ["Optimizer rule", "physical optimizer"].iter().any(|rule| context.starts_with(rule));
                if !of_rule && context.contains(' ') {
                    said.push(format!("{context}: "));
                }
                error = inner;
            }
            DataFusionError::Diagnostic(_, inner) => error = inner,
            DataFusionError::Shared(inner) => error = inner.as_ref(),
            DataFusionError::Collection(errors) => match errors.first() {
                Some(first) => error = first,
                None => return "unknown error".to_string(),
            },
            DataFusionError::Plan(message)
            | DataFusionError::Execution(message)
            | DataFusionError::Configuration(message)
            | DataFusionError::ResourcesExhausted(message) => return said.concat() + message,
            DataFusionError::Internal(message) => {
                return said.concat() + message.trim_end_matches('.') + wording::INTERNAL;
            }
            DataFusionError::SchemaError(inner, _) => return said.concat() + &inner.to_string(),
            DataFusionError::External(inner) => match inner.downcast_ref::<DataFusionError>() {
                Some(inner) => error = inner,
                None => return said.concat() + &inner.to_string(),
            },
            DataFusionError::ArrowError(inner, _) => {
                if let arrow::error::ArrowError::ExternalError(inner) = inner.as_ref()
                    && let Some(inner) = inner.downcast_ref::<DataFusionError>()
                {
                    error = inner;
                    continue;
                }
                return said.concat() + &inner.to_string();
            }
            other => return said.concat() + &other.strip_backtrace(),
        }
    }
}
