//! Table functions over the lake, each a query: `candles('4h')`, `adjusted('1d', 'actions.csv')`.

use super::{adjust, resample};
use crate::engine::dialect::{TableArguments, TableFunctions};
use crate::error::{Error, Result};
use crate::lake::LakeSchema;
use async_trait::async_trait;
use std::sync::Arc;
use tallow_udfs::candle::Timeframe;

/// The table functions of a session.
pub(crate) struct Views {
    lake: Arc<LakeSchema>,
}

impl Views {
    pub fn new(lake: &Arc<LakeSchema>) -> Views {
        Views { lake: Arc::clone(lake) }
    }
}

#[async_trait]
impl TableFunctions for Views {
    fn names(&self) -> &[&str] {
        &["candles", "adjusted"]
    }

    async fn bars(&self, table: &str) -> Option<(String, String)> {
        let (timeframe, origin) = self.lake.bars(table).await.ok().flatten()?;
        Some((timeframe.to_string(), origin))
    }

    async fn sql(&self, name: &str, arguments: &TableArguments) -> Result<String> {
        let usage = match name {
            "candles" => "candles('4h', fill => 'none' | 'prev_close' | 'null', from => '1h', origin => 'utc')",
            _ => "adjusted('1d', 'actions.csv')",
        };
        let wrong = |said: String| Error::Setting(format!("{said}: {usage}"));
        let allowed: &[&str] = if name == "candles" { &["fill", "from", "origin"] } else { &[] };
        if let Some(other) = arguments.named.keys().find(|n| !allowed.contains(&n.as_str())) {
            return Err(wrong(format!("{name} has no argument `{other}`")));
        }
        let named = |key: &str| arguments.named.get(key).map(String::as_str);
        match (name, arguments.positional.as_slice()) {
            ("candles", [timeframe]) => {
                let timeframe: Timeframe = timeframe.parse()?;
                let from = named("from").map(str::parse).transpose()?;
                let fill = named("fill").unwrap_or("none").parse()?;
                Ok(resample::sql(&self.lake, timeframe, from, named("origin"), fill, true).await?.0)
            }
            ("adjusted", [table, actions]) => adjust::sql(&self.lake, table, actions).await,
            (_, given) => Err(wrong(format!("{name} does not take {} arguments", given.len()))),
        }
    }
}
