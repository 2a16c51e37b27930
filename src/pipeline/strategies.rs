//! The strategies that a lake keeps: found by name, checked when they are added.

use crate::Session;
use crate::backtest::Options;
use crate::versioned::{self, is_name};
use tallow_common::{Error, Result};
use tallow_lake::StoredStrategy;

/// What a strategy that is kept is told.
///
/// # Errors
/// Another version of the program kept it, with options that this one does not know.
pub fn options(of: &StoredStrategy) -> Result<Options> {
    let which = |error: Error| Error::invalid(format!("strategy {}@{}: {error}", of.name, of.version));
    Options::of_json(&of.options).map_err(which)
}

/// All versions of the strategies that the lake keeps, by name and version.
pub async fn all(session: &Session) -> Result<Vec<StoredStrategy>> {
    session.on_lake(|lake| async move { versioned::all(&lake).await }).await
}

/// The newest version of each, by name.
pub async fn newest(session: &Session) -> Result<Vec<StoredStrategy>> {
    Ok(versioned::newest(&all(session).await?).cloned().collect())
}

/// The strategy that is kept as `name` or `name@version`, if the text is one of these and there is one.
///
/// # Errors
/// There is one, and not this version of it.
pub(crate) async fn find(session: &Session, text: &str) -> Result<Option<StoredStrategy>> {
    match versioned::named(text) {
        Some(_) => versioned::find(all(session).await?, text),
        None => Ok(None),
    }
}

/// The strategy that is kept as `name` or `name@version`.
///
/// # Errors
/// There is none.
pub async fn get(session: &Session, text: &str) -> Result<StoredStrategy> {
    let all = all(session).await?;
    let found = versioned::find(all.clone(), text)?;
    found.ok_or_else(|| versioned::unknown(&all, text, "strategy add NAME"))
}

/// Keeps a strategy, if it is one and its formulas fit the lake's candles, and returns its version: the next of the name, or the newest,
/// where that is the same.
///
/// # Errors
/// The name cannot be one; an option, or a formula in it, is wrong or looks ahead.
pub async fn add(
    session: &Session,
    name: &str,
    options: &Options,
    description: String,
    created_at: i64,
) -> Result<i64> {
    if !is_name(name) {
        return Err(Error::invalid(format!("'{name}' cannot be a strategy's name: expected letters, digits and _")));
    }
    options.backtest(session).await?.try_out(session).await?;
    let strategy =
        StoredStrategy { name: name.to_string(), version: 0, description, options: options.json()?, created_at };
    session.on_lake(|lake| async move { versioned::store(&lake, strategy).await }).await
}
