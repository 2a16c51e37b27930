//! `levels('4h')`, `level_events('4h')`, `level_states('4h')`.

use super::{Call, Named, TableFunction};
use crate::levels::{self, Detection, Source};
use crate::views::Views;
use async_trait::async_trait;
use tallow_common::{Error, Result};

pub(super) struct Levels;

#[async_trait]
impl TableFunction for Levels {
    fn name(&self) -> &'static str {
        "levels"
    }

    fn usage(&self) -> &'static str {
        "levels('4h', k => 5, cluster => 0.25, max_age => 250)"
    }

    fn doc(&self) -> &'static str {
        "Support and resistance levels of each symbol"
    }

    fn named(&self) -> Named {
        Named::Only(&["k", "cluster", "max_age"])
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [timeframe] = call.positional() else { return Ok(None) };
        Ok(Some(levels::levels(&on.lake, timeframe.parse()?, call.detection()?).await?))
    }
}

pub(super) struct LevelEvents;

#[async_trait]
impl TableFunction for LevelEvents {
    fn name(&self) -> &'static str {
        "level_events"
    }

    fn usage(&self) -> &'static str {
        "level_events('4h', k => 5, cluster => 0.25, max_age => 250)"
    }

    fn doc(&self) -> &'static str {
        "What happened to levels, and when"
    }

    fn named(&self) -> Named {
        Levels.named()
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [timeframe] = call.positional() else { return Ok(None) };
        Ok(Some(levels::events(&on.lake, timeframe.parse()?, call.detection()?).await?))
    }
}

pub(super) struct LevelStates;

#[async_trait]
impl TableFunction for LevelStates {
    fn name(&self) -> &'static str {
        "level_states"
    }

    fn usage(&self) -> &'static str {
        "level_states('4h', levels => 'auto' | 'table', events => 'table', k => 5, cluster => 0.25, max_age => 250)"
    }

    fn doc(&self) -> &'static str {
        "Which levels were active from each event on"
    }

    fn named(&self) -> Named {
        Named::Only(&["levels", "events", "k", "cluster", "max_age"])
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [timeframe] = call.positional() else { return Ok(None) };
        let timeframe = timeframe.parse()?;
        let source = call.levels()?.unwrap_or(Source::Auto(call.detection()?));
        Ok(Some(levels::states(&on.lake, timeframe, &source).await?))
    }
}

impl Call<'_> {
    /// How levels are found.
    pub(super) fn detection(&self) -> Result<Detection> {
        let Detection { k, cluster, max_age } = Detection::default();
        let detection = Detection {
            k: self.value("k", k, "a whole number of bars")?,
            cluster: self.value("cluster", cluster, "a number of average true ranges")?,
            max_age: self.value("max_age", max_age, "a whole number of bars")?,
        };
        let bars = 1..=10_000;
        if !bars.contains(&detection.k)
            || !bars.contains(&detection.max_age)
            || !(0.0..=1e6).contains(&detection.cluster)
        {
            return Err(Error::invalid(format!(
                "levels with k {}, cluster {}, max_age {}: expected bars from 1 to 10000, and a cluster from 0 up",
                detection.k, detection.cluster, detection.max_age
            )));
        }
        Ok(detection)
    }

    /// Where levels come from, if they are asked for.
    pub(super) fn levels(&self) -> Result<Option<Source>> {
        let events = self.get("events").map(str::to_string);
        Ok(match self.get("levels") {
            None | Some("none") => None,
            Some("auto") => Some(Source::Auto(self.detection()?)),
            Some(table) => Some(Source::Tables { levels: table.to_string(), events }),
        })
    }
}
