//! Bars that are not closed: answered, and not kept.

use super::Running;
use crate::answers::Results;
use crate::core::{Bar, Feed, Symbol};
use crate::feeds::{Raw, Unreadable};
use tallow_common::{Error, Result};

impl Running {
    /// Notes a bar that is not closed, in the place of the one before.
    pub(super) fn forming(&mut self, feed: Feed, raw: Raw) -> Result<(), Unreadable> {
        let line = raw.line;
        let wrong = |error: &str| Unreadable { line, error: error.to_string(), offset: None };
        if !self.live.options.provisional {
            return Err(wrong("the bar is not complete: expected one that is closed, or the option `provisional`"));
        }
        let (candle, _) = self.candle(feed, raw)?;
        match self.live.core.broken(self.now, &candle.bar) {
            Some(rule) => Err(wrong(&format!("it is no candle: {rule}"))),
            None => {
                let known = self.formed.entry(candle.symbol).or_insert(candle.bar);
                if known.ts <= candle.bar.ts {
                    *known = candle.bar;
                }
                self.replies.accepted(feed, 1);
                Ok(())
            }
        }
    }

    /// Answers bars that are not closed, of symbols whose workers are free.
    pub(super) async fn answer_forming(&mut self) -> Result<()> {
        let workers = self.live.workers.len();
        for at in 0..workers {
            let own: Vec<Symbol> = self.formed.keys().filter(|of| of.0 as usize % workers == at).copied().collect();
            if own.is_empty() {
                continue;
            }
            let Some(mut worker) = self.live.workers[at].take() else { continue };
            let mut bars: Vec<(Symbol, Bar)> =
                own.iter().filter_map(|of| Some((*of, self.formed.remove(of)?))).collect();
            // One that is closed by now is not answered any more.
            bars.retain(|(symbol, bar)| worker.newest(*symbol).is_none_or(|newest| newest < bar.ts));
            let rows = worker.peek(&bars, self.live.symbols.names(), &self.live.others).await;
            self.live.workers[at] = Some(worker);
            match rows {
                Ok(rows) if rows.num_rows() > 0 => {
                    let taken =
                        self.answers.take(Results { rows: &rows, revisions: None, complete: false, lines: None });
                    taken.map_err(|error| Error::File("results".to_string(), error))?;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!("bars that are not closed cannot be computed: {error}"),
            }
        }
        Ok(())
    }
}
