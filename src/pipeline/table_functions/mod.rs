//! Table functions over the lake, each a query: `candles('4h')`, `adjusted('1d', 'actions.csv')`, `label_path('4h')`.
//!
//! A new one is a file here and a line in [`ALL`].

mod adjusted;
mod call;
mod candles;
mod changes;
mod dtw_search;
mod label_path;
mod levels;
mod query;
mod trade_labels;

use crate::views::Views;
use async_trait::async_trait;
use call::Call;
use tallow_common::{Error, Result};
use tallow_engine::dialect::TableArguments;

/// All of them.
pub(crate) static ALL: &[&dyn TableFunction] = &[
    &query::NamedQuery,
    &candles::Candles,
    &adjusted::Adjusted,
    &levels::Levels,
    &levels::LevelEvents,
    &levels::LevelStates,
    &label_path::LabelPath,
    &dtw_search::DtwSearch,
    &changes::Changes,
    &trade_labels::TradeLabels,
];

/// A function in FROM, which stands for a query.
#[async_trait]
pub(crate) trait TableFunction: Send + Sync {
    /// As it is called in SQL.
    fn name(&self) -> &'static str;

    /// How it is called.
    fn usage(&self) -> &'static str;

    /// A sentence about its rows, for people.
    fn doc(&self) -> &'static str;

    /// The arguments that it takes by name.
    fn named(&self) -> Named;

    /// The query behind a call; `Ok(None)`: it does not take so many arguments by position.
    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>>;

    /// What is allowed in a call that has a query, and probably not meant.
    async fn warnings(&self, _: &Views, _: &Call<'_>) -> Result<Vec<String>> {
        Ok(vec![])
    }
}

/// Arguments by name.
pub(crate) enum Named {
    /// These.
    Only(&'static [&'static str]),
    /// Those of what it names.
    Any,
}

/// The query behind a call of a function.
pub(crate) async fn sql(on: &Views, name: &str, arguments: &TableArguments) -> Result<String> {
    let Some(function) = ALL.iter().find(|known| known.name() == name) else {
        return Err(Error::not_found(format!("unknown table function `{name}`")));
    };
    let wrong = |said: String| Error::invalid(format!("{said}: {}", function.usage()));
    if let Named::Only(known) = function.named()
        && let Some(other) = arguments.named.keys().find(|n| !known.contains(&n.as_str()))
    {
        return Err(wrong(format!("{name} has no argument `{other}`")));
    }
    let sql = function.sql(on, &Call(arguments)).await?;
    sql.ok_or_else(|| wrong(format!("{name} does not take {} arguments", arguments.positional.len())))
}

/// What is allowed in a call of a function, and probably not meant.
pub(crate) async fn warnings(on: &Views, name: &str, arguments: &TableArguments) -> Vec<String> {
    let Some(function) = ALL.iter().find(|known| known.name() == name) else { return vec![] };
    // What is wrong with it was said where it was planned.
    function.warnings(on, &Call(arguments)).await.unwrap_or_default()
}
