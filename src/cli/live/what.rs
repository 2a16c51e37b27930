//! What a live run computes: a text, a strategy, or patterns.

use super::{LiveArgs, UNNAMED};
use crate::live::{Account, Asks};
use crate::pipeline::incremental::{Definition, Pipeline, all};
use crate::pipeline::named::NamedQueries;
use crate::pipeline::strategies;
use crate::{Error, Session};
use std::collections::BTreeMap;
use std::path::Path;
use tallow_udfs::calendar::Timeframe;

/// What a run computes.
pub(super) struct What {
    pub pipeline: Pipeline,
    pub asks: Asks,
    /// Of a strategy.
    pub account: Option<Account>,
}

impl LiveArgs {
    /// What is computed by a run whose folder is in that of the journal, and that is told what comes from a time on.
    pub(super) async fn computed(
        &self,
        session: &Session,
        journal: &Path,
        known_until: Option<i64>,
    ) -> Result<What, Error> {
        if let Some(strategy) = &self.strategy {
            return self.of_strategy(session, strategy, journal, known_until).await;
        }
        if self.patterns.is_given() {
            let (definition, asks) = self.patterns.search(session, self.bars()).await?;
            return Ok(What { pipeline: self.named("patterns", definition), asks, account: None });
        }
        Ok(What { pipeline: self.of_text(session).await?, asks: Asks::EachBar, account: None })
    }

    /// The length of the bars that stand for `candles`.
    pub(super) fn bars(&self) -> Timeframe {
        self.timeframe.unwrap_or(Timeframe::Day)
    }

    fn named(&self, name: &str, definition: Definition) -> Pipeline {
        let name = self.name.clone().unwrap_or_else(|| name.to_string());
        Pipeline { name, definition, into: UNNAMED.to_string() }
    }

    async fn of_strategy(
        &self,
        session: &Session,
        strategy: &str,
        journal: &Path,
        known_until: Option<i64>,
    ) -> Result<What, Error> {
        let stored = strategies::get(session, strategy).await?;
        let mut pipeline = self.named(&stored.name, Definition::query(""));
        let folder = journal.join(&pipeline.name);
        let account = Account::open(session, &strategies::options(&stored)?, &folder, self.since, known_until).await?;
        pipeline.definition = Definition::query(account.sql());
        Ok(What { pipeline, asks: Asks::EachBar, account: Some(account) })
    }

    async fn of_text(&self, session: &Session) -> Result<Pipeline, Error> {
        let params = self.params()?;
        let text = self.what.as_deref().unwrap_or_default().trim();
        let stored = all(session).await?.into_iter().find(|pipeline| pipeline.name == text);
        let is_named = session.extension::<NamedQueries>()?.get(text).is_some();
        let first = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        let mut pipeline = match stored {
            Some(stored) => Pipeline { name: self.name.clone().unwrap_or(stored.name), ..stored },
            None if is_named || first == "select" || first == "with" => {
                let definition = Definition::Query { query: text.to_string(), params, timeframe: self.timeframe };
                self.named(if is_named { text } else { UNNAMED }, definition)
            }
            None => {
                let table = format!("candles_{}", self.bars());
                self.named(UNNAMED, Definition::Scan { formula: text.to_string(), params, table })
            }
        };
        if let Some(table) = &self.to {
            pipeline.into.clone_from(table);
        }
        Ok(pipeline)
    }

    fn params(&self) -> Result<BTreeMap<String, String>, Error> {
        let of = |text: &String| {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| Error::invalid(format!("parameter '{text}': expected NAME=VALUE, such as period=14")))?;
            Ok((name.trim().to_string(), value.to_string()))
        };
        self.param.iter().map(of).collect()
    }
}
