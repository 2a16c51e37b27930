//! The error type of all floors.
//!
//! A message calls an option "the option `name value`" and an operation "the operation `name`"; each door says how its user
//! gives them.

use crate::code::Code;
use crate::problem::Problems;
use crate::redact::redacted;
use crate::wording;
use datafusion::common::{DataFusionError, SchemaError};
use std::error::Error as StdError;
use std::fmt::Display;

/// What went wrong: a [code](Error::code) for programs, a message that names the thing, its value and what was expected, and,
/// where they are known, the place in the text and what to try.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that cannot be run: every problem found in it.
    #[error("{}", without_secrets(.0))]
    Text(Problems),
    /// What was recognised by tallow itself.
    #[error("{}{}", without_secrets(.message), appended(.hint.as_ref()))]
    Known {
        /// What kind of thing went wrong.
        code: Code,
        /// What went wrong.
        message: String,
        /// What to try.
        hint: Option<String>,
    },
    /// A request that makes no sense by itself, whatever the lake holds.
    #[error("{}", without_secrets(.0))]
    Request(String),
    /// An argument of a request that makes no sense by itself or beside the others: its name, and what follows it in the
    /// message, as in `cluster`, ` -1: expected a number from 0 up`.
    #[error("{}{}", .0, without_secrets(.1))]
    Argument(&'static str, String),
    /// Whoever asked for the work stopped it.
    #[error("cancelled")]
    Cancelled,
    /// The work took longer than it may.
    #[error("out of time")]
    TimedOut,
    /// Planning or execution failed.
    #[error("{}", readable(.0))]
    DataFusion(#[source] DataFusionError),
    /// A file could not be read or written.
    #[error("{}: {}", without_secrets(.0), .1)]
    File(String, #[source] std::io::Error),
}

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind.
    pub fn known(code: Code, message: impl Into<String>) -> Error {
        Error::Known { code, message: message.into(), hint: None }
    }

    /// A request that is wrong in itself: a value out of range, an unknown word.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::known(Code::Invalid, message)
    }

    /// Something that is named and not there.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::known(Code::NotFound, message)
    }

    /// Something that is there already, or has changed in the meantime.
    pub fn conflict(message: impl Into<String>) -> Error {
        Error::known(Code::Conflict, message)
    }

    /// Adds what to try.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Error {
        match self {
            Error::Known { code, message, .. } => Error::Known { code, message, hint: Some(hint.into()) },
            other => other,
        }
    }

    /// What kind of thing went wrong.
    pub fn code(&self) -> Code {
        match self {
            Error::Text(problems) => problems.list.first().map_or(Code::Invalid, |problem| problem.code),
            Error::Request(_) | Error::Argument(..) => Code::Invalid,
            Error::Cancelled => Code::Cancelled,
            Error::TimedOut => Code::Timeout,
            Error::Known { code, .. } => *code,
            Error::DataFusion(error) => code_of(error),
            Error::File(_, error) => code_of_io(error),
        }
    }

    /// Line and column, from 1, of the first problem in the text that was given.
    pub fn place(&self) -> Option<(usize, usize)> {
        let Error::Text(problems) = self else { return None };
        problems.list.first().and_then(|p| p.place).map(|(line, column, _)| (line, column))
    }

    /// What to try.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::Text(problems) => problems.list.first().and_then(|p| p.help.as_deref()),
            Error::Known { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }
}

impl From<DataFusionError> for Error {
    /// An error of ours that went through DataFusion is itself again.
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => Error::DataFusion(DataFusionError::External(other)),
            },
            other => Error::DataFusion(other),
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(inner) => inner,
            ours => DataFusionError::External(Box::new(ours)),
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::from(DataFusionError::from(error))
    }
}

fn code_of_io(error: &std::io::Error) -> Code {
    match error.kind() {
        std::io::ErrorKind::NotFound => Code::NotFound,
        std::io::ErrorKind::PermissionDenied => Code::Forbidden,
        std::io::ErrorKind::AlreadyExists => Code::Conflict,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::Resources,
        _ => Code::Unavailable,
    }
}

/// The kind of the innermost error whose kind says more than where it was raised.
pub fn code_of(error: &DataFusionError) -> Code {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => code_of(inner),
        DataFusionError::Shared(inner) => code_of(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(Code::Internal, code_of),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            arrow::error::ArrowError::ExternalError(inner) => code_of_other(inner.as_ref()),
            arrow::error::ArrowError::IoError(_, inner) => code_of_io(inner),
            arrow::error::ArrowError::MemoryError(_) => Code::Resources,
            _ => Code::Invalid,
        },
        DataFusionError::External(inner) => code_of_other(inner.as_ref()),
        DataFusionError::IoError(inner) => code_of_io(inner),
        DataFusionError::ObjectStore(inner) => code_of_other(inner.as_ref()),
        DataFusionError::ResourcesExhausted(_) => Code::Resources,
        DataFusionError::SchemaError(inner, _) => match inner.as_ref() {
            SchemaError::FieldNotFound { .. } => Code::NotFound,
            _ => Code::Invalid,
        },
        DataFusionError::Internal(_) => Code::Internal,
        _ => Code::Invalid,
    }
}

fn code_of_other(error: &(dyn StdError + Send + Sync + 'static)) -> Code {
    if let Some(ours) = error.downcast_ref::<Error>() {
        ours.code()
    } else if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        code_of(inner)
    } else if let Some(inner) = error.downcast_ref::<std::io::Error>() {
        code_of_io(inner)
    } else if let Some(inner) = error.downcast_ref::<object_store::Error>() {
        match inner {
            object_store::Error::NotFound { .. } => Code::NotFound,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Code::Forbidden
            }
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => Code::Conflict,
            _ => Code::Unavailable,
        }
    } else {
        Code::Invalid
    }
}

/// A message without the secrets of the URLs in it.
fn without_secrets(message: &impl Display) -> String {
    redacted(&message.to_string()).into_owned()
}

fn appended(hint: Option<&String>) -> String {
    hint.map_or_else(String::new, |hint| format!("; {}", without_secrets(hint)))
}

/// The message without the layers that say where in DataFusion it was raised, and without secrets.
pub fn readable(error: &DataFusionError) -> String {
    let said = without_secrets(&unwrapped(error));
    // What a file holds may be quoted in it, megabytes of it.
    let said = wording::shortened(&said, wording::MESSAGE);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_code_on_its_way_through_the_engine() {
        let ours = || Error::not_found("there is no table `x`").with_hint("did you mean `y`?");
        assert_eq!(ours().to_string(), "there is no table `x`; did you mean `y`?");
        let through = Error::from(DataFusionError::from(ours()));
        assert!(matches!(through, Error::Known { code: Code::NotFound, .. }));
        let wrapped = DataFusionError::Context("Optimizer rule x failed".into(), Box::new(ours().into()));
        let error = Error::from(DataFusionError::Shared(std::sync::Arc::new(wrapped)));
        assert_eq!((error.code(), error.to_string()), (Code::NotFound, ours().to_string()));
    }

    #[test]
    fn errors_of_others_have_a_code() {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        for (error, code) in [
            (DataFusionError::ResourcesExhausted("x".into()), Code::Resources),
            (DataFusionError::Internal("x".into()), Code::Internal),
            (DataFusionError::Plan("x".into()), Code::Invalid),
            (DataFusionError::IoError(missing()), Code::NotFound),
            (arrow::error::ArrowError::ExternalError(Box::new(missing())).into(), Code::NotFound),
            (arrow::error::ArrowError::DivideByZero.into(), Code::Invalid),
        ] {
            assert_eq!(Error::from(error).code(), code);
        }
    }
}
